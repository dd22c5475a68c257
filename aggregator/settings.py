"""Options of the aggregator."""

from dataclasses import dataclass

from metering.configuration.settings import option
from metering.records.service_limits import CHAIN_RECORD_BYTES_TARGET, EVENTS_RETENTION_MS


@dataclass(frozen=True, slots=True, kw_only=True)
class AggregatorSettings:
    """Section `aggregator`."""

    group_id: str = option(
        doc="Consumer group that shares the partitions among aggregators; empty: taximeter-aggregator- and the topic prefix.",
        default="",
    )
    instance_id: str | None = option(
        doc="Name of this instance, unique in the group; with one, a restart within the session timeout moves no partitions.", default=None
    )
    flush_seconds: float = option(doc="How often a partition with new events writes a tally.", default=5.0, unit="seconds", minimum=0.05, maximum=300)
    gather_seconds: float = option(
        doc="How long Kafka waits for more events before it hands over a few: to count them together costs much less. Never longer than half of"
        " flush_seconds.",
        default=0.25,
        unit="seconds",
        minimum=0,
        maximum=5,
    )
    flush_bytes: int = option(
        doc="A tally of this size is written at once.",
        default=CHAIN_RECORD_BYTES_TARGET,
        unit="bytes",
        minimum=10_000,
        maximum=CHAIN_RECORD_BYTES_TARGET,
    )
    idle_tally_seconds: float = option(
        doc="How often a partition without events writes an empty tally, so that its chain never ages out of the topic.",
        default=3600.0,
        unit="seconds",
        minimum=1,
        maximum=7 * 86_400,
    )
    unflushed_bytes_max: int = option(
        doc="Bytes of events that a partition may hold before its fetching pauses.",
        default=32 * 1024 * 1024,
        unit="bytes",
        minimum=1024 * 1024,
        maximum=1024 * 1024 * 1024,
    )
    deduplication_horizon_seconds: float = option(
        doc="How long the id of an event is remembered. An older event is set aside and never counted unseen.",
        default=86_400.0,
        unit="seconds",
        minimum=60,
        maximum=EVENTS_RETENTION_MS / 1000,
    )
    state_dir: str | None = option(
        doc="Folder of this process for ids that are not recent. They then take disk instead of memory, and a restart is quick. It may be"
        " deleted while no aggregator uses it. None keeps them in memory.",
        default=None,
    )
    stall_seconds: float = option(
        doc="Not ready when events wait and no tally was accepted for this long.", default=120.0, unit="seconds", minimum=1, maximum=3600
    )
    found_at_log_start: bool = option(
        doc="Allow a first tally in a topic whose oldest events are already deleted. They will never be counted.", default=False
    )
