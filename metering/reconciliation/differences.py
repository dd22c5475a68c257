"""What differs, confirmed against the ledger once more and named by its likely cause. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final, Protocol

from metering.folds.distinct_reports import distinct
from metering.reconciliation.cells import Cell, CellKey, Cells, Member
from metering.reconciliation.comparison import ComparedCell
from metering.records.ledger_records import Rejection
from metering.records.notes.evidence import CellVerdict

NAMED_MAX: Final = 3  # meter events that one difference may be
WAYS_MAX: Final = 50_000  # sums of meter events that are looked at
_EMPTY: Final = Cell()
_HOUR_MS: Final = 3_600_000


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

    @property
    def members(self) -> Mapping[CellKey, Sequence[Member]]:
        """Of the cells that were asked for: the meter events that Stripe has for sure."""
        ...


def sought_of(cells: Sequence[ComparedCell]) -> set[CellKey]:
    """The cells that differ by an amount, which their meter events may explain."""
    return {each.key for each in cells if each.comparison.verdict.differs and each.comparison.difference}


def chosen(members: Sequence[Member], units: int) -> list[Member] | None:
    """Meter events that make just these units: each choice is as good as the other, and one that makes it alone is taken first.

    None if there is no such choice, or if there are too many to look at.
    """
    alone = [member for member in members if member.value == units]
    if alone:
        return alone[:1]
    ways: dict[int, tuple[int, Member] | None] = {0: None}
    for member in members:
        for total in list(ways):
            made = total + member.value
            if 0 < made <= units and made not in ways:
                ways[made] = total, member
        if units in ways:
            break
        if len(ways) > WAYS_MAX:
            return None
    found: list[Member] = []
    step = ways.get(units)
    while step is not None:
        total, member = step
        found.append(member)
        step = ways[total]
    return found or None


def confirmed(each: ComparedCell, before: Cells, found: FoundCells) -> ComparedCell:
    """What differs although the ledger stood still; otherwise it is on its way, and the next comparison shows it."""
    comparison, now = each.comparison, found.cells.get(each.key, _EMPTY)
    if not comparison.verdict.differs:
        return each
    if now != before.get(each.key, _EMPTY):
        return replace(each, comparison=replace(comparison, verdict=CellVerdict.ARRIVING, difference=0, note="the ledger moved meanwhile"))
    return replace(each, comparison=replace(comparison, note="; ".join(filter(None, (comparison.note, *_causes(each, now, found))))))


def _causes(each: ComparedCell, cell: Cell, found: FoundCells) -> Iterator[str]:
    units = abs(each.comparison.difference)
    alike = [member.identifier for member in found.members.get(each.key, ()) if member.value == units]
    names = f"as much as {' or '.join(alike[:NAMED_MAX])}" if alike else ""
    match each.comparison.verdict:
        case CellVerdict.MISSING:
            yield from (reports := list(_reports(each.key, cell, found.rejections)))
            # Where reports count what they do not name, it is one of these.
            lost = "Stripe did not record it" if reports else "Stripe lost it, or it was cancelled elsewhere"
            yield f"{names}: {lost}" if names else lost
        case CellVerdict.EXTRA:
            yield f"{names}, sent twice, or another program's" if names else "another program's, or by hand"
        case _:
            pass


def _reports(key: CellKey, cell: Cell, rejections: Sequence[Rejection]) -> Iterator[str]:
    """Error reports on this meter that count more than they name, from the time of this cell's meter events."""
    for each in distinct(rejections):
        overlaps = each.window_end_ms >= cell.first_told_ms and (each.window_start_ms or each.at_ms) <= cell.last_told_ms + _HOUR_MS
        if each.unnamed and each.meter in {"", key.meter} and overlaps:
            yield f"report {each.event_id} ({each.code}) counts {each.unnamed:,} that it does not name"
