"""Where billing periods begin and end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_sandbox.stripe.invoicing.periods import boundary, next_boundary
from taximeter_sandbox.stripe.selling.prices import Interval

from tests.support.stripe_shop import seconds


def chain(start: str, interval: Interval, count: int, periods: int) -> list[int]:
    anchor = seconds(start)
    ends = [next_boundary(anchor, interval, count, anchor)]
    while len(ends) < periods:
        ends.append(next_boundary(anchor, interval, count, ends[-1]))
    return ends


@pytest.mark.parametrize(
    ("start", "interval", "count", "ends"),
    [
        ("2027-01-31T10:30:07", "month", 1, ["2027-02-28T10:30:07", "2027-03-31T10:30:07", "2027-04-30T10:30:07", "2027-05-31T10:30:07"]),
        ("2028-01-30", "month", 1, ["2028-02-29", "2028-03-30"]),
        ("2026-11-22", "month", 1, ["2026-12-22", "2027-01-22"]),
        ("2027-11-30", "month", 3, ["2028-02-29", "2028-05-30", "2028-08-30"]),
        ("2028-02-29", "year", 1, ["2029-02-28", "2030-02-28", "2031-02-28", "2032-02-29"]),
        ("2027-02-27T23:00:00", "week", 2, ["2027-03-13T23:00:00", "2027-03-27T23:00:00"]),
        ("2027-03-27T23:30:00", "day", 1, ["2027-03-28T23:30:00", "2027-03-29T23:30:00"]),
    ],
)
def test_periods_count_from_the_anchor_and_a_short_month_ends_on_its_last_day(start: str, interval: Interval, count: int, ends: list[str]) -> None:
    assert chain(start, interval, count, len(ends)) == [seconds(end) for end in ends]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 3_000_000_000), st.sampled_from(["day", "week", "month", "year"]), st.integers(1, 3), st.integers(-200_000_000, 200_000_000))
def test_the_next_boundary_is_the_first_one_later(anchor: int, interval: Interval, count: int, offset: int) -> None:
    found = next_boundary(anchor, interval, count, anchor + offset)
    boundaries = [boundary(anchor, interval, count, number) for number in range(-2500, 2501)] if interval == "day" else []
    assert found > anchor + offset
    assert found in boundaries or interval != "day"
    shortest = {"day": 1, "week": 7, "month": 28, "year": 365}[interval] * 86_400
    longest = {"day": 1, "week": 7, "month": 31, "year": 366}[interval] * 86_400 * count
    assert shortest <= next_boundary(anchor, interval, count, found) - found <= longest
    assert found - (anchor + offset) <= longest
