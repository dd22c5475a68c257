"""Merging and splitting change how a sum is reported, never the sum, and never across a quarter of a day; up to an hour on request."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.limits import HOUR_MS

from metering.records.service_limits import VALUE_MAX
from reporter.planning.billing_periods import BillingPeriods, SubscriptionPeriods
from reporter.planning.unplanned import LARGEST_CARRIED_MS, LARGEST_MS, UnplannedUsage, split
from tests.support.reporter_backlog import START_MS, periods_with, row


@given(st.integers(1, 10 * VALUE_MAX), st.sampled_from([1, -1]))
def test_a_value_of_more_than_fifteen_digits_becomes_several_of_its_sign(units: int, sign: int) -> None:
    values = split(sign * units)
    assert sum(values) == sign * units
    assert all(0 < sign * value <= VALUE_MAX for value in values)
    assert len(values) == -(-units // VALUE_MAX)


def test_what_is_taken_out_as_soon_as_it_is_counted_is_told_by_no_meter_event() -> None:
    backlog = UnplannedUsage(10, BillingPeriods())
    counted = row(0)
    backlog.add([counted, row(1), counted._replace(quantity=-counted.quantity, events=-1)])
    assert [event.time_ms - START_MS for event in backlog.meter_events()] == [60_000]
    backlog.add([counted._replace(quantity=-40, events=-1)])
    assert [event.value for event in backlog.meter_events()] == [-40, 1]


def test_the_units_are_those_of_the_sums_whatever_was_merged_moved_or_cleared() -> None:
    backlog, other = UnplannedUsage(50, BillingPeriods()), UnplannedUsage(50, BillingPeriods(), carried_max=60)
    counted = row(0)
    backlog.add([counted, counted._replace(quantity=-7 * counted.quantity), *(row(minute) for minute in range(120))])
    backlog.add([counted._replace(meter="other", quantity=5)])
    backlog.add_event(backlog.meter_events()[0])
    backlog.move_to(other, lambda _, meter: meter == "other", lambda *_: False)
    for sums in (backlog, other):
        assert {meter: units for meter, units in sums.units().items() if units} == {
            meter: units for meter, (units, _) in sums.by_meter(lambda *_: True).items()
        }
    assert other.units() == {"other": 10}
    other.clear()
    assert other.units() == {}


def test_windows_grow_step_by_step_to_what_is_allowed_and_no_further() -> None:
    backlog = UnplannedUsage(10_000, BillingPeriods())
    backlog.add(row(minute) for minute in range(720))
    for wanted, left in ((720, 720), (719, 144), (143, 48), (47, 12), (1, 12)):
        backlog.merge_to(wanted, HOUR_MS)
        assert len(backlog) == left
    for wanted, left in ((12, 12), (11, 2), (1, 2)):
        backlog.merge_to(wanted, LARGEST_MS)
        assert len(backlog) == left


def test_it_is_full_only_when_the_largest_windows_do_not_fit_either() -> None:
    backlog = UnplannedUsage(3, BillingPeriods())
    backlog.add(row(minute) for minute in range(360))
    assert (len(backlog), backlog.is_full) == (1, False)
    backlog.add(row(0, customer) for customer in "xyz")
    full = backlog.is_full
    backlog.clear()
    assert (full, backlog.is_full) == (True, False)
    backlog.add([row(0), row(1)])
    assert len(backlog) == 2, "after it was cleared it tells minutes again"


def test_what_is_carried_may_be_more_and_goes_to_windows_of_a_week_before_it_is_full() -> None:
    backlog = UnplannedUsage(2, BillingPeriods(), carried_max=4)
    quarters = [row(360 * quarter) for quarter in range(4 * 21)]
    backlog.add(quarters[:4])
    assert len(backlog) == 4
    backlog.add(quarters[4:])
    assert (len(backlog), backlog.is_full) == (4, True)
    weeks = sorted({found.time_ms // LARGEST_CARRIED_MS for found in backlog.meter_events()})
    assert len(weeks) == 4
    assert sum(found.value for found in backlog.meter_events()) == sum(found.quantity for found in quarters)
    released = UnplannedUsage(2, BillingPeriods())
    backlog.move_to(released, lambda _, meter: meter == "tokens", lambda *_: False)
    assert (len(backlog), backlog.is_full, len(released)) == (0, False, 4)


@pytest.mark.parametrize("minute", [359, 360])
def test_the_last_minute_of_a_quarter_of_a_day_stays_in_it(minute: int) -> None:
    backlog = UnplannedUsage(1, BillingPeriods())
    backlog.add([row(0), row(minute)])
    assert len(backlog) == 1 + minute // 360


# Billing periods


def test_minutes_before_and_after_a_boundary_do_not_merge() -> None:
    backlog = UnplannedUsage(1, periods_with((-86_400, 120)))
    backlog.add(row(minute) for minute in range(5))
    assert [(event.time_ms - START_MS, event.value) for event in backlog.meter_events()] == [(0, 2), (121_000, 3)]


def test_a_minute_that_a_boundary_cuts_stays_in_the_period_in_which_it_begins() -> None:
    backlog = UnplannedUsage(1, periods_with((-86_400, 150)))
    backlog.add(row(minute) for minute in range(5))
    assert [(event.time_ms - START_MS, event.value) for event in backlog.meter_events()] == [(0, 3), (180_000, 2)]


def test_the_minute_in_which_a_subscription_starts_is_told_after_its_start() -> None:
    backlog = UnplannedUsage(1, periods_with((150, 86_400)))
    backlog.add(row(minute) for minute in range(5))
    assert [(event.time_ms - START_MS, event.value) for event in backlog.meter_events()] == [(0, 2), (151_000, 3)]


def test_a_boundary_that_becomes_known_separates_what_is_not_merged_yet() -> None:
    periods = BillingPeriods()
    backlog = UnplannedUsage(1_000, periods)
    backlog.add(row(minute) for minute in range(3))
    periods.learn(SubscriptionPeriods("c", (START_MS // 1000 - 60, START_MS // 1000 + 60), frozenset({START_MS // 1000 + 60})))
    backlog.merge_to(1, LARGEST_MS)
    backlog.add([row(0), row(2)])
    assert [(event.time_ms - START_MS, event.value) for event in backlog.meter_events()] == [(0, 2), (61_000, 3)]


def test_it_says_whose_usage_of_when_it_holds() -> None:
    backlog = UnplannedUsage(100, periods_with((60, 600)))
    backlog.add([row(0), row(1), row(0, "d")])
    assert sorted(backlog.usage()) == [("c", START_MS), ("c", START_MS + 61_000), ("d", START_MS)]
