"""Compare the ledger with Stripe's summaries, partition by partition and customer by customer, at a bounded rate."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple, Protocol

from taximeter_emitter.clock import Clock

from metering.folds.distinct_reports import distinct
from metering.reconciliation.cells import Cell, CellKey, Cells, CellScope
from metering.reconciliation.comparison import Comparison, compare
from metering.records.ledger_records import Rejection
from metering.records.notes.evidence import CellVerdict

AT_ONCE: Final = 8
_EMPTY: Final = Cell()


class SummaryValue(NamedTuple):
    """Stripe's sum of one cell; `exact`: to the unit."""

    value: int
    exact: bool


class SummariesRefused(Exception):
    """Stripe does not show the summaries of this customer or meter; the message says why."""


class SummarySource(Protocol):
    """Stripe's summaries."""

    async def sums(self, customer: str, meter: str, scope: CellScope) -> Mapping[int, SummaryValue]:
        """By the start of each cell with usage (Unix ms). Raises SummariesRefused; blocks on Stripe, for `calls` calls or fewer."""
        ...

    def calls(self, scope: CellScope) -> int:
        """How many calls `sums` makes at most for one customer and meter."""
        ...


class CellSource(Protocol):
    """The ledger."""

    async def read(self, partition: int, scope: CellScope) -> "FoundCells":
        """The cells of one partition as the ledger stands now."""
        ...


class FoundCells(Protocol):
    """What the ledger has of a partition."""

    @property
    def cells(self) -> Cells:
        """The cells."""
        ...

    @property
    def rejections(self) -> Sequence[Rejection]:
        """Error reports of Stripe's."""
        ...


class CustomerMeter(NamedTuple):
    """What one question to Stripe is about."""

    customer: str
    meter: str


@dataclass(frozen=True, slots=True)
class ComparedCell:
    """One cell and how it stands."""

    key: CellKey
    comparison: Comparison


@dataclass(frozen=True, slots=True)
class Pace:
    """At most this many calls a second are begun."""

    calls_per_second: float

    def seconds(self, calls: int) -> float:
        """The least time that this many calls take."""
        return calls / self.calls_per_second


def pairs_of(cells: Cells, asked: Sequence[CustomerMeter] = ()) -> list[CustomerMeter]:
    """Whom to ask Stripe about: all that the ledger has, and those that were asked for although it has nothing of them."""
    return sorted({*(CustomerMeter(key.customer, key.meter) for key in cells), *asked})


class Reconciler:
    """Compares one partition at a time; memory is the cells of that partition. Raises what its sources raise."""

    def __init__(self, ledger: CellSource, summaries: SummarySource, *, scope: CellScope, pace: Pace, settle_ms: int, clock: Clock) -> None:
        self._ledger = ledger
        self._summaries = summaries
        self._scope = scope
        self._pace = pace
        self._settle_ms = settle_ms
        self._clock = clock
        self._free_at = clock.monotonic()

    async def compare_partition(
        self, partition: int, found: FoundCells, pairs: Sequence[CustomerMeter]
    ) -> AsyncGenerator[tuple[CustomerMeter, list[ComparedCell]], None]:
        """Each pair with its cells, those that differ checked against the ledger once more: it may have moved while Stripe was asked."""
        by_pair: defaultdict[CustomerMeter, dict[int, Cell]] = defaultdict(dict)
        for key, cell in found.cells.items():
            by_pair[CustomerMeter(key.customer, key.meter)][key.start_ms] = cell
        doubtful: list[tuple[CustomerMeter, list[ComparedCell]]] = []
        for first in range(0, len(pairs), AT_ONCE):
            together = pairs[first : first + AT_ONCE]
            compared = await asyncio.gather(*(self._compare(pair, by_pair.get(pair, {})) for pair in together))
            for pair, cells in zip(together, compared, strict=True):
                if any(each.comparison.verdict.differs for each in cells):
                    doubtful.append((pair, cells))
                else:
                    yield pair, cells
        now = await self._ledger.read(partition, self._scope) if doubtful else found
        for pair, cells in doubtful:
            yield pair, [self._confirmed(each, found.cells, now) for each in cells]

    async def _compare(self, pair: CustomerMeter, ours: Mapping[int, Cell]) -> list[ComparedCell]:
        await self._turn(self._summaries.calls(self._scope))
        try:
            theirs = await self._summaries.sums(*pair, self._scope)
        except SummariesRefused as error:
            return [
                ComparedCell(CellKey(*pair, start), Comparison(CellVerdict.UNREADABLE, cell.sure, None, note=str(error)))
                for start, cell in sorted(ours.items())
            ] or [ComparedCell(CellKey(*pair, self._scope.from_ms), Comparison(CellVerdict.UNREADABLE, 0, None, note=str(error)))]
        now_ms = self._clock.now_ms()
        compared = []
        for start in sorted({*ours, *theirs}):
            value, exact = theirs.get(start, SummaryValue(0, exact=True))
            comparison = compare(ours.get(start, _EMPTY), value, exact=exact, now_ms=now_ms, settle_ms=self._settle_ms)
            compared.append(ComparedCell(CellKey(*pair, start), comparison))
        return compared

    def _confirmed(self, each: ComparedCell, before: Cells, found: FoundCells) -> ComparedCell:
        """What differs although the ledger stood still; otherwise it is on its way, and the next comparison shows it."""
        comparison, now = each.comparison, found.cells.get(each.key, _EMPTY)
        if not comparison.verdict.differs:
            return each
        if now != before.get(each.key, _EMPTY):
            return replace(each, comparison=replace(comparison, verdict=CellVerdict.ARRIVING, difference=0, note="the ledger moved meanwhile"))
        causes = _causes(each.key, now, found.rejections) if comparison.verdict is CellVerdict.MISSING else ()
        return replace(each, comparison=replace(comparison, note="; ".join(filter(None, (comparison.note, *causes)))))

    async def _turn(self, calls: int) -> None:
        """Wait until this many calls may begin."""
        now = self._clock.monotonic()
        begin = max(now, self._free_at)
        self._free_at = begin + self._pace.seconds(calls)
        if begin > now:
            await self._clock.sleep(begin - now)


def _causes(key: CellKey, cell: Cell, rejections: Sequence[Rejection]) -> list[str]:
    """Error reports on this meter that count more than they name, from the time of this cell's meter events."""
    causes = []
    for each in distinct(rejections):
        unnamed = each.error_count - len(each.identifiers)
        overlaps = each.window_end_ms >= cell.first_told_ms and (each.window_start_ms or each.at_ms) <= cell.last_told_ms + 3_600_000
        if unnamed > 0 and each.meter in {"", key.meter} and overlaps:
            causes.append(f"report {each.event_id} ({each.code}) counts {unnamed:,} that it does not name")
    return causes
