"""Merging and splitting change how a sum is told, never the sum, and never across a quarter of a day; up to an hour where that is asked for."""

from collections import Counter
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_emitter.wire.limits import HOUR_MS, MINUTE_MS, VALUE_MAX

from metering.records.tally import TallyRow
from reporter.planning.billing_periods import BillingPeriods, SubscriptionPeriods
from reporter.planning.unplanned import GRANULARITIES_MS, LARGEST_MS, UnplannedUsage, split

START_MS = 1_780_000_000_000 // LARGEST_MS * LARGEST_MS
rows = st.lists(
    st.builds(
        TallyRow,
        customer=st.sampled_from(["c", "d"]),
        meter=st.sampled_from(["tokens", "calls"]),
        dimensions=st.sampled_from([(), (("model", "a"),)]),
        window_start_ms=(st.integers(0, 200) | st.integers(0, 900)).map(lambda minute: START_MS + minute * MINUTE_MS),
        quantity=st.integers(1, 1_000) | st.integers(VALUE_MAX - 1, 3 * VALUE_MAX),
        events=st.just(1),
    ),
    max_size=30,
)
Sums = Counter[tuple[Any, ...]]


def sums_of_rows(found: list[TallyRow], size_ms: int = LARGEST_MS) -> Sums:
    sums: Sums = Counter()
    for row in found:
        sums[row.customer, row.meter, row.dimensions, row.window_start_ms // size_ms] += row.quantity
    return sums


def sums_of_events(unplanned: UnplannedUsage, size_ms: int = LARGEST_MS) -> Sums:
    sums: Sums = Counter()
    for event in unplanned.meter_events():
        sums[event.customer, event.meter, event.dimensions, event.time_ms // size_ms] += event.value
    return sums


@settings(max_examples=300)
@given(st.lists(rows, max_size=5), st.integers(1, 40), st.lists(st.integers(1, 40), max_size=4))
def test_every_windows_sum_is_kept_however_windows_are_merged(added: list[list[TallyRow]], rows_max: int, merges: list[int]) -> None:
    unplanned = UnplannedUsage(rows_max, BillingPeriods())
    for found in added:
        unplanned.add(found)
    everything = [row for found in added for row in found]
    assert sums_of_events(unplanned) == sums_of_rows(everything)
    for wanted in merges:
        before = len(unplanned)
        unplanned.merge_to(wanted, LARGEST_MS)
        assert len(unplanned) <= before
        assert sums_of_events(unplanned) == sums_of_rows(everything)
    events = unplanned.meter_events()
    assert all(0 < event.value <= VALUE_MAX for event in events)
    assert [event.time_ms for event in events] == sorted(event.time_ms for event in events)
    windows = {row.window_start_ms for row in everything}
    assert {event.time_ms for event in events} <= windows, "a meter event is told at the start of its earliest window"
    unplanned.clear()
    assert not unplanned.meter_events()


@given(st.lists(rows, max_size=3), st.lists(st.tuples(st.integers(1, 40), st.sampled_from(GRANULARITIES_MS[:-1])), max_size=4))
def test_no_window_is_larger_than_was_asked_for(added: list[list[TallyRow]], merges: list[tuple[int, int]]) -> None:
    unplanned = UnplannedUsage(1_000, BillingPeriods())
    everything: list[TallyRow] = []
    for found in added:
        unplanned.add(found)
        everything += found
        for wanted, largest_ms in merges:
            unplanned.merge_to(wanted, largest_ms)
    size_ms = max((largest_ms for _, largest_ms in merges), default=MINUTE_MS)
    assert sums_of_events(unplanned, size_ms) == sums_of_rows(everything, size_ms)


@given(rows)
def test_nothing_is_merged_that_fits(found: list[TallyRow]) -> None:
    unplanned = UnplannedUsage(1_000, BillingPeriods())
    unplanned.add(found)
    assert len(unplanned) == len({(row.customer, row.meter, row.dimensions, row.window_start_ms) for row in found})


@given(st.integers(1, 10 * VALUE_MAX))
def test_a_value_of_more_than_fifteen_digits_becomes_several(quantity: int) -> None:
    values = split(quantity)
    assert sum(values) == quantity
    assert all(0 < value <= VALUE_MAX for value in values)
    assert len(values) == -(-quantity // VALUE_MAX)


def row(minute: int, customer: str = "c", quantity: int = 1) -> TallyRow:
    return TallyRow(customer, "tokens", (), START_MS + minute * MINUTE_MS, quantity, 1)


def test_windows_grow_step_by_step_to_what_is_allowed_and_no_further() -> None:
    unplanned = UnplannedUsage(10_000, BillingPeriods())
    unplanned.add(row(minute) for minute in range(720))
    for wanted, left in ((720, 720), (719, 144), (143, 48), (47, 12), (1, 12)):
        unplanned.merge_to(wanted, HOUR_MS)
        assert len(unplanned) == left
    for wanted, left in ((12, 12), (11, 2), (1, 2)):
        unplanned.merge_to(wanted, LARGEST_MS)
        assert len(unplanned) == left


def test_it_is_full_only_when_the_largest_windows_do_not_fit_either() -> None:
    unplanned = UnplannedUsage(3, BillingPeriods())
    unplanned.add(row(minute) for minute in range(360))
    assert (len(unplanned), unplanned.is_full) == (1, False)
    unplanned.add(row(0, customer) for customer in "xyz")
    full = unplanned.is_full
    unplanned.clear()
    assert (full, unplanned.is_full) == (True, False)
    unplanned.add([row(0), row(1)])
    assert len(unplanned) == 2, "after it was cleared it tells minutes again"


@pytest.mark.parametrize("minute", [359, 360])
def test_the_last_minute_of_a_quarter_of_a_day_stays_in_it(minute: int) -> None:
    unplanned = UnplannedUsage(1, BillingPeriods())
    unplanned.add([row(0), row(minute)])
    assert len(unplanned) == 1 + minute // 360


# Billing periods


@given(st.lists(rows, max_size=4), st.integers(1, 20))
def test_without_known_boundaries_only_the_clocks_windows_count(added: list[list[TallyRow]], rows_max: int) -> None:
    unplanned = UnplannedUsage(rows_max, periods_with((60, 600), customer="somebody else"))
    level = 0
    everything: list[TallyRow] = []
    for found in added:
        unplanned.add(found)
        everything += found
        while len(windows(everything, level)) > rows_max and level < len(GRANULARITIES_MS) - 1:
            level += 1
    assert [(event.time_ms, event.customer, event.meter, event.dimensions, event.value) for event in unplanned.meter_events()] == [
        (earliest, customer, meter, dimensions, value)
        for (customer, meter, dimensions, _), (earliest, quantity) in sorted(
            windows(everything, level).items(), key=lambda item: (item[1][0], item[0])
        )
        for value in split(quantity)
    ]


def windows(found: list[TallyRow], level: int) -> dict[tuple[Any, ...], tuple[int, int]]:
    """Earliest minute and sum of each window."""
    sums: dict[tuple[Any, ...], tuple[int, int]] = {}
    for one in found:
        key = (one.customer, one.meter, one.dimensions, one.window_start_ms // GRANULARITIES_MS[level])
        earliest, quantity = sums.get(key, (one.window_start_ms, 0))
        sums[key] = (min(earliest, one.window_start_ms), quantity + one.quantity)
    return sums


def periods_with(*spans: tuple[int, int], customer: str = "c") -> BillingPeriods:
    """Runs of billing periods, in seconds after START_MS."""
    periods = BillingPeriods()
    for start, end in spans:
        span = (START_MS // 1000 + start, START_MS // 1000 + end)
        periods.learn(SubscriptionPeriods(customer, span, frozenset(span)))
    return periods


def period_of(boundaries: list[int], minute_ms: int) -> int:
    """The number of the period in which a minute begins."""
    return sum(boundary * 1000 <= minute_ms for boundary in boundaries)


@settings(max_examples=300)
@given(st.lists(rows, max_size=4), st.lists(st.integers(1, 55_000), min_size=1, max_size=6, unique=True), st.integers(1, 12))
def test_no_meter_event_has_minutes_of_two_periods_and_every_periods_sum_is_kept(added: list[list[TallyRow]], ends: list[int], rows_max: int) -> None:
    # The subscription began before any usage, so each minute belongs to the period in which it begins.
    start = START_MS // 1000 - 10**6
    boundaries = sorted(START_MS // 1000 + end for end in ends)
    periods = BillingPeriods()
    for customer in ("c", "d"):
        periods.learn(SubscriptionPeriods(customer, (start, boundaries[-1]), frozenset({start, *boundaries})))
    unplanned = UnplannedUsage(rows_max, periods)
    wanted: Sums = Counter()
    for found in added:
        unplanned.add(found)
        for one in found:
            wanted[one.customer, one.meter, one.window_start_ms // LARGEST_MS, period_of(boundaries, one.window_start_ms)] += one.quantity
    unplanned.merge_to(1, LARGEST_MS)
    told: Sums = Counter()
    for event in unplanned.meter_events():
        # By either reading of the second of the boundary itself: with the boundary in the period before it, and in the one after it.
        assert period_of(boundaries, event.time_ms) == sum(boundary * 1000 < event.time_ms for boundary in boundaries)
        told[event.customer, event.meter, event.time_ms // LARGEST_MS, period_of(boundaries, event.time_ms)] += event.value
    assert told == wanted


def test_minutes_before_and_after_a_boundary_do_not_merge() -> None:
    unplanned = UnplannedUsage(1, periods_with((-86_400, 120)))
    unplanned.add(row(minute) for minute in range(5))
    assert [(event.time_ms - START_MS, event.value) for event in unplanned.meter_events()] == [(0, 2), (121_000, 3)]


def test_a_minute_that_a_boundary_cuts_stays_in_the_period_in_which_it_begins() -> None:
    unplanned = UnplannedUsage(1, periods_with((-86_400, 150)))
    unplanned.add(row(minute) for minute in range(5))
    assert [(event.time_ms - START_MS, event.value) for event in unplanned.meter_events()] == [(0, 3), (180_000, 2)]


def test_the_minute_in_which_a_subscription_starts_is_told_after_its_start() -> None:
    unplanned = UnplannedUsage(1, periods_with((150, 86_400)))
    unplanned.add(row(minute) for minute in range(5))
    assert [(event.time_ms - START_MS, event.value) for event in unplanned.meter_events()] == [(0, 2), (151_000, 3)]


def test_a_boundary_that_becomes_known_separates_what_is_not_merged_yet() -> None:
    periods = BillingPeriods()
    unplanned = UnplannedUsage(1_000, periods)
    unplanned.add(row(minute) for minute in range(3))
    periods.learn(SubscriptionPeriods("c", (START_MS // 1000 - 60, START_MS // 1000 + 60), frozenset({START_MS // 1000 + 60})))
    unplanned.merge_to(1, LARGEST_MS)
    unplanned.add([row(0), row(2)])
    assert [(event.time_ms - START_MS, event.value) for event in unplanned.meter_events()] == [(0, 2), (61_000, 3)]


@given(st.lists(st.tuples(rows, st.lists(st.integers(0, 12_000), max_size=3)), max_size=5), st.integers(1, 12))
def test_the_sum_is_kept_whatever_becomes_known_and_when(steps: list[tuple[list[TallyRow], list[int]]], rows_max: int) -> None:
    periods = BillingPeriods()
    unplanned = UnplannedUsage(rows_max, periods)
    for found, boundaries in steps:
        unplanned.add(found)
        for boundary in boundaries:
            start = START_MS // 1000 + boundary
            periods.learn(SubscriptionPeriods("c", (start, start + 600), frozenset({start, start + 600})))
    assert sums_of_events(unplanned) == sums_of_rows([one for found, _ in steps for one in found])


def test_it_says_whose_usage_of_when_it_holds() -> None:
    unplanned = UnplannedUsage(100, periods_with((60, 600)))
    unplanned.add([row(0), row(1), row(0, "d")])
    assert sorted(unplanned.usage()) == [("c", START_MS), ("c", START_MS + 61_000), ("d", START_MS)]


@settings(max_examples=300)
@given(
    st.lists(
        st.tuples(rows, st.lists(st.tuples(st.sampled_from(["c", "d"]), st.integers(0, 12_000), st.integers(1, 30_000)), max_size=2), st.booleans()),
        max_size=6,
    ),
    st.integers(1, 30),
    st.integers(0, 60_000),
)
def test_the_soonest_end_is_what_a_walk_over_everything_finds(
    steps: list[tuple[list[TallyRow], list[tuple[str, int, int]], bool]], rows_max: int, now: int
) -> None:
    periods = BillingPeriods()
    unplanned = UnplannedUsage(rows_max, periods)
    for found, subscriptions, planned in steps:
        unplanned.add(found)
        for customer, start, length in subscriptions:
            span = (START_MS // 1000 + start, START_MS // 1000 + start + length)
            periods.learn(SubscriptionPeriods(customer, span, frozenset(span)))
        soonest = unplanned.soonest_end_s()
        ends = [periods.end_s(customer, time_ms) for customer, time_ms in unplanned.usage()]
        assert soonest == min((end for end in ends if end is not None), default=None)
        over = [end for end in ends if end is not None and end <= START_MS // 1000 + now]
        assert min(over, default=None) == (soonest if soonest is not None and soonest <= START_MS // 1000 + now else None)
        if planned:
            unplanned.clear()
            assert unplanned.soonest_end_s() is None
