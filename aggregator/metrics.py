"""What the aggregator exports."""

from dataclasses import dataclass, field
from typing import Final, Self

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from taximeter_emitter.wire.errors import Reason

from aggregator.core.sequences import EMITTERS_MAX, GAPS_MAX
from aggregator.reading.events import Ways
from aggregator.set_aside import LargestSetAside
from metering.process.metrics import WORK_SECONDS, counter, gauge, histogram
from metering.workers.group_metrics import GroupMetrics

COUNTING_STOPS: Final = ("ChainBroken", "RecordCorrupt", "RecordUnreadable", "HistoryLost", "PartitionsAdded", "Unforeseen")


@dataclass(frozen=True, slots=True)
class AggregatorMetrics:
    """All counters move when a tally is accepted, together, so that records and outcomes always agree. `set_aside` is for `/status`."""

    records: Counter
    events: Counter
    events_read: Counter
    quantity: Counter
    dead_letters: Counter
    unknown_usage: Counter
    capped_times: Counter
    clock_ahead: Gauge
    tallies: Counter
    tallied_log_time: Gauge
    unflushed_bytes: Gauge
    remembered_ids: Gauge
    topic_problems: Gauge
    emitters: Gauge
    emitter_gaps: Gauge
    flush_seconds: Histogram
    reader_info: Gauge
    group: GroupMetrics
    set_aside: LargestSetAside = field(default_factory=LargestSetAside)

    @classmethod
    def create(cls, registry: CollectorRegistry) -> Self:
        """Declare them on this registry."""
        prefix = "taximeter_aggregator"
        return cls(
            records=counter(
                registry,
                f"{prefix}_records_total",
                "Records covered by accepted tallies.",
                labels={"kind": ("heartbeat", "batch", "single", "skipped")},
            ),
            events=counter(
                registry,
                f"{prefix}_events_total",
                "Events covered by accepted tallies, by outcome.",
                labels={"outcome": ("counted", "duplicate", "forwarded", "dead_lettered")},
            ),
            events_read=counter(
                registry,
                f"{prefix}_events_read_total",
                "Events by the way in which they were read: from bytes, in Python many at once, in Python one by one.",
                labels={"way": Ways._fields},
            ),
            quantity=counter(registry, f"{prefix}_quantity_total", "Units counted (a view: the tallies are the truth).", labels={"meter": ()}),
            dead_letters=counter(
                registry, f"{prefix}_dead_letters_total", "Events set aside, by reason.", labels={"reason": tuple(reason.value for reason in Reason)}
            ),
            unknown_usage=counter(
                registry,
                f"{prefix}_unknown_usage_units_total",
                "Units, in counted events, of usage fields that the catalogue does not know: not billed. The tallies name the fields.",
            ),
            capped_times=counter(
                registry,
                f"{prefix}_capped_times_total",
                "Events whose sender set the time itself, by a clock ahead of Kafka's: counted at the log time.",
            ),
            clock_ahead=gauge(
                registry,
                f"{prefix}_clock_ahead_seconds",
                "How far the clock of a sender was ahead of Kafka's, at most, in the latest tally of the partition.",
                unit="seconds",
                labels={"partition": ()},
            ),
            tallies=counter(
                registry, f"{prefix}_tallies_total", "Tallies appended; lost: another writer's came first.", labels={"outcome": ("accepted", "lost")}
            ),
            tallied_log_time=gauge(
                registry,
                f"{prefix}_tallied_log_timestamp_seconds",
                "Log time up to which everything in the partition is tallied.",
                unit="timestamp_seconds",
                labels={"partition": ()},
            ),
            unflushed_bytes=gauge(registry, f"{prefix}_unflushed_bytes", "Bytes of events read and not yet in an accepted tally.", unit="bytes"),
            remembered_ids=gauge(registry, f"{prefix}_remembered_ids", "Event ids in memory for deduplication."),
            emitters=gauge(
                registry,
                f"{prefix}_emitters",
                f"Emitters that are remembered in the partition. Beyond {EMITTERS_MAX} the oldest are forgotten.",
                labels={"partition": ()},
            ),
            emitter_gaps=gauge(
                registry,
                f"{prefix}_emitter_gaps",
                f"Gaps in the numbers of the emitters of the partition. Beyond {GAPS_MAX} they are forgotten, where there are most.",
                labels={"partition": ()},
            ),
            topic_problems=gauge(
                registry, f"{prefix}_topic_problems", "What is wrong with the topics at the brokers, as readiness says under topics."
            ),
            flush_seconds=histogram(
                registry, f"{prefix}_flush_duration_seconds", "Time from cutting a tally to its acceptance.", unit="seconds", buckets=WORK_SECONDS
            ),
            reader_info=gauge(
                registry,
                f"{prefix}_reader_info",
                "1 for the reader of usage.events that runs: native where taximeter_native is installed, or else plain.",
                unit="info",
                labels={"reader": ("native", "plain")},
            ),
            group=GroupMetrics.create(
                registry,
                prefix,
                lag="Records of usage.events that no accepted tally of this process covers.",
                paused="Owned partitions whose fetching is paused by their byte bound.",
                takeover="Time from assignment to counting, with the index rebuilt.",
                stop_reasons=COUNTING_STOPS,
            ),
        )
