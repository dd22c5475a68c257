"""The six topics: names, retention and the settings that the invariants rest on. Data only; provision creates and checks them."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from taximeter_emitter.wire.limits import DAY_MS, ENVELOPE_BYTES, EVENT_RECORD_BYTES_MAX

from metering.records.service_limits import CHAIN_RECORD_BYTES_MAX, EVENTS_RETENTION_MS

UNLIMITED: Final = -1
DEADLETTERS_RETENTION_MS: Final = 400 * DAY_MS

LOG_APPEND_TIME: Final = "LogAppendTime"
MAKE_TOPICS: Final = "run: taximeter topics create, or see the setting topic_prefix of [kafka]"
"""What to do about a topic that does not exist."""
CREATE_TIME: Final = "CreateTime"
"""Records keep the time that they are written with: of a copy, as long as it is not adopted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopicSpec:
    """One topic as it is created, and what an existing one must satisfy at least. `time_type`: whose time its records take.

    `partitions`: how many it has; None: as many as the settings say.
    """

    name: str
    retention_ms: int
    record_bytes_max: int
    retention_ms_min: int = EVENTS_RETENTION_MS
    time_type: str = LOG_APPEND_TIME
    partitions: int | None = None

    def partitions_of(self, settings: int) -> int:
        """How many partitions it has where the settings say this many."""
        return settings if self.partitions is None else self.partitions

    @property
    def max_message_bytes(self) -> int:
        """Kafka's `max.message.bytes`: room for the largest record with its envelope."""
        return self.record_bytes_max + ENVELOPE_BYTES

    def configuration(self, *, min_insync_replicas: int) -> dict[str, str]:
        """Topic configuration for a topic that does not exist yet."""
        return {
            "cleanup.policy": "delete",
            # A record's timestamp is when the broker took it: a back-dated event must not be deleted early.
            "message.timestamp.type": self.time_type,
            "retention.ms": str(self.retention_ms),
            "retention.bytes": str(UNLIMITED),
            "max.message.bytes": str(self.max_message_bytes),
            "min.insync.replicas": str(min_insync_replicas),
            "unclean.leader.election.enable": "false",
        }


@dataclass(frozen=True, slots=True)
class Topics:
    """The topics of one installation."""

    events: TopicSpec
    tallies: TopicSpec
    ledger: TopicSpec
    deadletters: TopicSpec
    catalogue: TopicSpec
    customers: TopicSpec

    def __iter__(self) -> Iterator[TopicSpec]:
        return iter((self.events, self.tallies, self.ledger, self.deadletters, self.catalogue, self.customers))


def topics_named(prefix: str) -> Topics:
    """The topics `<prefix>.events`, `<prefix>.tallies`, `<prefix>.ledger`, `<prefix>.deadletters`, `<prefix>.catalogue` and `<prefix>.customers`."""
    return Topics(
        events=TopicSpec(name=f"{prefix}.events", retention_ms=EVENTS_RETENTION_MS, record_bytes_max=EVENT_RECORD_BYTES_MAX),
        tallies=TopicSpec(name=f"{prefix}.tallies", retention_ms=UNLIMITED, record_bytes_max=CHAIN_RECORD_BYTES_MAX),
        ledger=TopicSpec(name=f"{prefix}.ledger", retention_ms=UNLIMITED, record_bytes_max=CHAIN_RECORD_BYTES_MAX),
        # A dead letter carries the original record and its story.
        deadletters=TopicSpec(name=f"{prefix}.deadletters", retention_ms=DEADLETTERS_RETENTION_MS, record_bytes_max=2 * EVENT_RECORD_BYTES_MAX),
        # One order of all versions, for all partitions of the others.
        catalogue=TopicSpec(name=f"{prefix}.catalogue", retention_ms=UNLIMITED, record_bytes_max=EVENT_RECORD_BYTES_MAX, partitions=1),
        # Not compacted: who linked whom, and when, stays to be read, and a copy has each record at its offset.
        customers=TopicSpec(name=f"{prefix}.customers", retention_ms=UNLIMITED, record_bytes_max=EVENT_RECORD_BYTES_MAX, partitions=1),
    )
