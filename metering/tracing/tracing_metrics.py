"""Metrics of tracing."""

from dataclasses import dataclass
from typing import Final, Self

from prometheus_client import CollectorRegistry, Counter

from metering.process.metrics import counter

DROPPED: Final = ("rate", "full", "refused", "stopped")


@dataclass(frozen=True, slots=True)
class TracingMetrics:
    """What became of spans."""

    exported: Counter
    dropped: Counter
    failures: Counter

    @classmethod
    def create(cls, registry: CollectorRegistry) -> Self:
        """Declare them on a registry."""
        return cls(
            exported=counter(registry, "taximeter_spans_exported_total", "Spans that the collector took."),
            dropped=counter(
                registry,
                "taximeter_spans_dropped_total",
                "Spans that were left out: too many a second, with a full queue, refused by the collector, or not sent at the end.",
                labels={"reason": DROPPED},
            ),
            failures=counter(registry, "taximeter_spans_export_failures_total", "Failed requests to the collector; what they had is sent again."),
        )
