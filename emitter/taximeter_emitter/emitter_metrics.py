"""The metrics of an emitter, for a service that gives it a registry to put them on."""

from dataclasses import dataclass, field
from typing import Self

from prometheus_client import CollectorRegistry, Counter, Gauge

from metering.process.metrics import counter, gauge
from taximeter_emitter.counts import EmitterCounts
from taximeter_emitter.wire.errors import Reason

_OUTCOMES = ("emitted", "dropped", "sent", "spooled", "adopted", "lost")


@dataclass(frozen=True, slots=True)
class EmitterMetrics:
    """Brought up to date now and then from the emitter's counts, so that emitting costs no more with metrics than without."""

    events: Counter
    rejected: Counter
    batches_retried: Counter
    spool_failures: Counter
    connected: Gauge
    buffered: Gauge
    spool: Gauge
    _told: dict[str, int] = field(default_factory=dict)

    @classmethod
    def create(cls, registry: CollectorRegistry) -> Self:
        """Declare them on the registry."""
        return cls(
            events=counter(
                registry,
                "taximeter_emitter_events_total",
                "Events by what the emitter did with them; an event that was sent was emitted before.",
                labels={"outcome": _OUTCOMES},
            ),
            rejected=counter(
                registry,
                "taximeter_emitter_rejected_total",
                "Calls of emit that were refused, by reason.",
                labels={"reason": [str(reason) for reason in Reason]},
            ),
            batches_retried=counter(
                registry, "taximeter_emitter_batches_retried_total", "Batches that were sent again because nobody knew whether they arrived."
            ),
            spool_failures=counter(registry, "taximeter_emitter_spool_failures_total", "Failed reads and writes of the disk spool."),
            connected=gauge(registry, "taximeter_emitter_connected", "1 while the emitter has a working connection to Kafka."),
            buffered=gauge(registry, "taximeter_emitter_buffered_bytes", "Memory taken by events that Kafka does not have yet.", unit="bytes"),
            spool=gauge(registry, "taximeter_emitter_spool_bytes", "Bytes in the disk spool that Kafka does not have yet.", unit="bytes"),
        )

    def update(self, counts: EmitterCounts, *, connected: bool, buffered_bytes: int, spool_bytes: int) -> None:
        """Bring all up to date."""
        for outcome in _OUTCOMES:
            self._raise_to(self.events.labels(outcome), outcome, getattr(counts, outcome))
        for reason, count in tuple(counts.rejected.items()):
            self._raise_to(self.rejected.labels(reason), f"rejected {reason}", count)
        self._raise_to(self.batches_retried, "batches_retried", counts.batches_retried)
        self._raise_to(self.spool_failures, "spool_failures", counts.spool_failures)
        self.connected.set(connected)
        self.buffered.set(buffered_bytes)
        self.spool.set(spool_bytes)

    def _raise_to(self, metric: Counter, name: str, value: int) -> None:
        metric.inc(value - self._told.get(name, 0))
        self._told[name] = value
