"""What a service exports of its partitions and of their ownership."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from metering.process.metrics import WORK_SECONDS, counter, gauge, histogram

UNEXPECTED: Final = "Unexpected"  # the reason of a stop that the service does not list


@dataclass(frozen=True, slots=True)
class GroupMetrics:
    """The same for every service that shares partitions. `stop_reasons`: the classes of what stops a partition, for the label of `stopped`."""

    stop_reasons: tuple[str, ...]
    lag: Gauge
    open_transaction_seconds: Gauge
    assigned: Gauge
    stopped: Gauge
    paused: Gauge
    takeover_seconds: Histogram
    rebalances: Counter
    unavailable: Counter
    kafka_silent: Gauge

    @classmethod
    def create(cls, registry: CollectorRegistry, prefix: str, *, lag: str, paused: str, takeover: str, stop_reasons: Sequence[str]) -> Self:
        """Declare them on this registry. `lag`, `paused` and `takeover` say what these are of this service."""
        reasons = (*stop_reasons, UNEXPECTED)
        return cls(
            stop_reasons=tuple(stop_reasons),
            lag=gauge(registry, f"{prefix}_lag_records", lag, labels={"partition": ()}),
            open_transaction_seconds=gauge(
                registry,
                f"{prefix}_open_transaction_seconds",
                "How long the same open transaction of another producer has held back records of the topic. 0: none.",
                unit="seconds",
                labels={"partition": ()},
            ),
            assigned=gauge(registry, f"{prefix}_assigned_partitions", "Partitions that this process owns."),
            stopped=gauge(registry, f"{prefix}_stopped_partitions", "Owned partitions that stopped, by reason.", labels={"reason": reasons}),
            paused=gauge(registry, f"{prefix}_paused_partitions", paused),
            takeover_seconds=histogram(registry, f"{prefix}_takeover_duration_seconds", takeover, unit="seconds", buckets=WORK_SECONDS),
            rebalances=counter(registry, f"{prefix}_rebalances_total", "Changes of assignment.", labels={"event": ("assigned", "revoked")}),
            unavailable=counter(
                registry, f"{prefix}_kafka_unavailable_total", "Times that a partition had to start over because Kafka did not answer."
            ),
            kafka_silent=gauge(
                registry, f"{prefix}_kafka_silent_seconds", "For how long no broker has answered this process's group member.", unit="seconds"
            ),
        )

    def note_stops(self, names: Sequence[str]) -> None:
        """These are the classes of what stops partitions now."""
        for reason in self.stop_reasons:
            self.stopped.labels(reason).set(names.count(reason))
        self.stopped.labels(UNEXPECTED).set(sum(1 for name in names if name not in self.stop_reasons))
