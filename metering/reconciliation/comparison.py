"""Does Stripe's sum of a cell agree with the ledger? Pure: both sides and the time are handed in."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from metering.reconciliation.cells import Cell, CellKey, Doubt, DoubtCause
from metering.records.notes.evidence import CellVerdict

SUMS_MAX: Final = 20_000  # how many sums of doubts are looked at, before it is said that nobody can tell
_DIGITS: Final = 10**15  # of a larger floating-point sum the last digits mean nothing


@dataclass(frozen=True, slots=True)
class Comparison:
    """The result for one cell. `difference` is what Stripe has more than is explained (below zero: less).

    `taken`: of the doubts, those values that Stripe has, as its sum shows (None where it does not show that). `note` says more in words.
    """

    verdict: CellVerdict
    ours: int
    stripe: int | None
    difference: int = 0
    taken: tuple[int, ...] | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class ComparedCell:
    """One cell and how it stands."""

    key: CellKey
    comparison: Comparison


def compare(cell: Cell, stripe: int, *, exact: bool = True, now_ms: int, settle_ms: int) -> Comparison:
    """Judge one cell. `stripe`: the sum that Stripe's summaries show; `exact`: whether it is right to the unit.

    Summaries lag, and nobody says how far: while the last word on a cell is younger than `settle_ms`, less than expected is still arriving. So is
    more, as far as units were taken back.
    """
    difference = stripe - cell.sure
    if not exact and abs(difference) * _DIGITS <= abs(stripe) * 10:
        return Comparison(CellVerdict.SETTLED, cell.sure, stripe, note="equal to 15 digits, which is all that Stripe shows")
    young = now_ms < cell.last_told_ms + settle_ms
    if not cell.doubts:
        return _without_doubts(cell, stripe, young=young)
    values = [doubt.value for doubt in cell.doubts]
    if cell.doubts_left_out or (ways := _ways(values)) is None:
        return Comparison(CellVerdict.UNDECIDED, cell.sure, stripe, difference, note=f"{_doubtful(cell)}: too many to tell them apart")
    if difference not in ways:
        return _beyond_doubts(cell, stripe, young=young)
    if young or any(doubt.cause is DoubtCause.OPEN for doubt in cell.doubts):
        return Comparison(CellVerdict.ARRIVING, cell.sure, stripe, note=_doubtful(cell))
    if ways[difference] is None:
        return Comparison(CellVerdict.UNDECIDED, cell.sure, stripe, difference, note=f"{_doubtful(cell)}: several of them make this sum")
    taken = ways[difference] or ()
    return Comparison(CellVerdict.SETTLED, cell.sure, stripe, taken=taken, note=f"{_doubtful(cell)}: Stripe has {_listed(taken)} of them")


def _without_doubts(cell: Cell, stripe: int, *, young: bool) -> Comparison:
    difference = stripe - cell.sure
    if not difference:
        return Comparison(CellVerdict.SETTLED, cell.sure, stripe)
    if difference > (cell.back if young else 0):
        return Comparison(CellVerdict.EXTRA, cell.sure, stripe, difference)
    if young:
        return Comparison(CellVerdict.ARRIVING, cell.sure, stripe)
    return Comparison(CellVerdict.MISSING, cell.sure, stripe, difference)


def _beyond_doubts(cell: Cell, stripe: int, *, young: bool) -> Comparison:
    """No choice among the doubts makes Stripe's sum."""
    difference = stripe - cell.sure
    most = sum(doubt.value for doubt in cell.doubts if doubt.value > 0)
    least = sum(doubt.value for doubt in cell.doubts if doubt.value < 0)
    if difference > most + (cell.back if young else 0):
        return Comparison(CellVerdict.EXTRA, cell.sure, stripe, difference - most, note=f"{_doubtful(cell)}, all of them taken into account")
    if young:
        return Comparison(CellVerdict.ARRIVING, cell.sure, stripe, note=_doubtful(cell))
    if difference < least:
        return Comparison(CellVerdict.MISSING, cell.sure, stripe, difference - least, note=_doubtful(cell))
    return Comparison(CellVerdict.UNDECIDED, cell.sure, stripe, difference, note=f"{_doubtful(cell)}: no choice among them makes Stripe's sum")


def _ways(values: Sequence[int]) -> dict[int, tuple[int, ...] | None] | None:
    """Every sum of some of these values, with the values that make it; None where several choices do. Equal values are one choice.

    None as a whole when there are more than SUMS_MAX sums.
    """
    found: dict[int, tuple[int, ...] | None] = {0: ()}
    for value, times in Counter(values).items():
        grown: dict[int, tuple[int, ...] | None] = {}
        for total, chosen in found.items():
            for count in range(times + 1):
                made = total + count * value
                grown[made] = None if made in grown or chosen is None else (*chosen, *[value] * count)
                if len(grown) > SUMS_MAX:
                    return None
        found = grown
    return found


def _doubtful(cell: Cell) -> str:
    causes = Counter(doubt.cause.value for doubt in cell.doubts)
    units = sum(doubt.value for doubt in cell.doubts)
    told = ", ".join(f"{count:,} {cause}" for cause, count in sorted(causes.items()))
    more = f" and {cell.doubts_left_out:,} more" if cell.doubts_left_out else ""
    return f"{told}{more} of {units:,} units"


def _listed(values: Sequence[int]) -> str:
    return ", ".join(f"{value:,}" for value in values[:5]) + (f" and {len(values) - 5} more" if len(values) > 5 else "") or "none"


def taken_doubts(cell: Cell, comparison: Comparison) -> list[Doubt]:
    """The doubts that Stripe's sum shows to be there; of equal values, which of them is nobody's business: the first are named."""
    left = Counter(comparison.taken or ())
    named = []
    for doubt in cell.doubts:
        if left[doubt.value]:
            left[doubt.value] -= 1
            named.append(doubt)
    return named
