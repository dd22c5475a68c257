"""The rows of a plan in one partition, from its accepted tallies and their records, each tally alone. Pure.

Which events counted is what the tally says: its range less what it leaves out. What they count now is what its catalogue makes of them, but for
what active earlier plans changed: these are applied first, so no event is taken out twice or counted twice by one meter.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from audit.adjustments.selected_events import selected_places
from audit.adjustments.signed_sums import SignedSums
from audit.decoder.record_contents import BatchContents, HeldEvents, SingleContents, UnreadableContents
from audit.decoder.record_reading import contents_of
from audit.recount.left_out import NOTHING, LeftOut, LeftOutPlaces
from audit.recount.meter_definitions import CatalogueRules, MeterDefinition, rules_of
from metering.plans.plan_header import PlanHeader
from metering.plans.usage_selector import UsageSelector
from metering.records.adjustment import AdjustedRow, AdjustmentKind
from metering.records.record import LogRecord
from metering.records.tally import Tally

_TAKES: frozenset[AdjustmentKind] = frozenset({AdjustmentKind.TAKE_OUT, AdjustmentKind.MOVE})
DERIVED_KINDS: frozenset[AdjustmentKind] = _TAKES | {AdjustmentKind.COUNT}
"""Kinds of plan whose rows follow from events."""


class DerivedPart(NamedTuple):
    """Rows of one part. `moved`: usage that comes to a customer, which is written behind what is taken from others."""

    moved: bool
    rows: Sequence[AdjustedRow]


@dataclass(slots=True)
class DerivationCounts:
    """Of the events that the selector means: how many, what became of them, and how many of those that counted an earlier plan took out.

    `unknown_tallies`: those that do not say what they left out, or by which meters they counted; nothing of them is in the plan.
    `unreadable`: records in the range that cannot be read.
    """

    tallies: int = 0
    records: int = 0
    events: int = 0
    selected: int = 0
    counted: int = 0
    taken_before: int = 0
    unreadable: int = 0
    unknown_tallies: int = 0
    left_out: Counter[LeftOut] = field(default_factory=Counter)

    def add(self, other: "DerivationCounts") -> None:
        """Add those of another partition."""
        for name in ("tallies", "records", "events", "selected", "counted", "taken_before", "unreadable", "unknown_tallies"):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.left_out.update(other.left_out)


class EarlierPlan(NamedTuple):
    """An active plan, as it changes one partition: the records [start, end) that it is about, what it selects and does."""

    kind: AdjustmentKind
    selector: UsageSelector
    start: int
    end: int
    meter: str
    definition: MeterDefinition | None


def earlier_plan(header: PlanHeader, partition: int) -> EarlierPlan | None:
    """What a plan did to this partition; None if it read nothing there, or its rows do not follow from events."""
    planned = header.ranges.get(partition)
    if planned is None or header.rule.kind not in DERIVED_KINDS:
        return None
    return EarlierPlan(header.rule.kind, header.selector, planned.start, planned.end, header.rule.meter, definition_of(header))


def definition_of(header: PlanHeader) -> MeterDefinition | None:
    """How a COUNT plan's meter counts. Raises ValueError if its catalogue has no such meter."""
    rule = header.rule
    if rule.kind is not AdjustmentKind.COUNT:
        return None
    rules = rules_of(rule.definition or ())
    found = next((meter for meter in rules.meters if meter.name == rule.meter), None) if rules is not None else None
    if found is None:
        raise ValueError(f"the plan counts by meter {rule.meter!r}, and its catalogue has none of that name")
    if found.tells_last:
        raise ValueError(f"the plan counts by meter {rule.meter!r}, which tells the last value: nothing can be added to it")
    return found


class PlanDerivation:
    """One partition. For each tally in order: `begin_tally`, `take` its records in order, `end_tally`; and `finish` behind the last one."""

    def __init__(self, header: PlanHeader, partition: int, earlier: Sequence[EarlierPlan]) -> None:
        self.counts = DerivationCounts()
        self.named: Counter[str] = Counter()  # units of fields that no meter knew when they were counted, and that the plan counts
        self._header = header
        self._rule = header.rule
        self._selector = header.selector
        self._definition = definition_of(header)
        self._earlier = earlier
        self.partition = partition
        self.stays = SignedSums(header.window_ms, header.rule.into)
        self.moves = SignedSums(header.window_ms, header.rule.into)
        self._rules: CatalogueRules | None = None
        self._left_out: LeftOutPlaces | None = None

    def begin_tally(self, tally: Tally, rules: CatalogueRules | None) -> bool:
        """The next accepted tally, and its catalogue (None: the log does not say it). Returns whether its records are needed."""
        self._rules = self._left_out = None
        if tally.link.start == tally.link.end or tally.acceptance is not None or tally.stepped_over is not None:
            return False
        self.counts.tallies += 1
        if rules is None or tally.horizon_ms is None:
            self.counts.unknown_tallies += 1
            return False
        self._rules, self._left_out = rules, LeftOutPlaces(tally)
        return True

    def take(self, record: LogRecord) -> None:
        """The next record of the tally."""
        rules, left_out = self._rules, self._left_out
        if rules is None or left_out is None:
            return
        self.counts.records += 1
        contents = contents_of(record)
        if isinstance(contents, UnreadableContents):
            self.counts.unreadable += 1
        if not isinstance(contents, SingleContents | BatchContents):
            return
        events = contents.events
        number = len(events.at)
        self.counts.events += number
        places = selected_places(self._selector, record, contents, range(number))
        missing = left_out.of(record.offset, number)
        if not places:
            return
        self.counts.selected += len(places)
        if missing is not NOTHING:
            self.counts.left_out.update(missing[place] for place in places if place in missing)
            places = [place for place in places if place not in missing]
        self.counts.counted += len(places)
        if places:
            self._apply(record, contents, places, rules)

    def end_tally(self) -> list[DerivedPart]:
        """What there is by now, if it is enough for a part."""
        return _parts(self.stays.take_full(), moved=False) + _parts(self.moves.take_full(), moved=True)

    def finish(self) -> list[DerivedPart]:
        """What is left."""
        return _parts(self.stays.drain(), moved=False) + _parts(self.moves.drain(), moved=True)

    def _apply(self, record: LogRecord, contents: SingleContents | BatchContents, places: Sequence[int], rules: CatalogueRules) -> None:
        now = _InEffect(rules, self._earlier, record, contents, places)
        self.counts.taken_before += now.taken
        events, rule = contents.events, self._rule
        if rule.kind is AdjustmentKind.COUNT:
            self._count(events, now, rules)
            return
        for meter, chosen in now.definitions():
            if self._selector.takes_meter(meter.name):
                self._take_out(events, meter, chosen)

    def _count(self, events: HeldEvents, now: "_InEffect", rules: CatalogueRules) -> None:
        wanted = self._definition
        assert wanted is not None, "of a COUNT plan"
        for meter, chosen in now.of(wanted.name):
            if meter == wanted:
                continue
            self.stays.add(events, wanted, chosen, sign=1)
            self._name(events, wanted, chosen, rules)
            if meter is not None:
                self.stays.add(events, meter, chosen, sign=-1)

    def _name(self, events: HeldEvents, wanted: MeterDefinition, places: Sequence[int], rules: CatalogueRules) -> None:
        """Note the units of fields that nobody knew of these events, and that the plan counts."""
        for number, (_, dimensions) in enumerate(events.series):
            new = (wanted.fields & events.usage.keys()) - rules.fields_for(dimensions) if wanted.is_for(dimensions) else ()
            for field_name in new:
                column = events.usage[field_name]
                self.named[field_name] += sum(column[place] for place in places if events.at[place] == number)

    def _take_out(self, events: HeldEvents, meter: MeterDefinition, places: Sequence[int]) -> None:
        receiver = self._rule.to_customer
        if receiver:
            own = {number for number, (customer, _) in enumerate(events.series) if customer == receiver}
            places = [place for place in places if events.at[place] not in own] if own else places
            self.moves.add(events, meter, places, sign=1, customer=receiver)
        self.stays.add(events, meter, places, sign=-1)


class _InEffect:
    """By which meters some events of a record count now. A last value is no sum, so that no plan changes it."""

    def __init__(
        self,
        rules: CatalogueRules,
        earlier: Sequence[EarlierPlan],
        record: LogRecord,
        contents: SingleContents | BatchContents,
        places: Sequence[int],
    ) -> None:
        self._by_name = {meter.name: meter for meter in rules.meters if not meter.tells_last}
        self._places = places
        self._changed = [
            (plan, frozenset(selected))
            for plan in earlier
            if plan.start <= record.offset < plan.end and (selected := selected_places(plan.selector, record, contents, places))
        ]

    @property
    def taken(self) -> int:
        """How many of them an earlier plan took out whole, or in part."""
        return len(frozenset().union(*(selected for plan, selected in self._changed if plan.kind in _TAKES))) if self._changed else 0

    def definitions(self) -> Iterator[tuple[MeterDefinition, Sequence[int]]]:
        """Each meter that counts some of them, and which."""
        names = {plan.meter for plan, _ in self._changed if plan.definition is not None} | self._by_name.keys()
        for name in sorted(names):
            for meter, places in self.of(name):
                if meter is not None:
                    yield meter, places

    def of(self, name: str) -> Iterator[tuple[MeterDefinition | None, Sequence[int]]]:
        """How the meter of this name counts them, where it is not that they were taken out; None: it does not."""
        places = self._places
        for plan, selected in self._changed:
            if plan.kind in _TAKES and plan.selector.takes_meter(name):
                places = [place for place in places if place not in selected]
        for plan, selected in reversed(self._changed):
            if plan.definition is not None and plan.meter == name:
                if chosen := [place for place in places if place in selected]:
                    yield plan.definition, chosen
                places = [place for place in places if place not in selected]
        if places:
            yield self._by_name.get(name), places


def _parts(parts: Iterable[Sequence[AdjustedRow]], *, moved: bool) -> list[DerivedPart]:
    return [DerivedPart(moved, rows) for rows in parts]
