"""What Stripe must have by the ledger, by customer, meter and hour or day: what is sure, and what is in doubt. Pure: entries are handed in."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final, NamedTuple, TypeAlias

from taximeter_emitter.wire.limits import FUTURE_TOLERANCE_MS

from metering.folds.corrections import TAKEN, CorrectionHistory, Fate, named_places
from metering.folds.ledger import Ledger
from metering.records.ledger_records import CorrectionKind, Entry, Intent, MeterEvent, Outcome, Receipt, Rejection

DOUBTS_MAX: Final = 1_000
MEMBERS_MAX: Final = 2_000


class DoubtCause(StrEnum):
    """Why it is not known whether Stripe has something."""

    OPEN = "open"  # it will be sent, or was and has no answer yet
    PARKED = "parked"
    REPORTED = "reported"  # an error report names it, and more than one attempt may have reached Stripe


class Doubt(NamedTuple):
    """Something that Stripe may have or not; `value` is below zero where it takes back."""

    identifier: str
    value: int
    cause: DoubtCause


class Member(NamedTuple):
    """A meter event of a cell, that Stripe has for sure by the ledger."""

    identifier: str
    value: int
    time_ms: int


class CellKey(NamedTuple):
    """One Stripe customer, meter, and hour or day from `start_ms` (Unix milliseconds, UTC)."""

    customer: str
    meter: str
    start_ms: int


class CustomerMeter(NamedTuple):
    """What one question to Stripe is about."""

    customer: str
    meter: str


@dataclass(slots=True)
class Cell:
    """What the ledger says of one cell: `sure` units, and at most DOUBTS_MAX doubts (`doubts_left_out` counts further ones).

    `back`: how many units below zero are in `sure`, without the sign. Stripe's sum shows them late, as it shows all
    else. The first and last word on the cell: `first_told_ms` and `last_told_ms`, by the clocks of the broker and the reporters.
    """

    sure: int = 0
    doubts: list[Doubt] = field(default_factory=list)
    doubts_left_out: int = 0
    first_told_ms: int = 0
    last_told_ms: int = 0
    back: int = 0

    def has(self, value: int) -> None:
        """Stripe has a meter event of this value for sure; below zero it takes back."""
        self.sure += value
        self.back += max(0, -value)

    def told(self, at_ms: int) -> None:
        """Note when something of it was planned, sent or answered."""
        self.first_told_ms = min(self.first_told_ms or at_ms, at_ms)
        self.last_told_ms = max(self.last_told_ms, at_ms)

    def with_that(self, other: "Cell") -> "Cell":
        """Both together: two partitions have something of one cell."""
        doubts = [*self.doubts, *other.doubts]
        told = [at_ms for at_ms in (self.first_told_ms, other.first_told_ms) if at_ms]
        return Cell(
            self.sure + other.sure,
            doubts[:DOUBTS_MAX],
            self.doubts_left_out + other.doubts_left_out + max(0, len(doubts) - DOUBTS_MAX),
            min(told, default=0),
            max(self.last_told_ms, other.last_told_ms),
            self.back + other.back,
        )

    def doubt(self, doubt: Doubt) -> None:
        """Add a doubt, as long as there is room."""
        if len(self.doubts) < DOUBTS_MAX:
            self.doubts.append(doubt)
        else:
            self.doubts_left_out += 1


@dataclass(frozen=True, slots=True)
class CellScope:
    """Which cells: of meter events with a time in [from_ms, to_ms), both at the start of a cell; `width_ms` is an hour or a day.

    `customers`, Stripe's, and `meters` narrow it (None: all). `billed_for`, ours, narrows it to a part of what a Stripe customer is billed.
    """

    from_ms: int
    to_ms: int
    width_ms: int
    customers: frozenset[str] | None = None
    meters: frozenset[str] | None = None
    billed_for: frozenset[str] | None = None

    @property
    def told_from_ms(self) -> int:
        """The log time before which none of it was planned: nothing is planned before its own time, but for clocks that differ."""
        return self.from_ms - FUTURE_TOLERANCE_MS

    def key_of(self, event: MeterEvent) -> CellKey | None:
        """The cell of a meter event; None outside of the scope, and of what Stripe never gets."""
        if event.is_for_nobody:
            return None
        if not self.from_ms <= event.time_ms < self.to_ms:
            return None
        if self.customers is not None and event.billed not in self.customers:
            return None
        if self.meters is not None and event.meter not in self.meters:
            return None
        if self.billed_for is not None and event.customer not in self.billed_for:
            return None
        return CellKey(event.billed, event.meter, event.time_ms - event.time_ms % self.width_ms)


Cells: TypeAlias = Mapping[CellKey, Cell]


class LedgerCells:
    """Folds one partition of usage.ledger into cells. Pass every entry to `foresee` first, then every entry to `fold`; `finish` at the end.

    `ledger` is an empty fold placed where the reading begins. Memory: a cell each, the open entries, and the meter events that error reports
    and corrections name. `sought`: cells of which the meter events are listed
    that Stripe has for sure, MEMBERS_MAX at most of each.
    """

    def __init__(self, scope: CellScope, ledger: Ledger, sought: Collection[CellKey] = ()) -> None:
        self._scope = scope
        self._sought = sought
        self.members: dict[CellKey, list[Member]] = {}
        self.history = CorrectionHistory()
        self.history.ledger = ledger
        self._cells: dict[CellKey, Cell] = {}
        self.rejections: list[Rejection] = []
        self.latest: set[CustomerMeter] = set()  # of latest values, which are not compared

    def foresee(self, entry: Entry) -> None:
        """Remember what this entry will speak of."""
        self.history.watch(named_places(entry))

    def fold(self, offset: int, log_time_ms: int, entry: Entry) -> None:
        """The next entry in log order. Raises ChainBroken as the ledger does."""
        if isinstance(entry, Receipt):
            self._settle(entry)
        accepted = self.history.fold(offset, log_time_ms, entry)
        if isinstance(entry, Rejection):
            self.rejections.append(entry)
        elif isinstance(entry, Intent) and accepted:
            for event in entry.meter_events:
                cell = self._cell(event)
                if cell is not None:
                    cell.told(log_time_ms)
                elif event.reading is not None and self._scope.key_of(event) is not None:
                    self.latest.add(CustomerMeter(event.billed, event.meter))

    def finish(self) -> Cells:
        """All cells of the scope that the ledger has, after the last entry."""
        for offset, found in self.history.ledger.open.items():
            planned = found.entry
            if isinstance(planned, Intent):
                for index in found.open:
                    if (offset, index) not in self.history.targets:
                        self._doubt(planned.meter_events[index], planned.identifier(index), DoubtCause.OPEN)
        for corrected in self.history.corrections.values():
            cell = self._cell(corrected.correction.event)
            if cell is not None:
                cell.told(corrected.log_time_ms)
        for event, value, identifier, fate in self._judged():
            self._add(event, value, identifier, fate)
        return self._cells

    def sure_of(self, pair: CustomerMeter, from_ms: int, to_ms: int) -> int:
        """The units of this pair in [from_ms, to_ms) that Stripe has for sure by the entries so far. Not after `finish`."""
        keys = (CellKey(*pair, start) for start in range(from_ms - from_ms % self._scope.width_ms, to_ms, self._scope.width_ms))
        sure = sum(self._cells[key].sure for key in keys if key in self._cells)
        for event, value, _, fate in self._judged():
            if fate.at_stripe and (event.billed, event.meter) == pair and from_ms <= event.time_ms < to_ms:
                sure += value
        return sure

    def told_ms(self, key: CellKey) -> int:
        """The last word on a cell so far (Unix ms); 0 if there was none."""
        return self._cells[key].last_told_ms if key in self._cells else 0

    def _judged(self) -> Iterator[tuple[MeterEvent, int, str, Fate]]:
        """The meter events and corrections that something else speaks of, each with what Stripe's sum has more by it."""
        for target in self.history.targets.values():
            yield target.event, target.event.value, target.identifier, target.fate
        for corrected in self.history.corrections.values():
            correction = corrected.correction
            target_found = self.history.targets.get((correction.intent, correction.index))
            if correction.kind is CorrectionKind.CANCEL and target_found is not None and target_found.fate.at_stripe is False:
                continue  # what was not recorded is not cancelled: Stripe has nothing less
            yield correction.event, corrected.value, correction.identifier(), corrected.fate

    def _settle(self, receipt: Receipt) -> None:
        """Add up final outcomes while their entries are still open; those that something else speaks of are judged at the end."""
        for settlement in self.history.ledger.news(receipt):
            planned = self.history.ledger.open[settlement.intent].entry
            if not isinstance(planned, Intent):
                continue
            event = planned.meter_events[settlement.index]
            cell = self._cell(event)
            if cell is None:
                continue
            cell.told(settlement.at_ms)
            if (settlement.intent, settlement.index) in self.history.targets:
                continue
            if settlement.outcome in TAKEN:
                cell.has(event.value)
                self._list(event, planned.identifier(settlement.index))
            elif settlement.outcome is Outcome.PARKED:
                cell.doubt(Doubt(planned.identifier(settlement.index), event.value, DoubtCause.PARKED))

    def _add(self, event: MeterEvent, value: int, identifier: str, fate: Fate) -> None:
        cell = self._cell(event)
        if cell is None:
            return
        if fate.at_stripe:
            cell.has(value)
            self._list(event, identifier)
        elif fate.at_stripe is None:
            cell.doubt(Doubt(identifier, value, _cause(fate)))

    def _doubt(self, event: MeterEvent, identifier: str, cause: DoubtCause) -> None:
        cell = self._cell(event)
        if cell is not None:
            cell.doubt(Doubt(identifier, event.value, cause))

    def _list(self, event: MeterEvent, identifier: str) -> None:
        key = self._scope.key_of(event) if self._sought else None
        if key is not None and key in self._sought:
            found = self.members.setdefault(key, [])
            if len(found) < MEMBERS_MAX:
                found.append(Member(identifier, event.value, event.time_ms))

    def _cell(self, event: MeterEvent) -> Cell | None:
        key = self._scope.key_of(event) if event.reading is None else None  # latest values are not compared
        return None if key is None else self._cells.setdefault(key, Cell())


def _cause(fate: Fate) -> DoubtCause:
    if fate.outcome is None:
        return DoubtCause.OPEN
    return DoubtCause.PARKED if fate.outcome is Outcome.PARKED else DoubtCause.REPORTED
