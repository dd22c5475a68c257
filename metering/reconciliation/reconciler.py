"""Compare the ledger with Stripe's summaries, partition by partition and customer by customer, at a bounded rate."""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple, Protocol

from taximeter_emitter.clock import Clock

from metering.reconciliation.cells import Cell, CellKey, Cells, CellScope, CustomerMeter, Member
from metering.reconciliation.comparison import ComparedCell, Comparison, compare
from metering.reconciliation.differences import FoundCells, confirmed, sought_of
from metering.records.notes.evidence import CellVerdict

AT_ONCE: Final = 8
_EMPTY: Final = Cell()


class SummaryValue(NamedTuple):
    """Stripe's sum of one cell; `exact`: to the unit."""

    value: int
    exact: bool


class SummariesRefused(Exception):
    """Stripe does not show the summaries of this customer or meter; the message says why."""


class SummariesUnread(Exception):
    """Stripe did not answer as it should; asking again may help. The message has no key in it."""


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

    async def read(self, partition: int, scope: CellScope, *, sought: Collection[CellKey]) -> FoundCells:
        """The cells of one partition as the ledger stands now; the meter events of sought cells are listed."""
        ...


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
        self.members: Mapping[CellKey, Sequence[Member]] = {}  # of the cells that differed in the partition that was compared last

    async def compare_partition(
        self, partition: int, found: FoundCells, pairs: Sequence[CustomerMeter]
    ) -> AsyncGenerator[tuple[CustomerMeter, list[ComparedCell]], None]:
        """Each pair with its cells, those that differ checked against the ledger once more: it may have moved while Stripe was asked."""
        self.members = {}
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
        sought = sought_of([each for _, cells in doubtful for each in cells])
        now = await self._ledger.read(partition, self._scope, sought=sought) if doubtful else found
        self.members = now.members
        for pair, cells in doubtful:
            yield pair, [confirmed(each, found.cells, now) for each in cells]

    async def _compare(self, pair: CustomerMeter, ours: Mapping[int, Cell]) -> list[ComparedCell]:
        await self._turn(self._summaries.calls(self._scope))
        try:
            theirs = await self._summaries.sums(*pair, self._scope)
        except SummariesRefused as error:
            return unreadable_cells(pair, ours, self._scope, str(error))
        return compared_cells(pair, ours, theirs, now_ms=self._clock.now_ms(), settle_ms=self._settle_ms)

    async def _turn(self, calls: int) -> None:
        """Wait until this many calls may begin."""
        now = self._clock.monotonic()
        begin = max(now, self._free_at)
        self._free_at = begin + self._pace.seconds(calls)
        if begin > now:
            await self._clock.sleep(begin - now)


def unreadable_cells(pair: CustomerMeter, ours: Mapping[int, Cell], scope: CellScope, why: str) -> list[ComparedCell]:
    """The cells of a pair that Stripe does not show."""
    unread = {start: Comparison(CellVerdict.UNREADABLE, cell.sure, None, note=why) for start, cell in sorted(ours.items())}
    unread = unread or {scope.from_ms: Comparison(CellVerdict.UNREADABLE, 0, None, note=why)}
    return [ComparedCell(CellKey(*pair, start), comparison) for start, comparison in unread.items()]


def compared_cells(
    pair: CustomerMeter, ours: Mapping[int, Cell], theirs: Mapping[int, SummaryValue], *, now_ms: int, settle_ms: int
) -> list[ComparedCell]:
    """Each cell that either side has, by where it begins."""
    compared = []
    for start in sorted({*ours, *theirs}):
        value, exact = theirs.get(start, SummaryValue(0, exact=True))
        comparison = compare(ours.get(start, _EMPTY), value, exact=exact, now_ms=now_ms, settle_ms=settle_ms)
        compared.append(ComparedCell(CellKey(*pair, start), comparison))
    return compared
