"""Windows of a backlog: whatever is merged or becomes known, no sum changes."""

from collections import Counter
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_emitter.wire.limits import MINUTE_MS

from metering.records.service_limits import VALUE_MAX
from metering.records.tally import TallyRow
from reporter.planning.billing_periods import BillingPeriods, SubscriptionPeriods
from reporter.planning.unplanned import GRANULARITIES_MS, LARGEST_MS, UnplannedUsage, split
from tests.support.reporter_backlog import START_MS, periods_with

rows = st.lists(
    st.builds(
        TallyRow,
        customer=st.sampled_from(["c", "d"]),
        meter=st.sampled_from(["tokens", "calls"]),
        dimensions=st.sampled_from([(), (("model", "a"),)]),
        window_start_ms=(st.integers(0, 200) | st.integers(0, 900)).map(lambda minute: START_MS + minute * MINUTE_MS),
        quantity=(st.integers(1, 1_000) | st.integers(VALUE_MAX - 1, 3 * VALUE_MAX)).flatmap(lambda units: st.sampled_from([units, -units])),
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


def sums_of_events(backlog: UnplannedUsage, size_ms: int = LARGEST_MS) -> Sums:
    sums: Sums = Counter()
    for event in backlog.meter_events():
        sums[event.customer, event.meter, event.dimensions, event.time_ms // size_ms] += event.value
    return sums


@settings(max_examples=300)
@given(st.lists(rows, max_size=5), st.integers(1, 40), st.lists(st.integers(1, 40), max_size=4))
def test_every_windows_sum_is_kept_however_windows_are_merged(added: list[list[TallyRow]], rows_max: int, merges: list[int]) -> None:
    backlog = UnplannedUsage(rows_max, BillingPeriods())
    for found in added:
        backlog.add(found)
    everything = [row for found in added for row in found]
    assert sums_of_events(backlog) == sums_of_rows(everything)
    for wanted in merges:
        before = len(backlog)
        backlog.merge_to(wanted, LARGEST_MS)
        assert len(backlog) <= before
        assert sums_of_events(backlog) == sums_of_rows(everything)
    events = backlog.meter_events()
    assert all(0 < abs(event.value) <= VALUE_MAX for event in events)
    assert [event.time_ms for event in events] == sorted(event.time_ms for event in events)
    windows = {row.window_start_ms for row in everything}
    assert {event.time_ms for event in events} <= windows, "a meter event is reported at the start of its earliest window"
    backlog.clear()
    assert not backlog.meter_events()


@given(st.lists(rows, max_size=3), st.lists(st.tuples(st.integers(1, 40), st.sampled_from(GRANULARITIES_MS[:-1])), max_size=4))
def test_no_window_is_larger_than_was_asked_for(added: list[list[TallyRow]], merges: list[tuple[int, int]]) -> None:
    backlog = UnplannedUsage(1_000, BillingPeriods())
    everything: list[TallyRow] = []
    for found in added:
        backlog.add(found)
        everything += found
        for wanted, largest_ms in merges:
            backlog.merge_to(wanted, largest_ms)
    size_ms = max((largest_ms for _, largest_ms in merges), default=MINUTE_MS)
    assert sums_of_events(backlog, size_ms) == sums_of_rows(everything, size_ms)


@given(rows)
def test_nothing_is_merged_that_fits(found: list[TallyRow]) -> None:
    backlog = UnplannedUsage(1_000, BillingPeriods())
    backlog.add(found)
    assert len(backlog) == len({(row.customer, row.meter, row.dimensions, row.window_start_ms) for row in found})


@given(st.lists(rows, max_size=4), st.integers(1, 20))
def test_without_known_boundaries_only_the_clocks_windows_count(added: list[list[TallyRow]], rows_max: int) -> None:
    backlog = UnplannedUsage(rows_max, periods_with((60, 600), customer="somebody else"))
    level = 0
    everything: list[TallyRow] = []
    for found in added:
        backlog.add(found)
        everything += found
        while len(windows(everything, level)) > rows_max and level < len(GRANULARITIES_MS) - 1:
            level += 1
    assert [(event.time_ms, event.customer, event.meter, event.dimensions, event.value) for event in backlog.meter_events()] == [
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
    backlog = UnplannedUsage(rows_max, periods)
    wanted: Sums = Counter()
    for found in added:
        backlog.add(found)
        for one in found:
            wanted[one.customer, one.meter, one.window_start_ms // LARGEST_MS, period_of(boundaries, one.window_start_ms)] += one.quantity
    backlog.merge_to(1, LARGEST_MS)
    told: Sums = Counter()
    for event in backlog.meter_events():
        # By either reading of the second of the boundary itself: with the boundary in the period before it, and in the one after it.
        assert period_of(boundaries, event.time_ms) == sum(boundary * 1000 < event.time_ms for boundary in boundaries)
        told[event.customer, event.meter, event.time_ms // LARGEST_MS, period_of(boundaries, event.time_ms)] += event.value
    assert told == wanted


@given(st.lists(st.tuples(rows, st.lists(st.integers(0, 12_000), max_size=3)), max_size=5), st.integers(1, 12))
def test_the_sum_is_kept_whatever_becomes_known_and_when(steps: list[tuple[list[TallyRow], list[int]]], rows_max: int) -> None:
    periods = BillingPeriods()
    backlog = UnplannedUsage(rows_max, periods)
    for found, boundaries in steps:
        backlog.add(found)
        for boundary in boundaries:
            start = START_MS // 1000 + boundary
            periods.learn(SubscriptionPeriods("c", (start, start + 600), frozenset({start, start + 600})))
    assert sums_of_events(backlog) == sums_of_rows([one for found, _ in steps for one in found])


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
    backlog = UnplannedUsage(rows_max, periods)
    for found, subscriptions, planned in steps:
        backlog.add(found)
        for customer, start, length in subscriptions:
            span = (START_MS // 1000 + start, START_MS // 1000 + start + length)
            periods.learn(SubscriptionPeriods(customer, span, frozenset(span)))
        soonest = backlog.soonest_end_s()
        ends = [periods.end_s(customer, time_ms) for customer, time_ms in backlog.usage()]
        assert soonest == min((end for end in ends if end is not None), default=None)
        over = [end for end in ends if end is not None and end <= START_MS // 1000 + now]
        assert min(over, default=None) == (soonest if soonest is not None and soonest <= START_MS // 1000 + now else None)
        if planned:
            backlog.clear()
            assert backlog.soonest_end_s() is None
