"""Declares metrics: each has a full name, a type, a unit, bounded labels and one sentence. A name that breaks the conventions is an error.

A service declares one frozen dataclass of metrics, and builds it with these helpers on its registry. `catalogue` lists everything that was
declared on a registry, for the generated documentation.
"""

import itertools
import math
import platform
import re
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, GCCollector, Histogram, PlatformCollector, ProcessCollector

NAMESPACE: Final = "taximeter_"
LABEL_SERIES_MAX: Final = 200

# Base units only, so that a rule never has to convert.
UNITS: Final = frozenset({"seconds", "bytes", "ratio", "timestamp_seconds", "per_second", "info"})

HTTP_SECONDS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
WORK_SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
STRIPE_SECONDS: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 80.0)
SIZE_BYTES: Final = (256.0, 1024.0, 4096.0, 16384.0, 65536.0, 262144.0, 1048576.0, 4194304.0, 16777216.0)
COUNTS: Final = (1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 250.0, 500.0, 1000.0, 5000.0)
LOOP_SECONDS: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)

LOG_LEVELS: Final = ("debug", "info", "warning", "error", "critical")

_NAME: Final = re.compile(r"taximeter(_[a-z0-9]+)+")
_WRONG_UNIT: Final = re.compile(r"_(ms|millis|milliseconds|micros|us|ns|nanoseconds|minutes|hours|days|kb|mb|kilobytes|megabytes|percent)(_total)?$")
_RESERVED_SUFFIXES: Final = ("_count", "_sum", "_bucket", "_created")
# These would make thousands of series. The ledger and the command line answer such questions.
_UNBOUNDED_LABELS: Final = frozenset(
    {"customer", "customer_id", "event_id", "id", "identifier", "api_key", "path", "url", "error_message", "message"}
)

# The values of each label, which start at 0; or () if they are known only at run time (a topic, a partition).
Labels = Mapping[str, Sequence[str]]

_NO_LABELS: Final[Labels] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricRow:
    """One metric as the generated documentation shows it; a label's values are empty when they are known only at run time."""

    name: str
    type: str
    unit: str
    labels: Labels
    doc: str


_CATALOGUES: Final[weakref.WeakKeyDictionary[CollectorRegistry, list[MetricRow]]] = weakref.WeakKeyDictionary()


def counter(registry: CollectorRegistry, name: str, doc: str, *, unit: str = "", labels: Labels = _NO_LABELS) -> Counter:
    """A count that only grows; its name ends in `_total`. Raises ValueError for a name or label that breaks the conventions."""
    if not name.endswith("_total"):
        raise ValueError(f"counter {name} must end in _total")
    row = _checked(MetricRow(name=name, type="counter", unit=unit, labels=labels, doc=doc))
    metric = Counter(name, doc, labelnames=tuple(labels), registry=registry)
    _enter(registry, metric, row)
    return metric


def gauge(registry: CollectorRegistry, name: str, doc: str, *, unit: str = "", labels: Labels = _NO_LABELS) -> Gauge:
    """A value that goes up and down. Raises ValueError as `counter` does."""
    if name.endswith("_total"):
        raise ValueError(f"gauge {name} must not end in _total")
    row = _checked(MetricRow(name=name, type="gauge", unit=unit, labels=labels, doc=doc))
    metric = Gauge(name, doc, labelnames=tuple(labels), registry=registry)
    _enter(registry, metric, row)
    return metric


def histogram(
    registry: CollectorRegistry, name: str, doc: str, *, buckets: Sequence[float], unit: str = "", labels: Labels = _NO_LABELS
) -> Histogram:
    """A distribution over `buckets` (ascending upper bounds; objectives should be among them). Raises ValueError as `counter` does."""
    if name.endswith("_total"):
        raise ValueError(f"histogram {name} must not end in _total")
    row = _checked(MetricRow(name=name, type="histogram", unit=unit, labels=labels, doc=doc))
    metric = Histogram(name, doc, labelnames=tuple(labels), buckets=tuple(buckets), registry=registry)
    _enter(registry, metric, row)
    return metric


def catalogue(registry: CollectorRegistry) -> tuple[MetricRow, ...]:
    """Everything that was declared on this registry with the helpers, in order of declaration."""
    return tuple(_CATALOGUES.get(registry, ()))


@dataclass(frozen=True, slots=True)
class CommonMetrics:
    """Metrics of every service; the runner updates them."""

    log_messages: Counter
    ready: Gauge
    loop_lag: Histogram
    without_descriptors: Counter

    @classmethod
    def create(cls, registry: CollectorRegistry, *, service: str, version: str, commit: str) -> Self:
        """Also registers the process's and interpreter's own metrics (`process_*`, `python_*`)."""
        ProcessCollector(registry=registry)
        PlatformCollector(registry=registry)
        GCCollector(registry=registry)
        build = gauge(
            registry,
            "taximeter_build_info",
            "Always 1; the labels say what is running.",
            unit="info",
            labels={"service": (), "version": (), "commit": (), "python": ()},
        )
        build.labels(service, version, commit, platform.python_version()).set(1)
        return cls(
            log_messages=counter(
                registry,
                "taximeter_log_messages_total",
                "Log messages written, without those that rate limits left out.",
                labels={"level": LOG_LEVELS},
            ),
            ready=gauge(registry, "taximeter_ready", "1 when every readiness condition holds, 0 otherwise."),
            loop_lag=histogram(
                registry,
                "taximeter_event_loop_lag_seconds",
                "How late the event loop woke a timer.",
                unit="seconds",
                buckets=LOOP_SECONDS,
            ),
            without_descriptors=counter(
                registry,
                "taximeter_descriptors_exhausted_total",
                "Looks, two a second, at which the process had no file descriptor left; it cannot accept connections then.",
            ),
        )


def _checked(row: MetricRow) -> MetricRow:
    name, unit = row.name, row.unit
    if not _NAME.fullmatch(name):
        raise ValueError(f"metric {name} must be {NAMESPACE} and lower-case words joined by underscores")
    if _WRONG_UNIT.search(name):
        raise ValueError(f"metric {name} is not in a base unit (seconds, bytes, ratio)")
    if name.endswith(_RESERVED_SUFFIXES):
        raise ValueError(f"metric {name} ends like a part of a histogram")
    if unit and unit not in UNITS:
        raise ValueError(f"metric {name} has unit {unit}; it takes {', '.join(sorted(UNITS))}")
    base = name.removesuffix("_total")
    if unit and not base.endswith(f"_{unit}"):
        raise ValueError(f"metric {name} must name its unit: {base}_{unit}")
    if not unit and base.endswith(tuple(f"_{known}" for known in UNITS)):
        raise ValueError(f"metric {name} names a unit that was not given")
    if not row.doc.endswith("."):
        raise ValueError(f"metric {name} needs a sentence of documentation")
    unbounded = _UNBOUNDED_LABELS.intersection(row.labels)
    if unbounded:
        raise ValueError(f"metric {name} has a label without bound: {', '.join(sorted(unbounded))}")
    series = math.prod(len(values) for values in row.labels.values())
    if series > LABEL_SERIES_MAX:
        raise ValueError(f"metric {name} starts with {series} series; at most {LABEL_SERIES_MAX}")
    return row


def _enter(registry: CollectorRegistry, metric: Counter | Gauge | Histogram, row: MetricRow) -> None:
    _CATALOGUES.setdefault(registry, []).append(row)
    # A series that appears only at its first increment is invisible to `rate` and to `absent` until then.
    if row.labels and all(row.labels.values()):
        for values in itertools.product(*row.labels.values()):
            metric.labels(*values)
