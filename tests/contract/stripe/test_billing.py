"""What is sold and billed: what Stripe does, on the simulator and, as far as a sandbox can, on the sandbox."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import stripe

from tests.support.stripe_simulator_control import ready
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import Target, client_of, refused

DAY_MS = 86_400_000
PACKAGE = {"unit_amount": 4, "transform_quantity": {"divide_by": 1000, "round": "up"}}


async def price_of(target: Target, meter_id: str, **changes: Any) -> Any:
    """A new monthly metered price of a new product."""
    recurring = {"interval": "month", "usage_type": "metered", "meter": meter_id}
    params = {"currency": "usd", "recurring": recurring, "product_data": {"name": "Taximeter contract"}, **(changes or PACKAGE)}
    return await target.client.v1.prices.create_async(params)  # type: ignore[arg-type]  # built from parts


async def subscribed(target: Target, customer: str, price: str, **changes: Any) -> Any:
    """A new subscription, as Stripe's guide makes it."""
    params = {
        "customer": customer,
        "items": [{"price": price}],
        "payment_behavior": "default_incomplete",
        "payment_settings": {"save_default_payment_method": "on_subscription"},
        "billing_mode": {"type": "flexible"},
        "expand": ["pending_setup_intent"],
        **changes,
    }
    return await target.client.v1.subscriptions.create_async(params)  # type: ignore[arg-type]  # built from parts


def day(text: str) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())


async def test_a_package_price_is_made_shown_and_found_by_its_lookup_key(any_stripe: Target) -> None:
    prices = any_stripe.client.v1.prices
    meter, key = await any_stripe.meter(), f"taximeter_{uuid.uuid4().hex}"
    made = await price_of(any_stripe, meter.id, **PACKAGE, lookup_key=key, metadata={"plan": "a"})
    shown = await prices.retrieve_async(made.id)
    assert (shown.unit_amount, shown.unit_amount_decimal, shown.billing_scheme, shown.type) == (4, Decimal(4), "per_unit", "recurring")
    assert shown.transform_quantity is not None
    assert (shown.transform_quantity.divide_by, shown.transform_quantity.round) == (1000, "up")
    assert shown.recurring is not None
    assert (shown.recurring.meter, shown.recurring.usage_type, shown.recurring.interval_count) == (meter.id, "metered", 1)
    assert [price.id for price in (await prices.list_async({"lookup_keys": [key]})).data] == [made.id]
    error = await refused(price_of(any_stripe, meter.id, **PACKAGE, lookup_key=key))
    assert error.http_status == 400
    other = await price_of(any_stripe, meter.id, **PACKAGE, lookup_key=key, transfer_lookup_key=True)
    assert (await prices.retrieve_async(made.id)).lookup_key is None
    changed = await prices.update_async(other.id, {"active": False, "nickname": "Old", "metadata": {"plan": "b"}})
    assert (changed.active, changed.nickname, changed.metadata["plan"]) == (False, "Old", "b")
    products = (await any_stripe.client.v1.products.list_async({"ids": [str(made.product)]})).data
    assert [product.name for product in products] == ["Taximeter contract"]


async def test_tiers_are_shown_only_when_they_are_expanded(any_stripe: Target) -> None:
    prices = any_stripe.client.v1.prices
    meter = await any_stripe.meter()
    rows = [{"up_to": 1000, "unit_amount_decimal": "0.5"}, {"up_to": "inf", "unit_amount_decimal": "0.25", "flat_amount": 300}]
    made = await price_of(any_stripe, meter.id, billing_scheme="tiered", tiers_mode="graduated", tiers=rows)
    assert "tiers" not in (await prices.retrieve_async(made.id))
    tiers = (await prices.retrieve_async(made.id, {"expand": ["tiers"]})).tiers
    assert tiers is not None
    assert [(tier.up_to, tier.unit_amount_decimal, tier.flat_amount) for tier in tiers] == [
        (1000, Decimal("0.5"), None),
        (None, Decimal("0.25"), 300),
    ]


@pytest.mark.parametrize(
    "wrong",
    [
        {"unit_amount": 4, "recurring": {"interval": "month", "usage_type": "metered"}},
        {"unit_amount": 4, "recurring": {"interval": "month", "usage_type": "metered", "meter": "mtr_test_none"}},
        {
            "billing_scheme": "tiered",
            "tiers_mode": "volume",
            "tiers": [{"up_to": "inf", "unit_amount": 1}],
            "transform_quantity": PACKAGE["transform_quantity"],
        },
        {"unit_amount": 4, "unit_amount_decimal": "4"},
        {},
    ],
)
async def test_a_price_that_makes_no_sense_is_refused(any_stripe: Target, wrong: dict[str, Any]) -> None:
    meter = await any_stripe.meter()
    recurring = {"interval": "month", "usage_type": "metered", "meter": meter.id}
    params: Any = {"currency": "usd", "product_data": {"name": "Taximeter contract"}, "recurring": recurring, **wrong}
    assert (await refused(any_stripe.client.v1.prices.create_async(params))).http_status == 400


async def test_a_metered_subscription_is_active_and_waits_for_payment_details(any_stripe: Target) -> None:
    v1 = any_stripe.client.v1
    meter, customer = await any_stripe.meter(), await any_stripe.customer()
    price = await price_of(any_stripe, meter.id)
    made = await subscribed(any_stripe, customer, price.id)
    intent = made.pending_setup_intent
    assert (made.status, made.latest_invoice, intent.status) == ("active", None, "requires_payment_method")
    assert intent.client_secret.startswith(f"{intent.id}_secret_")
    item = made["items"].data[0]
    assert item.current_period_start == made.start_date
    assert 28 * 86_400 <= item.current_period_end - item.current_period_start <= 31 * 86_400
    assert "quantity" not in item
    declined = await refused(
        v1.setup_intents.confirm_async(intent.id, {"payment_method": "pm_card_visa_chargeDeclined", "return_url": "https://example.com"})
    )
    assert (declined.http_status, declined.code) == (402, "card_declined")
    confirmed = await v1.setup_intents.confirm_async(intent.id, {"payment_method": "pm_card_visa", "return_url": "https://example.com"})
    assert confirmed.status == "succeeded"
    shown = await v1.subscriptions.retrieve_async(made.id, {"expand": ["default_payment_method"]})
    assert shown.pending_setup_intent is None
    assert isinstance(shown.default_payment_method, stripe.PaymentMethod)
    assert shown.default_payment_method.card is not None
    assert shown.default_payment_method.card.last4 == "4242"
    found = await v1.subscriptions.list_async({"customer": customer, "status": "active", "price": price.id})
    assert [subscription.id for subscription in found.data] == [made.id]


async def test_a_subscription_is_changed_and_cancelled(any_stripe: Target) -> None:
    subscriptions = any_stripe.client.v1.subscriptions
    meter, customer = await any_stripe.meter(), await any_stripe.customer()
    made = await subscribed(any_stripe, customer, (await price_of(any_stripe, meter.id)).id, metadata={"a": "1"})
    changed = await subscriptions.update_async(made.id, {"cancel_at_period_end": True, "metadata": {"a": "", "b": "2"}})
    assert (changed.cancel_at_period_end, changed.status, changed.metadata.to_dict()) == (True, "active", {"b": "2"})
    assert changed.cancel_at == changed["items"].data[0].current_period_end
    cancelled = await subscriptions.cancel_async(made.id)
    assert cancelled.status == "canceled"
    assert cancelled.ended_at is not None
    assert (await subscriptions.list_async({"customer": customer})).data == []
    assert [item.id for item in (await subscriptions.list_async({"customer": customer, "status": "all"})).data] == [made.id]
    assert (await refused(subscriptions.cancel_async(made.id))).http_status == 404


async def test_a_quantity_for_a_metered_price_is_refused(any_stripe: Target) -> None:
    meter, customer = await any_stripe.meter(), await any_stripe.customer()
    price = await price_of(any_stripe, meter.id)
    error = await refused(subscribed(any_stripe, customer, price.id, items=[{"price": price.id, "quantity": 2}]))
    assert error.http_status == 400


async def test_a_preview_shows_what_the_period_costs_so_far(any_stripe: Target) -> None:
    meter, customer = await any_stripe.meter(), await any_stripe.customer()
    price = await price_of(any_stripe, meter.id)
    made = await subscribed(any_stripe, customer, price.id)
    await any_stripe.send(meter.event_name, customer, 1500)

    async def total() -> float:
        return (await any_stripe.client.v1.invoices.create_preview_async({"subscription": made.id})).total

    await any_stripe.until(8, total)
    preview = await any_stripe.client.v1.invoices.create_preview_async({"customer": customer})
    line = preview.lines.data[0]
    assert (preview.status, preview.amount_due, line.amount, line.quantity) == ("draft", 8, 8, 1500)
    assert line.pricing is not None
    assert line.pricing.price_details is not None
    assert line.pricing.price_details.price == price.id


async def test_a_preview_with_many_lines_is_read_page_by_page(any_stripe: Target) -> None:
    customer = await any_stripe.customer()
    prices = [(await price_of(any_stripe, (await any_stripe.meter()).id)).id for _ in range(12)]
    made = await subscribed(any_stripe, customer, prices[0], items=[{"price": price} for price in prices])
    preview = await any_stripe.client.v1.invoices.create_preview_async({"subscription": made.id})
    assert (len(preview.lines.data), preview.lines.has_more) == (10, True)
    rows = [row async for row in (await any_stripe.client.v1.invoices.line_items.list_async(preview.id, {"limit": 5})).auto_paging_iter()]
    found = [row.pricing.price_details.price for row in rows if row.pricing is not None and row.pricing.price_details is not None]
    assert sorted(map(str, found)) == sorted(prices)


async def test_prices_are_found_by_their_meter(any_stripe: Target) -> None:
    meter, other = await any_stripe.meter(), await any_stripe.meter()
    price = await price_of(any_stripe, meter.id)
    await price_of(any_stripe, other.id)
    found = await any_stripe.client.v1.prices.list_async({"recurring": {"meter": meter.id}})
    assert [each.id for each in found.data] == [price.id]


async def test_a_checkout_session_is_opened_and_expired(any_stripe: Target) -> None:
    sessions = any_stripe.client.v1.checkout.sessions
    meter = await any_stripe.meter()
    price = await price_of(any_stripe, meter.id)
    params: Any = {
        "mode": "subscription",
        "line_items": [{"price": price.id}],
        "success_url": "https://example.com/done?session={CHECKOUT_SESSION_ID}",
        "cancel_url": "https://example.com/back",
        "client_reference_id": "ours",
    }
    made = await sessions.create_async(params)
    assert made.id.startswith("cs_test_")
    assert (made.status, made.mode, made.payment_status, made.ui_mode) == ("open", "subscription", "unpaid", "hosted_page")
    assert made.url is not None
    assert 23 * 3600 < made.expires_at - made.created <= 24 * 3600
    items = (await sessions.line_items.list_async(made.id)).data
    assert [item.price.id for item in items if item.price is not None] == [price.id]
    expired = await sessions.expire_async(made.id)
    assert (expired.status, expired.url, expired.client_reference_id) == ("expired", None, "ours")
    assert (await refused(sessions.expire_async(made.id))).http_status == 400


async def test_what_does_not_exist_is_not_found(any_stripe: Target) -> None:
    v1 = any_stripe.client.v1
    for call in (
        v1.prices.retrieve_async("price_none"),
        v1.products.retrieve_async("prod_none"),
        v1.subscriptions.retrieve_async("sub_none"),
        v1.setup_intents.retrieve_async("seti_none"),
        v1.invoices.retrieve_async("in_none"),
    ):
        error = await refused(call)
        assert (error.http_status, error.code) == (404, "resource_missing")


# What only a simulator can be made to do


@pytest.fixture
def durable(tmp_path: Path) -> Iterator[SimulatorProcess]:
    process = SimulatorProcess(tmp_path, "--data", str(tmp_path / "journal"))
    process.start()
    yield process
    process.stop()


def frozen_at(process: SimulatorProcess, text: str) -> None:
    process.call("POST", "/_control/clock", {"set_ms": day(text) * 1000, "rate": 0})


async def test_a_month_is_closed_in_a_call_and_webhooks_tell_it_in_order(simulator: Target) -> None:
    frozen_at(simulator.control, "2027-01-31")
    meter = await ready(simulator)
    price = await price_of(simulator, meter.id)
    made: str = simulator.control.call("POST", "/_control/subscriptions", {"customers": ["cus_1"], "price": price.id})["subscriptions"]["cus_1"]
    await simulator.send("tokens", "cus_1", 1500)
    simulator.control.call("POST", "/_control/clock", {"set_ms": day("2027-02-28T00:59:59") * 1000})
    draft = (await simulator.client.v1.invoices.list_async({"subscription": made, "status": "draft"})).data[0]
    assert draft.automatically_finalizes_at == day("2027-02-28T01:00:00")
    await simulator.send("tokens", "cus_1", 501, timestamp=day("2027-02-27T23:59:59"))
    simulator.control.call("POST", "/_control/clock", {"advance_ms": DAY_MS})
    await simulator.send("tokens", "cus_1", 70, timestamp=day("2027-02-27T23:59:59"))
    billed = await simulator.client.v1.invoices.retrieve_async(draft.id)
    assert (billed.status, billed.total, billed.amount_remaining) == ("paid", 12, 0)
    lines = (await simulator.client.v1.invoices.line_items.list_async(draft.id)).data
    assert [(line.quantity, line.quantity_decimal, line.amount) for line in lines] == [(2001, Decimal(2001), 12)]
    kinds = [event.type for event in (await simulator.client.v1.events.list_async({"limit": 100})).data if event.type.startswith("invoice.")]
    assert kinds[::-1] == ["invoice.upcoming", "invoice.created", "invoice.finalized", "invoice.paid"]
    [row] = simulator.control.call("GET", "/_oracle/invoices?customer=cus_1")["invoices"]
    assert (row["total"], row["lines"][0]["quantity"], row["lines"][0]["late_quantity"]) == (12, "2001", "70")
    [lost] = simulator.control.call("GET", f"/_oracle/late_usage?subscription={made}")["rows"]
    assert (lost["late_quantity"], lost["late_events"], lost["event_name"]) == ("70", 1, "tokens")
    assert simulator.control.call("GET", "/_oracle/late_usage?customer=cus_2")["rows"] == []


async def test_the_checkout_page_says_what_it_is_and_subscribes(simulator: Target) -> None:
    meter = await ready(simulator)
    price = await price_of(simulator, meter.id, **PACKAGE, product_data={"name": "<b>Alpaca</b>"})
    sessions = simulator.client.v1.checkout.sessions
    done = f"{simulator.control.url}/_control/health?session={{CHECKOUT_SESSION_ID}}"
    params: Any = {"mode": "subscription", "line_items": [{"price": price.id}], "success_url": done, "customer_email": "a@example.com"}
    made = await sessions.create_async(params)
    assert made.url is not None
    async with aiohttp.ClientSession() as browser:
        async with browser.get(made.url) as page:
            text = await page.text()
        assert "this is the simulator, nothing is charged" in text
        assert "<b>Alpaca" not in text
        async with browser.post(made.url, allow_redirects=False) as answer:
            assert (answer.status, answer.headers["Location"]) == (303, done.replace("{CHECKOUT_SESSION_ID}", made.id))
        async with browser.post(made.url, allow_redirects=False) as answer:
            assert answer.status == 400
        async with browser.get(made.url) as page:
            assert page.status == 410
        async with browser.get(f"{simulator.control.url}/c/pay/cs_test_none") as page:
            assert page.status == 404
    finished = await sessions.retrieve_async(made.id, {"expand": ["customer", "subscription"]})
    assert (finished.status, finished.payment_status, finished.url) == ("complete", "no_payment_required", None)
    assert isinstance(finished.customer, stripe.Customer)
    assert finished.customer.email == "a@example.com"
    assert isinstance(finished.subscription, stripe.Subscription)
    assert finished.subscription.pending_setup_intent is None
    kinds = [event.type for event in (await simulator.client.v1.events.list_async({"limit": 100})).data]
    assert {"customer.created", "customer.subscription.created", "checkout.session.completed"} <= set(kinds)


async def test_a_checkout_session_expires_after_a_day(simulator: Target) -> None:
    meter = await ready(simulator)
    price = await price_of(simulator, meter.id)
    params: Any = {"mode": "subscription", "line_items": [{"price": price.id}], "success_url": "https://example.com"}
    made = await simulator.client.v1.checkout.sessions.create_async(params)
    simulator.control.call("POST", "/_control/clock", {"advance_ms": DAY_MS + 1000})
    assert (await simulator.client.v1.checkout.sessions.retrieve_async(made.id)).status == "expired"


async def test_everything_sold_survives_a_kill(durable: SimulatorProcess, http_client: stripe.HTTPClient) -> None:
    frozen_at(durable, "2027-01-31")
    target = Target(client_of(durable.url, http_client), "sk_test_x", 2.0, durable)
    meter = await ready(target)
    price = await price_of(target, meter.id)
    made = await subscribed(target, "cus_1", price.id)
    await target.client.v1.setup_intents.confirm_async(made.pending_setup_intent.id, {"payment_method": "pm_card_visa"})
    await target.send("tokens", "cus_1", 1500)
    durable.call("POST", "/_control/clock", {"set_ms": day("2027-02-28T00:30:00") * 1000})
    before = durable.call("GET", "/_oracle/invoices")
    durable.kill()
    durable.start()
    assert durable.call("GET", "/_oracle/invoices") == before
    target = Target(client_of(durable.url, http_client), "sk_test_x", 2.0, durable)
    durable.call("POST", "/_control/clock", {"set_ms": day("2027-03-31T01:00:00") * 1000})
    rows = durable.call("GET", "/_oracle/invoices")["invoices"]
    assert [(row["status"], row["total"], row["finalized_at"]) for row in rows] == [
        ("paid", 8, day("2027-02-28T01:00:00")),
        ("paid", 0, day("2027-03-31T01:00:00")),
    ]
    shown = await target.client.v1.subscriptions.retrieve_async(made.id)
    assert (shown.status, shown.pending_setup_intent) == ("active", None)
    assert shown["items"].data[0].current_period_end == day("2027-04-30")


async def test_many_subscriptions_are_made_and_billed_at_once(simulator: Target) -> None:
    frozen_at(simulator.control, "2027-01-31")
    meter = await ready(simulator)
    price = await price_of(simulator, meter.id)
    customers = [f"cus_many_{number}" for number in range(300)]
    simulator.control.call("POST", "/_control/customers", {"ids": customers})
    wanted = {"customers": customers, "price": price.id, "payment_method": None}
    made = simulator.control.call("POST", "/_control/subscriptions", wanted)["subscriptions"]
    assert set(made) == set(customers)
    simulator.control.call("POST", "/_control/clock", {"set_ms": day("2027-03-01") * 1000})
    rows = simulator.control.call("GET", "/_oracle/invoices")["invoices"]
    assert sorted(row["customer"] for row in rows) == sorted(customers)
    assert {(row["status"], row["total"]) for row in rows} == {("paid", 0)}


async def test_mistaken_calls_for_many_subscriptions_are_explained_and_make_none(simulator: Target) -> None:
    meter = await ready(simulator)
    price = await price_of(simulator, meter.id)
    mistakes: list[tuple[object, str]] = [
        ({"price": price.id}, "customers"),
        ({"customers": ["cus_1", "cus_none"], "price": price.id}, "cus_none"),
        ({"customers": ["cus_1"], "price": "price_none"}, "price_none"),
        ({"customers": ["cus_1"], "price": price.id, "quantity": 3}, "quantity"),
    ]
    for document, reason in mistakes:
        assert reason in simulator.control.refusal("POST", "/_control/subscriptions", document)
    assert (await simulator.client.v1.subscriptions.list_async()).data == []
    assert "upcoming_days" in simulator.control.refusal("POST", "/_control/config", {"billing": {"upcoming_days": 0}})


async def test_subscriptions_are_found_by_the_end_of_their_period(simulator: Target) -> None:
    frozen_at(simulator.control, "2027-01-10")
    meter = await ready(simulator)
    price = await price_of(simulator, meter.id)
    first = await subscribed(simulator, "cus_1", price.id)
    frozen_at(simulator.control, "2027-01-20")
    second = await subscribed(simulator, "cus_1", price.id)
    end = day("2027-02-10")
    for bounds, ids in (
        ({"gte": end, "lt": end + 1}, [first.id]),
        ({"gt": end}, [second.id]),
        ({"lte": end}, [first.id]),
        ({"lt": end}, []),
        ({"gte": end}, [second.id, first.id]),
    ):
        params: Any = {"current_period_end": bounds}
        assert [item.id for item in (await simulator.client.v1.subscriptions.list_async(params)).data] == ids
    begun: Any = {"current_period_start": {"gt": day("2027-01-10"), "lte": day("2027-01-20")}}
    assert [item.id for item in (await simulator.client.v1.subscriptions.list_async(begun)).data] == [second.id]
