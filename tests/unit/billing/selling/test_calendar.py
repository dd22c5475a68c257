from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from billing.selling.calendar import next_full_minute_end, next_month_start


def at(text: str) -> int:
    return int(datetime.fromisoformat(text).astimezone(UTC).timestamp())


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-11-22T10:20:35Z", "2026-12-01T00:00:00Z"),
        ("2026-12-31T23:59:59Z", "2027-01-01T00:00:00Z"),
        ("2027-01-01T00:00:00Z", "2027-02-01T00:00:00Z"),
        ("2028-01-31T12:00:00Z", "2028-02-01T00:00:00Z"),
    ],
)
def test_the_month_after_this_one_begins_at_midnight_utc(now: str, expected: str) -> None:
    assert next_month_start(at(now)) == at(expected)


@pytest.mark.parametrize(
    ("start", "interval", "count", "expected"),
    [
        ("2026-11-22T10:20:35Z", "month", 1, "2026-12-22T10:20:00Z"),
        ("2027-01-31T10:20:35Z", "month", 1, "2027-02-28T10:20:00Z"),
        ("2026-11-30T10:20:35Z", "month", 3, "2027-02-28T10:20:00Z"),
        ("2028-02-29T00:00:01Z", "year", 1, "2029-02-28T00:00:00Z"),
        ("2026-11-22T10:20:35Z", "week", 2, "2026-12-06T10:20:00Z"),
        ("2026-11-22T10:20:00Z", "day", 1, "2026-11-23T10:20:00Z"),
    ],
)
def test_a_period_of_one_interval_ends_on_the_minute_in_which_it_began(start: str, interval: str, count: int, expected: str) -> None:
    assert next_full_minute_end(at(start), at(start), interval, count) == at(expected)


def test_a_backdated_start_gives_the_first_end_that_is_not_over() -> None:
    end = next_full_minute_end(at("2026-08-31T10:20:35Z"), at("2026-11-22T00:00:00Z"), "month", 1)

    assert end == at("2026-11-30T10:20:00Z")


@given(start=st.integers(0, 4_000_000_000), later=st.integers(0, 10_000_000), interval=st.sampled_from(["day", "week", "month", "year"]))
def test_the_end_is_a_full_minute_in_the_future_and_at_most_an_interval_away(start: int, later: int, interval: str) -> None:
    now = start + later
    end = next_full_minute_end(start, now, interval, 1)

    assert end % 60 == 0
    assert now < end <= now + {"day": 1, "week": 7, "month": 31, "year": 366}[interval] * 86_400


def test_an_interval_that_stripe_has_not_is_refused() -> None:
    with pytest.raises(ValueError, match="fortnight"):
        next_full_minute_end(0, 0, "fortnight", 1)
