"""What a customer's usage of a meter is made of: the sums of the tallies at once, then the events behind them, and whether they are all of it."""

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from taximeter_emitter.wire.event import Dimensions
from taximeter_emitter.wire.limits import FUTURE_TOLERANCE_MS, HOUR_MS

from audit.recount.meter_definitions import MeterDefinition, rules_of
from audit.tracing.event_outcomes import EventOutcome
from audit.tracing.tally_search import TallySearch
from audit.tracing.usage_columns import FoundUsage, Stretch, UsageFinder, UsageQuestion
from metering.kafka.partition_log import LogReader
from metering.kafka.topics import Topics
from metering.records.tally import LatestValue, Tally, TallyRow, decode_tally_of
from metering.records.window import window_start

READ_OVER_MAX: Final = 256  # offsets between two stretches: reading them costs less than another read

OnRead = Callable[[int, int], None]
"""How many more records were read, and of how many."""


class AdjustingPlan(NamedTuple):
    """A plan that changed what was counted, who applied it and why."""

    plan: str
    kind: str
    by: str
    reason: str


@dataclass(slots=True)
class ExplainedUsage:
    """Sums over the tallies that have such usage. `rows` is what they say, `events` what the log holds: they must be equal once it was `compared`.

    `units_by` and `events_by` are what the rows say by UTC hour (Unix ms) and the meter's dimensions.
    `gone` are units of tallies whose records are not kept any more, `unknown` of those whose meters the log does not say: taken as they are.
    `latest`: the latest value, where the meter tells that; there are no units then.
    `adjusted` are units that plans added, or took out, by plan; they are not in `rows`.
    """

    rows: int = 0
    events: int = 0
    counted: int = 0
    gone: int = 0
    unknown: int = 0
    compared: bool = False
    units_by: Counter[tuple[int, Dimensions]] = field(default_factory=Counter)
    events_by: Counter[tuple[int, Dimensions]] = field(default_factory=Counter)
    outcomes: Counter[EventOutcome] = field(default_factory=Counter)
    adjusted: Counter[AdjustingPlan] = field(default_factory=Counter)
    latest: LatestValue | None = None

    @property
    def units(self) -> int:
        """What is billed of it: what was counted, and what plans changed."""
        return self.rows + self.adjusted.total()

    @property
    def agrees(self) -> bool:
        """Whether the events make the sum, as far as they were read."""
        return not self.compared or self.rows == self.events + self.gone + self.unknown


class Explainer:
    """Blocks on Kafka; raises LogUnavailable or FailClosed. The readers stay their owner's."""

    def __init__(self, reader: LogReader, tallies_reader: LogReader, topics: Topics) -> None:
        self._reader = reader
        self._tallies_reader = tallies_reader
        self._topics = topics

    async def sums(self, partition: int, question: UsageQuestion, result: ExplainedUsage) -> Sequence[Stretch]:
        """What the tallies say, into `result`; and where the events are that made it.

        Memory: an entry for each tally that has such usage and events that did not count; others are merged.
        """
        search = TallySearch(self._tallies_reader, self._topics.tallies.name, decode_tally_of(question.customer))
        kept_from, _ = await self._reader.bounds(self._topics.events.name, partition)
        stretches: list[Stretch] = []
        meters: dict[str, MeterDefinition | None] = {}
        readable = False
        async with aclosing(search.accepted(partition, question.from_ms - FUTURE_TOLERANCE_MS)) as tallies:
            async for _, tally in tallies:
                readable = readable and tally.acceptance is None and tally.stepped_over is None
                rows = rows_in(tally, question)
                result.latest = latest_in(tally, question, result.latest)
                units = sum(row.quantity for row in rows)
                adjustment = tally.adjustment
                if adjustment is not None and units:
                    result.adjusted[AdjustingPlan(adjustment.plan, adjustment.kind, adjustment.by, adjustment.reason)] += units
                if adjustment is not None or not units:
                    continue
                result.rows += units
                for row in rows:
                    place = window_start(row.window_start_ms, HOUR_MS), row.dimensions
                    result.units_by[place] += row.quantity
                    result.events_by[place] += row.events
                catalogue = search.catalogue_of(tally)
                if tally.link.start < kept_from:
                    result.gone += units
                elif catalogue is None:
                    result.unknown += units
                else:
                    if catalogue.version not in meters:
                        rules = rules_of(catalogue.definition)
                        meters[catalogue.version] = next((each for each in rules.meters if each.name == question.meter), None) if rules else None
                    _add(stretches, tally, meters[catalogue.version], joined=readable)
                    readable = True
        return stretches

    async def events(
        self, partition: int, question: UsageQuestion, stretches: Sequence[Stretch], result: ExplainedUsage, on_read: OnRead
    ) -> AsyncGenerator[FoundUsage, None]:
        """The customer's events of these stretches, in the order of the log; sums go into `result`."""
        finder, total = UsageFinder(question), sum(stretch.end - stretch.start for stretch in stretches)
        for run in _runs(stretches):
            at = 0
            async with aclosing(self._reader.records(self._topics.events.name, partition, run[0].start, run[-1].end)) as blocks:
                async for records in blocks:
                    found = []
                    for record in records:
                        while record.offset >= run[at].end:
                            at += 1
                        if record.offset >= run[at].start:
                            found.append((record, run[at]))
                    for each in finder.find(found):
                        result.outcomes.update(each.events)
                        result.counted += each.events.get(EventOutcome.COUNTED, 0)
                        result.events += each.units.get(EventOutcome.COUNTED, 0)
                        yield each
                    on_read(len(found), total)
        result.compared = True


def rows_in(tally: Tally, question: UsageQuestion) -> list[TallyRow]:
    """The rows of a tally that have of it."""
    return [
        row
        for row in tally.rows
        if row.customer == question.customer and row.meter == question.meter and question.from_ms <= row.window_start_ms < question.to_ms
    ]


def latest_in(tally: Tally, question: UsageQuestion, before: LatestValue | None) -> LatestValue | None:
    """The latest of what was found before and what a tally has of it. Tallies come in the order of the log."""
    for value in tally.latest:
        is_meant = (value.customer, value.meter) == (question.customer, question.meter) and question.asks_for(value.time_ms)
        if is_meant and (before is None or value.time_ms >= before.time_ms):
            before = value
    return before


def _add(stretches: list[Stretch], tally: Tally, meter: MeterDefinition | None, *, joined: bool) -> None:
    """One more, or a longer last one."""
    start, end = tally.link.start, tally.link.end
    last = stretches[-1] if stretches else None
    uncounted = tally if tally.set_aside or tally.not_counted else None
    if last is not None and uncounted is None and last[1:4] == (start, meter, None):
        stretches[-1] = last._replace(end=end)
        return
    stretches.append(Stretch(start, end, meter, uncounted, joined and last is not None and start - last.end <= READ_OVER_MAX))


def _runs(stretches: Sequence[Stretch]) -> list[list[Stretch]]:
    """Those that are read in one go."""
    runs: list[list[Stretch]] = []
    for stretch in stretches:
        if stretch.joined:
            runs[-1].append(stretch)
        else:
            runs.append([stretch])
    return runs
