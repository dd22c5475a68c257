"""What one cell comes to, given the ledger's side and Stripe's."""

import pytest

from metering.reconciliation.cells import Cell, Doubt, DoubtCause
from metering.reconciliation.comparison import Comparison, compare, taken_doubts
from metering.records.notes.evidence import CellVerdict

HOUR_MS = 3_600_000
TOLD_MS = 10 * HOUR_MS
LATER_MS = TOLD_MS + HOUR_MS


def cell(sure: int, *doubts: int, cause: DoubtCause = DoubtCause.PARKED) -> Cell:
    named = [Doubt(f"tm-c-0-0-1-{index}", value, cause) for index, value in enumerate(doubts)]
    return Cell(sure, named, first_told_ms=TOLD_MS, last_told_ms=TOLD_MS)


def judged(ours: Cell, stripe: int, now_ms: int = LATER_MS) -> Comparison:
    return compare(ours, stripe, now_ms=now_ms, settle_ms=600_000)


@pytest.mark.parametrize(
    ("ours", "stripe", "verdict", "difference"),
    [
        (cell(12), 12, CellVerdict.SETTLED, 0),
        (cell(12), 5, CellVerdict.MISSING, -7),
        (cell(12), 5012, CellVerdict.EXTRA, 5000),
        (cell(5, 7), 12, CellVerdict.SETTLED, 0),
        (cell(5, 7), 5, CellVerdict.SETTLED, 0),
        (cell(5, 7), 13, CellVerdict.EXTRA, 1),
        (cell(5, 7), 4, CellVerdict.MISSING, -1),
        (cell(5, 7), 9, CellVerdict.UNDECIDED, 4),
        (cell(5, 7, 7), 12, CellVerdict.SETTLED, 0),  # which of two equal ones is nobody's business
        (cell(5, 3, 4, 7), 12, CellVerdict.UNDECIDED, 7),  # 7, or 3 and 4
        (cell(12, -7), 5, CellVerdict.SETTLED, 0),
        (cell(5, 7, cause=DoubtCause.OPEN), 5, CellVerdict.ARRIVING, 0),
        (Cell(), 5000, CellVerdict.EXTRA, 5000),
    ],
)
def test_verdicts(ours: Cell, stripe: int, verdict: CellVerdict, difference: int) -> None:
    found = judged(ours, stripe)
    assert (found.verdict, found.difference) == (verdict, difference)


def test_less_than_expected_is_arriving_while_it_is_young_and_more_is_extra_at_once() -> None:
    assert judged(cell(12), 5, TOLD_MS + 599_999).verdict is CellVerdict.ARRIVING
    assert judged(cell(12), 5, TOLD_MS + 600_000).verdict is CellVerdict.MISSING
    assert judged(cell(12), 13, TOLD_MS).verdict is CellVerdict.EXTRA


@pytest.mark.parametrize("doubts", [(), (7,)])
def test_what_was_taken_back_is_shown_late_too(doubts: tuple[int, ...]) -> None:
    ours = cell(0, *doubts)
    for value in (100, -40):
        ours.has(value)
    most = 100 + sum(doubts)
    assert (ours.sure, ours.back) == (60, 40)
    assert judged(ours, 90, TOLD_MS).verdict is CellVerdict.ARRIVING
    assert judged(ours, most, TOLD_MS).verdict is CellVerdict.ARRIVING
    assert judged(ours, most + 1, TOLD_MS).verdict is CellVerdict.EXTRA
    assert judged(ours, most).verdict is CellVerdict.EXTRA


def test_the_doubts_that_stripe_has_are_named() -> None:
    ours = cell(5, 3, 7, 3)
    assert [doubt.identifier for doubt in taken_doubts(ours, judged(ours, 15))] == ["tm-c-0-0-1-0", "tm-c-0-0-1-1"]


def test_a_sum_beyond_what_a_float_holds_is_equal_to_its_digits() -> None:
    ours, stripe = cell(2**60 + 1), 2**60
    assert compare(ours, stripe, exact=False, now_ms=LATER_MS, settle_ms=0).verdict is CellVerdict.SETTLED
    assert compare(cell(2**60 + 2**20), stripe, exact=False, now_ms=LATER_MS, settle_ms=0).verdict is CellVerdict.MISSING


def test_doubts_that_make_too_many_sums_are_undecided() -> None:
    assert judged(cell(0, *(2**bit for bit in range(40))), 1).verdict is CellVerdict.UNDECIDED
