"""What Stripe lost of a cell is made of whole meter events."""

from hypothesis import given
from hypothesis import strategies as st

from metering.reconciliation.cells import Member
from metering.reconciliation.differences import chosen


@given(st.lists(st.integers(1, 50), max_size=12), st.integers(1, 400))
def test_a_choice_makes_just_so_many_units_of_different_meter_events_whenever_there_is_one(values: list[int], units: int) -> None:
    members = [Member(f"tm-{number}", value, 0) for number, value in enumerate(values)]
    sums = {0}
    for value in values:
        sums |= {total + value for total in sums}
    found = chosen(members, units)
    assert (found is not None) == (units in sums)
    if found is not None:
        assert sum(member.value for member in found) == units
        assert len({member.identifier for member in found}) == len(found)
        assert set(found) <= set(members)
