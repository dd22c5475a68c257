"""What the reporter learns about billing periods from subscriptions, through the library and over HTTP."""

from typing import Any

import pytest

from audit.next_boundary import find_next_boundary
from metering.configuration.secrets import Secret
from metering.records.ledger_records import MeterEvent
from metering.records.tally import TallyRow
from reporter.planning.billing_periods import BillingPeriods, SubscriptionPeriods, read_subscription
from reporter.planning.unplanned import UnplannedUsage
from reporter.stripe.subscriptions import StripeSubscriptions, SubscriptionsUnavailable
from tests.support.stripe_simulator_control import configure
from tests.support.stripe_target import KEY, Target

NOW = 1_780_000_017  # an arbitrary second
HOUR, DAY = 3_600, 86_400


async def subscribed(simulator: Target, count: int, *, start: int = NOW, interval: str = "month") -> list[Any]:
    """Customers with a metered subscription each, a cent a unit, that began one after the other, a minute apart."""
    client = simulator.client.v1
    meter = await simulator.meter(event_name="tokens")
    product = await client.products.create_async({"name": "Tokens"})
    price = await client.prices.create_async(
        {
            "currency": "usd",
            "unit_amount": 1,
            "product": product.id,
            "recurring": {"interval": interval, "usage_type": "metered", "meter": meter.id},
        }
    )
    found = []
    for number in range(count):
        simulator.control.call("POST", "/_control/clock", {"set_ms": (start + 60 * number) * 1000, "rate": 0})
        customer = await simulator.customer()
        found.append(await client.subscriptions.create_async({"customer": customer, "items": [{"price": price.id}]}))
    return found


def reader(simulator: Target, key: str = KEY) -> StripeSubscriptions:
    return StripeSubscriptions(api_key=Secret(key), api_base=simulator.control.url, timeout_s=30.0)


def periods_of(subscription: Any) -> SubscriptionPeriods:
    """By the library's own reading of the object."""
    item = subscription["items"].data[0]
    return SubscriptionPeriods(
        subscription.customer,
        (subscription.start_date, item.current_period_end),
        frozenset({subscription.start_date, item.current_period_start, item.current_period_end}),
    )


async def test_every_page_is_read_and_says_what_the_library_says(simulator: Target) -> None:
    made = await subscribed(simulator, 103)
    port = reader(simulator)
    try:
        first = await port.page()
        assert first.after is not None
        second = await port.page(first.after)
    finally:
        await port.close()
    assert (len(first.subscriptions), len(second.subscriptions), second.after) == (100, 3, None)
    found = [read_subscription(one) for one in (*first.subscriptions, *second.subscriptions)]
    assert {one.customer: one for one in found if one is not None} == {one.customer: periods_of(one) for one in made}


async def test_usage_in_the_minute_of_the_start_is_told_after_it(simulator: Target) -> None:
    (made,) = await subscribed(simulator, 1)
    periods = await read_all(simulator)
    minute = made.start_date // 60 * 60
    assert periods.event_time_ms(made.customer, minute * 1000) == (made.start_date + 1) * 1000
    assert periods.next_end_s(made.start_date, lambda _: True) == made["items"].data[0].current_period_end


@pytest.mark.parametrize("period_end", ["exclusive", "inclusive"])
@pytest.mark.parametrize("second", [0, 17, 58])
async def test_merged_usage_is_invoiced_in_the_period_in_which_its_minute_begins(simulator: Target, second: int, period_end: str) -> None:
    """Through the reporter's own merging, by either reading of whether the second of a period's end belongs to it."""
    configure(simulator, assumptions={"period_end": period_end})
    start = NOW // HOUR * HOUR + 30 * 60 + second
    (made,) = await subscribed(simulator, 1, start=start, interval="day")
    minutes = [(start // 60 + minute) * 60 for minute in (0, 1, 24 * 60 - 2, 24 * 60 - 1, 24 * 60, 24 * 60 + 1, 24 * 60 + 20)]
    simulator.control.call("POST", "/_control/clock", {"set_ms": (start + DAY + 30 * 60) * 1000})
    for event in merged(await read_all(simulator), made.customer, minutes):
        await simulator.send("tokens", made.customer, event.value, timestamp=event.time_ms // 1000)
    simulator.control.call("POST", "/_control/clock", {"set_ms": (start + 2 * DAY + 2 * HOUR) * 1000})
    invoices = (await simulator.client.v1.invoices.list_async({"customer": made.customer})).data
    billed = sorted((invoice.created, invoice.total) for invoice in invoices if invoice.total)
    assert [total for _, total in billed] == [sum_of(minutes, 0, start + DAY), sum_of(minutes, start + DAY, None)]


def sum_of(minutes: list[int], start: int, end: int | None) -> int:
    """What the minutes are worth that begin from `start` until before `end`."""
    return sum(10**place for place, minute in enumerate(minutes) if start <= minute and (end is None or minute < end))


def merged(periods: BillingPeriods, customer: str, minutes: list[int]) -> list[MeterEvent]:
    """Usage in these minutes, merged to hours as far as periods allow."""
    unplanned = UnplannedUsage(1, periods)
    unplanned.add(TallyRow(customer, "tokens", (), minute * 1000, 10**place, 1) for place, minute in enumerate(minutes))
    return unplanned.meter_events()


async def read_all(simulator: Target) -> BillingPeriods:
    """What a reporter would know at this moment."""
    port = reader(simulator)
    periods = BillingPeriods()
    try:
        for one in (await port.page()).subscriptions:
            found = read_subscription(one)
            assert found is not None
            periods.learn(found)
    finally:
        await port.close()
    return periods


async def test_the_next_boundary_is_found_by_the_filter(simulator: Target) -> None:
    made = await subscribed(simulator, 3)
    soonest = min(periods_of(one).span[1] for one in made)
    port = reader(simulator)
    try:
        assert (await find_next_boundary(port, NOW, HOUR)).at_s == soonest
        assert (await find_next_boundary(port, soonest + 1, HOUR)).at_s == soonest + 60
        assert (await port.page(ends=(NOW, NOW + DAY))).subscriptions == []
    finally:
        await port.close()


async def test_a_key_that_may_not_read_subscriptions_is_refused_for_good_and_not_named(simulator: Target) -> None:
    configure(simulator, keys={"restricted": {"rk_test_secretpart1": ["billing_meter_event_write"], "rk_test_secretpart2": ["subscription_read"]}})
    for key, allowed in (("rk_test_secretpart1", False), ("rk_test_secretpart2", True)):
        port = reader(simulator, key)
        try:
            if allowed:
                assert (await port.page()).after is None
                continue
            with pytest.raises(SubscriptionsUnavailable) as refused:
                await port.page()
            assert refused.value.lasting
            assert "secretpart" not in str(refused.value)
        finally:
            await port.close()


@pytest.mark.parametrize("kind", ["server_error_before", "bad_gateway_after", "truncate_after", "rate_limited", "lock_timeout", "conflict"])
async def test_a_fault_is_told_as_one_that_may_pass(simulator: Target, kind: str) -> None:
    simulator.control.call("POST", "/_control/script", {"route": "subscriptions.list", "kind": kind, "times": 1})
    port = reader(simulator)
    try:
        with pytest.raises(SubscriptionsUnavailable) as failed:
            await port.page()
        assert not failed.value.lasting
        assert (await port.page()).after is None
    finally:
        await port.close()
