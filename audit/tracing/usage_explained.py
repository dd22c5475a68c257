"""What a customer's usage of a meter is made of: the events behind it, and the proof that they are all of it."""

from collections import Counter
from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import NamedTuple

from taximeter_emitter.wire.limits import FUTURE_TOLERANCE_MS

from audit.tracing.event_outcomes import EventOutcome, outcome_of
from audit.tracing.event_search import EventAt, EventQuery, search
from audit.tracing.tally_search import TallySearch
from metering.kafka.partition_log import LogReader
from metering.kafka.topics import Topics
from metering.records.meters import Catalogue
from metering.records.tally import Tally
from metering.records.window import window_start

_MINUTE_MS = 60_000


class AdjustingPlan(NamedTuple):
    """A plan that changed what was counted, who applied it and why."""

    plan: str
    kind: str
    by: str
    reason: str


@dataclass(slots=True)
class ExplainedUsage:
    """Sums over the tallies that have such usage. `rows` is what they say, `events` what the log holds: they must be equal.

    `gone` are units of tallies whose records are not kept any more, `unknown` of those whose meters the log does not say: taken as they are.
    `adjusted` are units that plans added, or took out, by plan; they are not in `rows`.
    """

    rows: int = 0
    events: int = 0
    counted: int = 0
    gone: int = 0
    unknown: int = 0
    outcomes: Counter[EventOutcome] = field(default_factory=Counter)
    adjusted: Counter[AdjustingPlan] = field(default_factory=Counter)

    @property
    def units(self) -> int:
        """What is billed of it: what was counted, and what plans changed."""
        return self.rows + self.adjusted.total()

    @property
    def agrees(self) -> bool:
        """Whether the events make the sum."""
        return self.rows == self.events + self.gone + self.unknown


@dataclass(frozen=True, slots=True)
class UsageQuestion:
    """One customer and meter, usage of [from_ms, to_ms), both at the start of a minute (Unix ms)."""

    customer: str
    meter: str
    from_ms: int
    to_ms: int

    def asks_for(self, time_ms: int) -> bool:
        """Whether usage of this time is meant: it is summed by the minute."""
        return self.from_ms <= window_start(time_ms, _MINUTE_MS) < self.to_ms


class Explainer:
    """Blocks on Kafka; raises LogUnavailable or FailClosed. The reader stays its owner's. Reads only records of tallies with such usage."""

    def __init__(self, reader: LogReader, tallies_reader: LogReader, topics: Topics) -> None:
        self._reader = reader
        self._topic = topics.events.name
        self._tallies = TallySearch(tallies_reader, topics.tallies.name)

    async def explain(
        self, partition: int, question: UsageQuestion, result: ExplainedUsage
    ) -> AsyncGenerator[tuple[EventAt, EventOutcome, int], None]:
        """Each event of the customer in these records, with what became of it and its units; sums go into `result`."""
        kept_from, _ = await self._reader.bounds(self._topic, partition)
        async with aclosing(self._tallies.accepted(partition, question.from_ms - FUTURE_TOLERANCE_MS)) as tallies:
            async for _, tally in tallies:
                units = units_in(tally, question)
                if not units:
                    continue
                adjustment = tally.adjustment
                if adjustment is not None:
                    result.adjusted[AdjustingPlan(adjustment.plan, adjustment.kind, adjustment.by, adjustment.reason)] += units
                    continue
                result.rows += units
                catalogue = self._tallies.catalogue_of(tally)
                if tally.link.start < kept_from:
                    result.gone += units
                elif catalogue is None:
                    result.unknown += units
                else:
                    async with aclosing(self._events(partition, tally, catalogue, question)) as events:
                        async for each in events:
                            _, outcome, added = each
                            result.outcomes[outcome] += 1
                            if outcome is EventOutcome.COUNTED:
                                result.counted += 1
                                result.events += added
                            yield each

    async def _events(
        self, partition: int, tally: Tally, catalogue: Catalogue, question: UsageQuestion
    ) -> AsyncGenerator[tuple[EventAt, EventOutcome, int], None]:
        query, meter = EventQuery(question.customer), catalogue.by_name.get(question.meter)
        fields = frozenset(() if meter is None else meter.fields)
        async with aclosing(self._reader.records(self._topic, partition, tally.link.start, tally.link.end)) as batches:
            async for records in batches:
                for record in records:
                    for event in search(record, query):
                        added = sum([quantity for name, quantity in event.usage if name in fields])
                        if added and question.asks_for(event.time_ms):
                            yield event, outcome_of(tally, event.offset, event.at), added


def units_in(tally: Tally, question: UsageQuestion) -> int:
    """What the rows of a tally have of it."""
    return sum(
        row.quantity
        for row in tally.rows
        if row.customer == question.customer and row.meter == question.meter and question.from_ms <= row.window_start_ms < question.to_ms
    )
