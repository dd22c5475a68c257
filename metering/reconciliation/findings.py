"""What one comparison found, as it is kept in the ledger, and the memory of what earlier ones found. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Final

from metering.reconciliation.cells import Cell, Cells, CellScope, CustomerMeter
from metering.reconciliation.comparison import ComparedCell
from metering.records.notes.evidence import TAKEN_MAX, CellVerdict, Finding

_EMPTY: Final = Cell()


class EvidenceBook:
    """The last word of evidence on each customer and meter: of ranges that are settled, and of cells that are not.

    `customers_max` bounds it: of further customers nothing is remembered, so that they are read again.
    """

    def __init__(self, customers_max: int) -> None:
        self._max = customers_max
        self._ranges: dict[CustomerMeter, Finding] = {}
        self._cells: defaultdict[CustomerMeter, dict[int, Finding]] = defaultdict(dict)

    def take(self, findings: Iterable[Finding]) -> None:
        """The next findings, in the order of the ledger."""
        for found in findings:
            pair = CustomerMeter(found.customer, found.meter)
            if pair not in self._ranges and len(self._ranges) >= self._max:
                continue
            if found.verdict is CellVerdict.SETTLED and found.taken is None:
                self._settle(pair, found)
            else:
                self._cells[pair][found.start_ms] = found
                self._ranges.setdefault(pair, found)

    def read_at_ms(self, pair: CustomerMeter) -> int:
        """When this pair was last read; 0 if it was not."""
        found = self._ranges.get(pair)
        last = 0 if found is None else found.read_at_ms
        cells = self._cells.get(pair)
        return last if cells is None else max(last, *(each.read_at_ms for each in cells.values()))

    def of(self, pair: CustomerMeter, start_ms: int) -> Finding | None:
        """The last word on the cell that begins then; None if there is none."""
        cell = self._cells[pair].get(start_ms) if pair in self._cells else None
        found = self._ranges.get(pair)
        if cell is not None or found is None or not found.start_ms <= start_ms < found.end_ms:
            return cell
        return found

    def cells_of(self, pair: CustomerMeter) -> Mapping[int, Finding]:
        """The cells of this pair that are not plainly settled, by where they begin."""
        return self._cells.get(pair, {})

    @property
    def unsettled(self) -> list[Finding]:
        """All cells that are not plainly settled."""
        return [found for cells in self._cells.values() for found in cells.values()]

    def _settle(self, pair: CustomerMeter, found: Finding) -> None:
        self._ranges[pair] = found
        cells = self._cells.get(pair)
        if cells is None:
            return
        for start in [start for start, each in cells.items() if found.start_ms <= start and each.end_ms <= found.end_ms]:
            del cells[start]
        if not cells:
            del self._cells[pair]


def findings_of(
    pair: CustomerMeter, scope: CellScope, compared: Sequence[ComparedCell], cells: Cells, *, before: EvidenceBook, read_at_ms: int, confirm_ms: int
) -> list[Finding]:
    """Of one read of a pair: first all cells that are plainly settled, as one finding; then each other one. `cells` are what the ledger said.

    A difference is confirmed when it was shown twice, `confirm_ms` apart, and nothing has changed between.
    """
    plain = [each for each in compared if each.comparison.verdict is CellVerdict.SETTLED and each.comparison.taken is None]
    others = [each for each in compared if each.comparison.verdict is not CellVerdict.SETTLED or each.comparison.taken is not None]
    found = []
    if plain or not others:
        ours = sum(each.comparison.ours for each in plain)
        stripe = sum(each.comparison.stripe or 0 for each in plain)
        found.append(Finding(*pair, scope.from_ms, scope.to_ms, CellVerdict.SETTLED, ours, stripe, 0, read_at_ms, read_at_ms))
    for each in others:
        now = _finding(each, scope.width_ms, cells.get(each.key, _EMPTY), read_at_ms)
        found.append(_continued(before.cells_of(pair).get(each.key.start_ms), now, confirm_ms))
    return found


def _finding(each: ComparedCell, width_ms: int, cell: Cell, read_at_ms: int) -> Finding:
    key, told = each.key, each.comparison
    return Finding(
        customer=key.customer,
        meter=key.meter,
        start_ms=key.start_ms,
        end_ms=key.start_ms + width_ms,
        verdict=told.verdict,
        ours=told.ours,
        stripe=told.stripe,
        difference=told.difference,
        read_at_ms=read_at_ms,
        since_ms=read_at_ms,
        doubts=len(cell.doubts) + cell.doubts_left_out,
        taken=told.taken if told.taken is None or len(told.taken) <= TAKEN_MAX else None,
        cause=told.note,
    )


def _continued(before: Finding | None, now: Finding, confirm_ms: int) -> Finding:
    if before is None or not before.shows_the_same(now):
        return now
    confirmed = now.verdict.differs and now.stripe is not None and now.read_at_ms - before.since_ms >= confirm_ms
    return replace(now, since_ms=before.since_ms, reads=before.reads + 1, confirmed=before.confirmed or confirmed)
