"""Follow an event: its record, what became of it, the tally, the intent, the meter event, Stripe's answer, and what plans changed of it."""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field

from audit.tracing.event_outcomes import EventOutcome, outcome_of
from audit.tracing.event_plans import EventPlan, EventPlans
from audit.tracing.event_search import EventAt, EventQuery, events_in, search
from audit.tracing.ledger_search import LedgerSearch, TallyReport, UsageAt
from audit.tracing.tally_search import TallySearch
from metering.kafka.around_damage import records_around_damage
from metering.kafka.partition_log import LogReader
from metering.kafka.topics import Topics
from metering.records.fail_closed import RecordUnreadable
from metering.records.tally import Tally


@dataclass(slots=True)
class TracedEvent:
    """One event and all that is known of it. `units` by meter are those that it adds, `values` what it says of meters of the latest value;
    `report` is what the ledger says of both.

    `plans` are those that changed what it counts for, in order.
    """

    partition: int
    event: EventAt
    outcome: EventOutcome
    tally_offset: int | None = None
    tally: Tally | None = None
    units: dict[str, int] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=dict)
    report: TallyReport | None = None
    plans: Sequence[EventPlan] = ()


class Tracer:
    """Blocks on Kafka; every method may raise LogUnavailable or FailClosed. The reader stays its owner's."""

    def __init__(self, reader: LogReader, topics: Topics) -> None:
        self.damaged: list[str] = []  # what could not be searched
        self._reader = reader
        self._topics = topics
        self._tallies = TallySearch(reader, topics.tallies.name)
        self._ledger = LedgerSearch(reader, topics.ledger.name)

    async def find(self, partition: int, query: EventQuery, from_ms: int, to_ms: int | None) -> AsyncGenerator[EventAt, None]:
        """The events that are meant, in the records that Kafka took in this time (Unix ms; None: until now)."""
        topic = self._topics.events.name
        start, end = await self._reader.bounds(topic, partition)
        first = await self._reader.offset_for_time(topic, partition, from_ms)
        last = None if to_ms is None else await self._reader.offset_for_time(topic, partition, to_ms)
        if first is None:
            return
        stop = end if last is None else min(end, last)
        async with aclosing(records_around_damage(self._reader, topic, partition, max(start, first), stop, on_damage=self._note_damage)) as batches:
            async for records in batches:
                for record in records:
                    for event in search(record, query):
                        yield event

    def _note_damage(self, _first: int, following: int, error: RecordUnreadable) -> None:
        self.damaged.append(f"{error}; the search goes on at {following}")

    async def at(self, partition: int, offset: int) -> Sequence[EventAt]:
        """The events of the record at this offset; none if it is not kept, or holds none."""
        start, end = await self._reader.bounds(self._topics.events.name, partition)
        record = await self._reader.record(self._topics.events.name, partition, offset) if start <= offset < end else None
        return () if record is None else list(events_in(record))

    async def trace(self, partition: int, event: EventAt) -> TracedEvent:
        """All that is known of an event."""
        found = await self._tallies.covering(partition, event.offset, event.log_time_ms)
        if found is None:
            return TracedEvent(partition, event, EventOutcome.WAITING)
        offset, tally = found
        traced = TracedEvent(partition, event, outcome_of(tally, event.offset, event.at), offset, tally)
        catalogue = self._tallies.catalogue_of(tally)
        if traced.outcome is not EventOutcome.COUNTED or catalogue is None:
            return traced
        matching = catalogue.of(event.dimensions)
        traced.units, traced.values = matching.units(event.usage), matching.values(event.usage)
        sums, values = ([UsageAt(event.customer, meter, event.time_ms) for meter in meters] for meters in (traced.units, traced.values))
        traced.report = await self._ledger.report(partition, offset, tally.log_time_ms, sums, values)
        return traced

    async def note_plans(self, traced: Sequence[TracedEvent]) -> None:
        """Add what plans changed. Reads usage.tallies of each partition once, from the first of these events on: plans come at any time after it."""
        for partition in sorted({each.partition for each in traced}):
            counted = [each for each in traced if each.partition == partition and each.outcome is EventOutcome.COUNTED]
            if not counted:
                continue
            following = [EventPlans(partition, each.event, each.units) for each in counted]
            since_ms = min(each.event.log_time_ms for each in counted)
            async with aclosing(self._tallies.accepted(partition, since_ms)) as tallies:
                async for offset, tally in tallies:
                    if tally.adjustment is not None:
                        for plans in following:
                            plans.take(offset, tally, tally.adjustment)
            for each, plans in zip(counted, following, strict=True):
                each.plans = list(plans.found.values())
