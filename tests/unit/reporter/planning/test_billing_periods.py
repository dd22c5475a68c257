"""What subscriptions say about billing periods, and which side of a boundary a minute is on."""

import random
import tracemalloc
from collections.abc import Iterator
from typing import Any

import pytest

from reporter.planning.billing_periods import ALWAYS, BOUNDARIES_MAX, SPANS_MAX, BillingPeriods, Side, SubscriptionPeriods, read_subscription

HOUR = 3_600
START = 1_780_000_000 // HOUR * HOUR
METERED = {"recurring": {"usage_type": "metered", "meter": "mtr_1"}}
LICENSED = {"recurring": {"usage_type": "licensed"}}


def subscription(*, items: list[dict[str, Any]], **fields: Any) -> dict[str, Any]:
    return {"id": "sub_1", "object": "subscription", "customer": "cus_1", "items": {"object": "list", "data": items}, **fields}


def item(start: int, end: int, price: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"price": METERED if price is None else price, "current_period_start": START + start, "current_period_end": START + end}


def found(start: int, end: int, *between: int, customer: str = "c") -> SubscriptionPeriods:
    span = (START + start, START + end)
    return SubscriptionPeriods(customer, span, frozenset({*span, *(START + second for second in between)}))


def knowing(*subscriptions: SubscriptionPeriods) -> BillingPeriods:
    periods = BillingPeriods()
    for one in subscriptions:
        periods.learn(one)
    return periods


def told(periods: BillingPeriods, second: int, customer: str = "c") -> int:
    """When the minute that begins then is reported, in seconds after START."""
    return periods.event_time_ms(customer, (START + second) * 1000) // 1000 - START


def sides(periods: BillingPeriods, *seconds: int) -> int:
    """On how many sides these minutes are."""
    return len({periods.side("c", (START + second) * 1000) for second in seconds})


# Reading


def test_the_periods_stand_on_the_items_and_reach_back_to_the_subscriptions_start() -> None:
    document = subscription(items=[item(0, 700), item(100, 900)], start_date=START - 50)
    assert read_subscription(document) == SubscriptionPeriods(
        "cus_1", (START - 50, START + 900), frozenset(START + second for second in (-50, 0, 100, 700, 900))
    )


def test_a_subscription_that_ended_has_no_boundary_after_its_end() -> None:
    assert read_subscription(subscription(items=[item(0, 700)], ended_at=START + 300)) == SubscriptionPeriods(
        "cus_1", (START, START + 300), frozenset({START, START + 300})
    )


def test_an_expanded_customer_and_the_fields_of_older_versions_are_read() -> None:
    items = [{"price": METERED}]
    document = subscription(items=items, current_period_start=START, current_period_end=START + 9) | {"customer": {"id": "cus_2"}}
    assert read_subscription(document) == SubscriptionPeriods("cus_2", (START, START + 9), frozenset({START, START + 9}))


@pytest.mark.parametrize(
    "document",
    [
        {},
        subscription(items=[]),
        subscription(items=[item(0, 700, LICENSED)]),
        subscription(items=[item(0, 700)]) | {"customer": None},
        subscription(items=[item(0, 700)]) | {"items": None},
        subscription(items=[item(0, 700)]) | {"items": {"data": "none"}},
        subscription(items=[{"price": METERED}]),
        subscription(items=[{"price": METERED, "current_period_start": "1", "current_period_end": True}]),
        subscription(items=[item(700, 0)]),
        subscription(items=[{"price": None}, {"price": "price_1"}]),
    ],
)
def test_what_bills_nothing_by_meter_or_is_not_as_stripe_writes_it_says_nothing(document: dict[str, Any]) -> None:
    assert read_subscription(document) is None


# Sides and times


def test_without_a_boundary_all_minutes_are_on_one_side_and_told_at_their_begin() -> None:
    periods = knowing(found(-600, 600, customer="another"))
    assert periods.side("c", START * 1000) == ALWAYS
    assert told(periods, 60) == 60


def test_a_boundary_at_a_minutes_begin_separates_it_from_the_minute_before() -> None:
    periods = knowing(found(-6_000, 120))
    assert (sides(periods, 0, 60), sides(periods, 60, 120), sides(periods, 120, 180)) == (1, 2, 1)
    assert [told(periods, second) for second in (60, 120, 180)] == [60, 121, 180], "one second on: in the new period by either reading"


def test_a_minute_that_a_boundary_cuts_is_on_the_side_in_which_it_begins() -> None:
    periods = knowing(found(-6_000, 150))
    assert (sides(periods, 60, 120), sides(periods, 120, 180)) == (1, 2)
    assert [told(periods, second) for second in (120, 180)] == [120, 180]


@pytest.mark.parametrize(("start", "time"), [(150, 151), (178, 179), (179, 179), (120, 121)])
def test_the_minute_in_which_a_subscription_starts_is_reported_within_the_subscription(start: int, time: int) -> None:
    periods = knowing(found(start, 60_000))
    assert sides(periods, 60, 120) == 2
    assert sides(periods, 120, 180) == 1
    assert told(periods, 120) == time


@pytest.mark.parametrize("order", [1, -1])
def test_where_an_earlier_period_covers_a_minutes_begin_a_new_subscription_changes_nothing(order: int) -> None:
    periods = knowing(*[found(-6_000, 140), found(150, 60_000)][::order])
    assert [told(periods, second) for second in (120, 180)] == [120, 180]
    assert (sides(periods, 60, 120), sides(periods, 120, 180)) == (1, 2)


def test_a_subscription_that_ended_early_no_longer_covers_the_start_of_the_next() -> None:
    periods = knowing(found(-6_000, 60_000), found(-6_000, 0), found(150, 60_000))
    assert told(periods, 120) == 151


def test_more_that_becomes_known_never_joins_what_is_apart() -> None:
    """Sides that were asked for at different times are equal only if no boundary lies between the minutes, by all that is known at the end."""
    chance = random.Random(5)
    for _ in range(40):
        periods, asked = BillingPeriods(), list[tuple[int, Side]]()
        for end in chance.sample(range(60, 3_000), 4):
            periods.learn(found(-6_000, end))
            asked += [(minute, periods.side("c", minute * 1000)) for minute in range(START, START + 3_000, 60)]
            now = {minute: periods.side("c", minute * 1000) for minute in range(START, START + 3_000, 60)}
            for minute, side in asked:
                assert all(now[minute] == now[other] for other in now if now[other] == side), "what is known now joins with nothing beyond"


# Ends


def usage(*seconds: int, customer: str = "c") -> Iterator[tuple[str, int]]:
    return ((customer, (START + second) * 1000) for second in seconds)


def test_the_soonest_end_of_a_period_with_usage_is_found() -> None:
    periods = knowing(found(-900, 900, -300, 300))
    soonest = periods.soonest_end_s
    assert soonest(usage(100)) == START + 300
    assert soonest(usage(500, 100)) == START + 300
    assert soonest(usage(500, 100, -600)) == START - 300
    assert soonest(usage(300)) == START + 900, "the second of a boundary is in the period after it"
    assert soonest(usage(2_000)) is None, "after the last known end nothing is known"
    assert soonest(usage(-1_000)) is None, "before the subscription no period ends"
    assert soonest(usage(100, customer="another")) is None
    assert soonest(usage()) is None


def test_what_was_learnt_is_counted_and_what_was_known_is_not() -> None:
    periods = knowing(found(0, 900), found(0, 900), found(0, 900, customer="d"), found(0, 1_800, 900))
    assert periods.changes == 3


def test_the_next_end_is_the_soonest_of_our_customers() -> None:
    periods = knowing(found(0, 900, 300), found(0, 600, customer="d"), found(0, 100, customer="not ours"))

    def ours(customer: str) -> bool:
        return customer != "not ours"

    assert periods.next_end_s(START, ours) == START + 300
    assert periods.next_end_s(START + 300, ours) == START + 600
    assert periods.next_end_s(START + 900, ours) is None


# Bounds


def test_of_one_customer_the_newest_boundaries_are_kept() -> None:
    periods = knowing(found(0, 600 * (BOUNDARIES_MAX + 5), *(600 * number for number in range(1, BOUNDARIES_MAX + 5))))
    newest = 600 * (BOUNDARIES_MAX + 5)
    assert told(periods, newest) == newest + 1
    assert told(periods, 600) == 600
    for number in range(2 * SPANS_MAX):
        periods.learn(found(10**6 + 1_200 * number, 10**6 + 1_200 * number + 600))
    last = 1_200 * (2 * SPANS_MAX - 1) + 10**6
    assert periods.soonest_end_s(usage(last)) == START + last + 600


def test_customers_beyond_the_bound_are_counted_and_told_as_if_nothing_were_known() -> None:
    periods = BillingPeriods(customers_max=1)
    for customer in ("c", "d", "c"):
        periods.learn(found(0, 600, customer=customer))
    assert (len(periods), periods.refused) == (1, 1)
    assert periods.side("d", START * 1000) == ALWAYS


def test_a_customer_takes_less_than_a_kilobyte() -> None:
    tracemalloc.start()
    try:
        periods = knowing(*(found(number, 900_017 + number, 300_017 + number, customer=f"cus_{number:014}") for number in range(1_000)))
        assert tracemalloc.get_traced_memory()[0] / len(periods) < 1_000
    finally:
        tracemalloc.stop()
