"""Metrics of links that come from the metadata of Stripe's customers."""

from dataclasses import dataclass
from typing import Final, Self

from prometheus_client import CollectorRegistry, Counter, Gauge

from metering.process.metrics import counter, gauge

READS: Final = ("ok", "unavailable", "forbidden")


@dataclass(frozen=True, slots=True)
class LinkingMetrics:
    """Links count once they are in usage.customers."""

    links: Counter
    reads: Counter
    disputed: Gauge
    waiting_since: Gauge

    @classmethod
    def create(cls, registry: CollectorRegistry) -> Self:
        """Declare the metrics on this registry."""
        prefix = "taximeter_reporter_metadata"
        return cls(
            links=counter(
                registry,
                f"{prefix}_links_total",
                "Links of customers that were written because the metadata of Stripe's customers says so.",
                labels={"change": ("linked", "unlinked")},
            ),
            reads=counter(registry, f"{prefix}_reads_total", "Reads of Stripe's customers for their metadata.", labels={"outcome": READS}),
            disputed=gauge(
                registry, f"{prefix}_disputed_customers", "Customers that several of Stripe's customers name in their metadata; their links stay."
            ),
            waiting_since=gauge(
                registry,
                f"{prefix}_waiting_timestamp_seconds",
                "Since when the metadata of a customer of Stripe's waits to be read; NaN if none waits.",
                unit="timestamp_seconds",
            ),
        )
