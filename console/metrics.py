"""What the console exports."""

from dataclasses import dataclass
from typing import Final, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from taximeter_emitter.wire.limits import DAY_MS

from metering.process.metrics import counter, gauge, histogram

ANSWERS: Final = ("ok", "refused", "not_found", "unauthorized", "failed")
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0)


@dataclass(frozen=True, slots=True)
class ConsoleMetrics:
    """Of one process."""

    requests: Counter
    request_seconds: Histogram
    store_bytes: Gauge
    kept_from: Gauge
    unfollowed: Gauge

    @classmethod
    def create(cls, registry: CollectorRegistry) -> Self:
        """Declare them on this registry."""
        prefix = "taximeter_console"
        return cls(
            requests=counter(registry, f"{prefix}_requests_total", "Requests that were answered, and how.", labels={"answer": ANSWERS}),
            request_seconds=histogram(registry, f"{prefix}_request_duration_seconds", "How long an answer took.", unit="seconds", buckets=SECONDS),
            store_bytes=gauge(registry, f"{prefix}_store_bytes", "Bytes of the store that hold something.", unit="bytes"),
            kept_from=gauge(
                registry, f"{prefix}_kept_from_timestamp_seconds", "The start of the oldest day that the store has.", unit="timestamp_seconds"
            ),
            unfollowed=gauge(registry, f"{prefix}_unfollowed_partitions", "Partitions of topics that are not followed, because of what is in them."),
        )

    def show_store(self, used: int, kept_from_day: int) -> None:
        """How much there is."""
        self.store_bytes.set(used)
        self.kept_from.set(kept_from_day * DAY_MS // 1000)
