"""The comparison of a cell against every choice among its doubts, tried one by one."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from metering.reconciliation.cells import Cell, Doubt, DoubtCause
from metering.reconciliation.comparison import compare
from metering.records.notes.evidence import CellVerdict


@given(st.lists(st.integers(-4, 9).filter(bool), max_size=7), st.integers(-60, 60))
def test_settled_means_that_exactly_one_choice_of_values_explains_stripes_sum(values: list[int], stripe: int) -> None:
    ours = Cell(10, [Doubt("tm-c-0-0-1-0", value, DoubtCause.PARKED) for value in values])
    choices = {tuple(sorted(chosen)) for size in range(len(values) + 1) for chosen in combinations(values, size) if 10 + sum(chosen) == stripe}
    found = compare(ours, stripe, now_ms=1, settle_ms=0)
    if not values:
        assert (found.verdict is CellVerdict.SETTLED) == (stripe == 10)
    elif len(choices) == 1:
        assert found.verdict is CellVerdict.SETTLED
        assert tuple(sorted(found.taken or ())) in choices
    else:
        assert found.verdict is not CellVerdict.SETTLED
