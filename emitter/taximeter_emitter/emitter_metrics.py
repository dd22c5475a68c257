"""The metrics of an emitter, for a service that gives it a registry to put them on. Needs the extra `prometheus`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge

from taximeter_emitter.counts import EmitterCounts
from taximeter_emitter.transports.batch_producer import FAILURES
from taximeter_emitter.wire.errors import Reason

_OUTCOMES: Final = ("emitted", "dropped", "sent", "spooled", "adopted", "refused", "lost")


@dataclass(frozen=True, slots=True)
class EmitterMetric:
    """One metric, and the values of the label that it has, if any."""

    type: Literal["counter", "gauge"]
    name: str
    doc: str
    unit: str = ""
    labels: Mapping[str, Sequence[str]] = field(default_factory=dict)


_EVENTS: Final = EmitterMetric(
    "counter",
    "taximeter_emitter_events_total",
    "Events by what the emitter did with them; an event that was sent was emitted before.",
    labels={"outcome": _OUTCOMES},
)
_REJECTED: Final = EmitterMetric(
    "counter",
    "taximeter_emitter_rejected_total",
    "Calls of emit that were refused, by reason.",
    labels={"reason": tuple(reason.value for reason in Reason)},
)
_BATCHES_RETRIED: Final = EmitterMetric(
    "counter", "taximeter_emitter_batches_retried_total", "Batches that were sent again because nobody knew whether they arrived."
)
_FAILURES: Final = EmitterMetric(
    "counter",
    "taximeter_emitter_send_failures_total",
    "Failures after which nothing could be sent for a while, by reason.",
    labels={"reason": FAILURES},
)
_SPOOL_FAILURES: Final = EmitterMetric("counter", "taximeter_emitter_spool_failures_total", "Failed reads and writes of the disk spool.")
_CONNECTED: Final = EmitterMetric("gauge", "taximeter_emitter_connected", "1 while the emitter has a working link to Kafka or the gateway.")
_BUFFERED: Final = EmitterMetric("gauge", "taximeter_emitter_buffered_bytes", "Memory taken by events that Kafka does not have yet.", unit="bytes")
_SPOOL: Final = EmitterMetric("gauge", "taximeter_emitter_spool_bytes", "Bytes in the disk spool that Kafka does not have yet.", unit="bytes")
_SPOOLS_LEFT: Final = EmitterMetric(
    "gauge", "taximeter_emitter_spools_left", "Spools of dead processes in the emitter's spool directory that Kafka does not have yet."
)
_SPOOLS_UNREADABLE: Final = EmitterMetric(
    "gauge", "taximeter_emitter_spools_unreadable", "Spool files in the emitter's spool directory that cannot be read; they stay as they are."
)

EMITTER_METRICS: Final = (
    *(_EVENTS, _REJECTED, _BATCHES_RETRIED, _FAILURES, _SPOOL_FAILURES),
    *(_CONNECTED, _BUFFERED, _SPOOL, _SPOOLS_LEFT, _SPOOLS_UNREADABLE),
)


class EmitterMetrics:
    """Brought up to date now and then from the emitter's counts, so that emitting costs no more with metrics than without."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._events = _counter(_EVENTS, registry)
        self._rejected = _counter(_REJECTED, registry)
        self._batches_retried = _counter(_BATCHES_RETRIED, registry)
        self._failures = _counter(_FAILURES, registry)
        self._spool_failures = _counter(_SPOOL_FAILURES, registry)
        self._connected = _gauge(_CONNECTED, registry)
        self._buffered = _gauge(_BUFFERED, registry)
        self._spool = _gauge(_SPOOL, registry)
        self._spools_left = _gauge(_SPOOLS_LEFT, registry)
        self._spools_unreadable = _gauge(_SPOOLS_UNREADABLE, registry)
        self._told: dict[str, int] = {}

    def update(
        self, counts: EmitterCounts, *, connected: bool, buffered_bytes: int, spool_bytes: int, spools_left: int, spools_unreadable: int
    ) -> None:
        """Bring all up to date."""
        for outcome in _OUTCOMES:
            self._raise_to(self._events.labels(outcome), outcome, getattr(counts, outcome))
        for reason, count in tuple(counts.rejected.items()):
            self._raise_to(self._rejected.labels(reason), f"rejected {reason}", count)
        for reason, count in tuple(counts.failures.items()):
            self._raise_to(self._failures.labels(reason), f"failure {reason}", count)
        self._raise_to(self._batches_retried, "batches_retried", counts.batches_retried)
        self._raise_to(self._spool_failures, "spool_failures", counts.spool_failures)
        self._connected.set(connected)
        self._buffered.set(buffered_bytes)
        self._spool.set(spool_bytes)
        self._spools_left.set(spools_left)
        self._spools_unreadable.set(spools_unreadable)

    def _raise_to(self, metric: Counter, name: str, value: int) -> None:
        metric.inc(value - self._told.get(name, 0))
        self._told[name] = value


def _counter(metric: EmitterMetric, registry: CollectorRegistry) -> Counter:
    """Its series exist from the start, at 0."""
    counter = Counter(metric.name, metric.doc, labelnames=tuple(metric.labels), registry=registry)
    for values in metric.labels.values():
        for value in values:
            counter.labels(value)
    return counter


def _gauge(metric: EmitterMetric, registry: CollectorRegistry) -> Gauge:
    return Gauge(metric.name, metric.doc, registry=registry)
