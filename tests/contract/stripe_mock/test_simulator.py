"""The simulator's replies and parameters against Stripe's OpenAPI document: a life of an account that touches every endpoint the document has."""

import re
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import pytest
from aiohttp.test_utils import TestServer
from taximeter_sandbox.stripe.app import make_app
from taximeter_sandbox.stripe.configuration import Settings
from taximeter_sandbox.stripe.http.parameters import Parameters
from taximeter_sandbox.stripe.http.routes import Route
from taximeter_sandbox.stripe.simulator import Simulator
from taximeter_sandbox.stripe.traffic.limits import Limits

from tests.support.stripe_mock_module import StripeMock
from tests.support.stripe_mock_openapi import FIXTURE_FIELDS, Document, Operation, names_of

MONTH_MS = 32 * 86_400_000
NO_LIMITS = Limits(meter_events_per_second=0, global_per_second=0, endpoint_per_second=0)

# Replies that differ from the document, with the reason.
DIFFERENT_REPLIES: Mapping[str, str] = {}
# Parameters that the simulator takes and the document does not have, by operation and name.
OTHER_PARAMETERS = {
    (
        "GET /v1/billing/meters/{id}",
        "usage",
    ): "stripe-python 16.1 sends its own telemetry as a parameter when it fetches what a notification is about",
}
# Endpoints that the document does not have.
UNDOCUMENTED = {"v2.": "Stripe's OpenAPI document has version 1 of the API only"}


@dataclass(slots=True)
class Account:
    """A simulator in this process, called by forms. Every reply with status 200 is compared with the document."""

    document: Document
    simulator: Simulator
    session: aiohttp.ClientSession
    differences: set[str] = field(default_factory=set)
    called: set[str] = field(default_factory=set)
    accepted: dict[str, set[str]] = field(default_factory=dict)
    current: str = ""

    async def call(self, method: str, path: str, *pairs: tuple[str, object]) -> Any:
        """The reply's JSON."""
        operation = self.document.operation(method, path)
        assert operation is not None, f"{method} {path} is not in the document"
        self.current = operation.name
        given = [(name, str(value)) for name, value in pairs]
        how: dict[str, Any] = {"params": given} if method == "GET" else {"data": given}
        async with self.session.request(method, path, **how) as reply:
            found = await reply.json()
            assert reply.status == 200, (method, path, found)
        self.called.add(operation.name)
        self.differences |= {f"{operation.name}: {problem}" for problem in self.document.objections(operation, found)}
        return found

    async def control(self, path: str, document: object) -> None:
        async with self.session.post(path, json=document) as reply:
            assert reply.status == 200, await reply.text()


@pytest.fixture
async def account(document: Document, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Account]:
    simulator = Simulator(seed=1, settings=Settings(limits=NO_LIMITS))
    async with TestServer(make_app(simulator)) as server:
        headers = {"Authorization": "Bearer sk_test_contract1234"}
        async with aiohttp.ClientSession(base_url=server.make_url("/"), headers=headers) as session:
            found = Account(document, simulator, session)
            _note_parameters(found, monkeypatch)
            yield found
    simulator.close()


def _note_parameters(account: Account, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever name an endpoint asks for, given or not, is one that it accepts."""

    def noting(reader: Callable[..., Any]) -> Callable[..., Any]:
        def read(self: Parameters, name: str, *arguments: Any, **named: Any) -> Any:
            account.accepted.setdefault(account.current, set()).add(self._shown(name))
            return reader(self, name, *arguments, **named)

        return read

    for name in ("optional_text", "takes_empty", "optional_group", "_elements", "groups", "text_map"):
        monkeypatch.setattr(Parameters, name, noting(getattr(Parameters, name)))


async def live(account: Account) -> None:
    """Meters, a catalogue, customers, subscriptions, usage, invoices, payments, checkout and webhooks."""
    meter = await _metering(account)
    prices = await _catalogue(account, meter)
    customer = await _customers(account)
    await _webhooks(account)
    await _checkout(account, customer, prices)
    await _billing(account, customer, prices, meter)


async def _metering(account: Account) -> str:
    call = account.call
    made = await call(
        "POST",
        "/v1/billing/meters",
        ("display_name", "Tokens"),
        ("event_name", "tokens"),
        ("default_aggregation[formula]", "sum"),
        ("customer_mapping[type]", "by_id"),
        ("customer_mapping[event_payload_key]", "stripe_customer_id"),
        ("value_settings[event_payload_key]", "value"),
    )
    windowed = (("display_name", "Hours"), ("event_name", "hours"), ("default_aggregation[formula]", "count"), ("event_time_window", "hour"))
    other = (await call("POST", "/v1/billing/meters", *windowed))["id"]
    await call("POST", f"/v1/billing/meters/{other}", ("display_name", "Hours of use"))
    await call("POST", f"/v1/billing/meters/{other}/deactivate")
    await call("GET", f"/v1/billing/meters/{other}")
    await call("GET", "/v1/billing/meters", ("status", "inactive"), ("limit", 1))
    await call("POST", f"/v1/billing/meters/{other}/reactivate")
    await call("GET", "/v1/billing/meters", ("limit", 1), ("starting_after", other))
    await call("GET", "/v1/billing/meters", ("ending_before", made["id"]))
    return str(made["id"])


async def _catalogue(account: Account, meter: str) -> list[str]:
    call = account.call
    about = (("name", "Tokens"), ("description", "What a model reads"), ("metadata[team]", "models"), ("unit_label", "token"), ("active", "true"))
    product = (await call("POST", "/v1/products", *about))["id"]
    await call("POST", f"/v1/products/{product}", ("name", "Tokens of a model"), ("metadata", ""))
    await call("GET", f"/v1/products/{product}")
    await call("GET", "/v1/products", ("active", "true"), ("ids[]", product))
    doomed = (await call("POST", "/v1/products", ("name", "Doomed")))["id"]
    await call("DELETE", f"/v1/products/{doomed}")
    recurring = (
        ("recurring[interval]", "month"),
        ("recurring[interval_count]", 1),
        ("recurring[usage_type]", "metered"),
        ("recurring[meter]", meter),
    )
    packaged = await call(
        "POST",
        "/v1/prices",
        ("currency", "usd"),
        ("product", product),
        ("unit_amount", 4),
        ("lookup_key", "monthly"),
        ("nickname", "Monthly"),
        ("transform_quantity[divide_by]", 1000),
        ("transform_quantity[round]", "up"),
        ("metadata[plan]", "a"),
        *recurring,
    )
    tiered = await call(
        "POST",
        "/v1/prices",
        ("currency", "usd"),
        ("product_data[name]", "Tiers"),
        ("product_data[metadata][a]", "b"),
        ("billing_scheme", "tiered"),
        ("tiers_mode", "graduated"),
        ("tiers[0][up_to]", 1000),
        ("tiers[0][unit_amount_decimal]", "0.5"),
        ("tiers[1][up_to]", "inf"),
        ("tiers[1][flat_amount]", 300),
        ("expand[]", "tiers"),
        ("expand[]", "product"),
        *recurring,
    )
    once = await call("POST", "/v1/prices", ("currency", "jpy"), ("product", product), ("unit_amount_decimal", "0.004"))
    await call(
        "POST", f"/v1/prices/{once['id']}", ("active", "false"), ("nickname", "Old"), ("lookup_key", "monthly"), ("transfer_lookup_key", "true")
    )
    await call("GET", f"/v1/prices/{packaged['id']}", ("expand[]", "product"))
    await call("GET", "/v1/prices", ("lookup_keys[]", "monthly"), ("expand[]", "data.tiers"), ("expand[]", "data.product"))
    await call("GET", "/v1/prices", ("recurring[meter]", meter), ("type", "recurring"), ("currency", "usd"), ("active", "true"), ("product", product))
    return [packaged["id"], tiered["id"]]


async def _customers(account: Account) -> str:
    call = account.call
    about = (("name", "Acme"), ("email", "acme@example.com"), ("description", "A customer"), ("phone", "+49 30 1"), ("metadata[key]", "acme"))
    customer = (await call("POST", "/v1/customers", *about))["id"]
    await call("POST", f"/v1/customers/{customer}", ("name", "Acme AG"), ("metadata[key]", ""))
    await call("GET", f"/v1/customers/{customer}")
    await call("GET", "/v1/customers", ("email", "acme@example.com"))
    bare = (await call("POST", "/v1/customers"))["id"]
    await call("DELETE", f"/v1/customers/{bare}")
    await call("GET", f"/v1/customers/{bare}")
    return str(customer)


async def _webhooks(account: Account) -> None:
    call = account.call
    about = (("url", "http://127.0.0.1:9/hook"), ("enabled_events[]", "*"), ("description", "Test"), ("metadata[a]", "b"))
    endpoint = (await call("POST", "/v1/webhook_endpoints", *about))["id"]
    bare = (await call("POST", "/v1/webhook_endpoints", *about[:2]))["id"]
    await call("POST", f"/v1/webhook_endpoints/{endpoint}", ("disabled", "true"), ("enabled_events[]", "invoice.paid"), ("description", ""))
    await call("GET", f"/v1/webhook_endpoints/{endpoint}")
    await call("GET", "/v1/webhook_endpoints", ("limit", 100))
    await call("DELETE", f"/v1/webhook_endpoints/{bare}")


async def _checkout(account: Account, customer: str, prices: list[str]) -> None:
    call = account.call
    items = [(f"line_items[{number}][price]", price) for number, price in enumerate(prices)]
    urls = (("success_url", "https://example.com/{CHECKOUT_SESSION_ID}"), ("cancel_url", "https://example.com/back"))
    made = await call(
        "POST",
        "/v1/checkout/sessions",
        ("mode", "subscription"),
        ("customer", customer),
        ("client_reference_id", "ours"),
        ("metadata[a]", "b"),
        ("subscription_data[metadata][a]", "b"),
        ("subscription_data[description]", "Usage"),
        ("expand[]", "line_items"),
        ("expand[]", "customer"),
        *urls,
        *items,
    )
    session = f"/v1/checkout/sessions/{made['id']}"
    await call("GET", session, ("expand[]", "line_items"))
    await call("GET", f"{session}/line_items")
    await call("POST", f"{session}/expire")
    await call("GET", "/v1/checkout/sessions", ("customer", customer), ("status", "expired"))
    embedded = (
        ("ui_mode", "embedded_page"),
        ("mode", "subscription"),
        ("return_url", "https://example.com/done"),
        ("customer_email", "a@example.com"),
    )
    await call("POST", "/v1/checkout/sessions", *embedded, *items)
    await call("POST", "/v1/checkout/sessions", ("mode", "subscription"), *urls, *items)


async def _billing(account: Account, customer: str, prices: list[str], meter: str) -> None:
    call = account.call
    items = [(f"items[{number}][price]", price) for number, price in enumerate(prices)]
    setup = (("payment_behavior", "default_incomplete"), ("payment_settings[save_default_payment_method]", "on_subscription"))
    subscription = await call(
        "POST",
        "/v1/subscriptions",
        ("customer", customer),
        ("metadata[a]", "b"),
        ("items[0][metadata][a]", "b"),
        ("description", "Usage"),
        ("billing_mode[type]", "flexible"),
        ("expand[]", "pending_setup_intent"),
        *setup,
        *items,
    )
    mine = f"/v1/subscriptions/{subscription['id']}"
    await _payment_details(account, customer, subscription["pending_setup_intent"]["id"])
    now = int(time.time())
    payload = (("payload[stripe_customer_id]", customer), ("payload[value]", "1789"))
    for identifier in ("e1", "e2"):
        await call("POST", "/v1/billing/meter_events", ("event_name", "tokens"), ("identifier", identifier), ("timestamp", now), *payload)
    await call("POST", "/v1/billing/meter_event_adjustments", ("event_name", "tokens"), ("type", "cancel"), ("cancel[identifier]", "e2"))
    hour = now // 3600 * 3600
    bounds = (("customer", customer), ("start_time", hour - 3600), ("end_time", hour + 7200))
    await account.control("/_control/clock", {"advance_ms": 300_000})
    await call("GET", f"/v1/billing/meters/{meter}/event_summaries", *bounds)
    await call("GET", f"/v1/billing/meters/{meter}/event_summaries", *bounds, ("value_grouping_window", "hour"))
    preview = await call("POST", "/v1/invoices/create_preview", ("subscription", subscription["id"]))
    await call("POST", "/v1/invoices/create_preview", ("customer", customer))
    await call("GET", f"/v1/invoices/{preview['id']}/lines", ("limit", 1))
    await call("GET", mine, ("expand[]", "default_payment_method"), ("expand[]", "customer"))
    await call("POST", mine, ("metadata[a]", "c"), ("description", ""), ("payment_settings[save_default_payment_method]", "off"))
    ends = (("current_period_end[gte]", now), ("current_period_end[lte]", now + 400 * 86_400))
    await call("GET", "/v1/subscriptions", ("customer", customer), ("price", prices[0]), ("expand[]", "data.customer"), *ends)
    await _invoices(account, customer, subscription["id"])
    await _paid_by_hand(account, prices)
    await call("POST", mine, ("cancel_at_period_end", "true"))
    await call("DELETE", mine, ("invoice_now", "true"), ("prorate", "false"))
    await call("GET", "/v1/subscriptions", ("status", "all"), ("limit", 100))
    by_hand = (("collection_method", "send_invoice"), ("days_until_due", 30), ("cancel_at_period_end", "true"))
    later = account.simulator.clock.now_ms() // 1000
    anchored = (("billing_cycle_anchor", later + 20 * 86_400), ("customer", customer), ("backdate_start_date", later - 86_400))
    await call("POST", "/v1/subscriptions", *anchored, ("billing_mode[type]", "classic"), *items, *by_hand)
    listed = await call("GET", "/v1/events", ("types[]", "invoice.*"), ("created[gte]", now - 60), ("limit", 100))
    await call("GET", f"/v1/events/{listed['data'][0]['id']}")
    for event in (await call("GET", "/v1/events", ("limit", 100)))["data"]:
        # What an event carries is an object as its own endpoint shows it.
        about = event["data"]["object"]
        carried = Operation(f"event {event['type']}", {"$ref": f"#/components/schemas/{about['object']}"}, {})
        account.differences |= {f"{carried.name}: {problem}" for problem in account.document.objections(carried, about)}


async def _payment_details(account: Account, customer: str, pending: str) -> None:
    call = account.call
    await call("GET", f"/v1/setup_intents/{pending}")
    await call("POST", f"/v1/setup_intents/{pending}/confirm", ("payment_method", "pm_card_visa"), ("return_url", "https://example.com"))
    confirmed = await call("GET", f"/v1/setup_intents/{pending}")
    await call("GET", f"/v1/payment_methods/{confirmed['payment_method']}")
    await call("POST", "/v1/payment_methods/pm_card_mastercard/attach", ("customer", customer))
    about = (("customer", customer), ("usage", "off_session"), ("description", "Card"), ("payment_method_types[]", "card"), ("metadata[a]", "b"))
    intent = (await call("POST", "/v1/setup_intents", *about))["id"]
    await call("POST", f"/v1/setup_intents/{intent}/cancel")


async def _invoices(account: Account, customer: str, subscription: str) -> None:
    call = account.call
    await account.control("/_control/clock", {"advance_ms": MONTH_MS})
    drafts = (await call("GET", "/v1/invoices", ("customer", customer), ("subscription", subscription), ("expand[]", "data.customer")))["data"]
    for each in drafts:
        await call("GET", f"/v1/invoices/{each['id']}", ("expand[]", "customer"))
        await call("GET", f"/v1/invoices/{each['id']}/lines")
    await call("GET", "/v1/invoices", ("status", "paid"))


async def _paid_by_hand(account: Account, prices: list[str]) -> None:
    """An invoice that is sent, and paid outside of Stripe; it is finalized in the hour in which it is a draft."""
    call = account.call
    customer = (await call("POST", "/v1/customers", ("email", "b@example.com")))["id"]
    about = (("customer", customer), ("items[0][price]", prices[0]), ("collection_method", "send_invoice"), ("days_until_due", 30))
    subscription = await call("POST", "/v1/subscriptions", *about)
    payload = (("payload[stripe_customer_id]", customer), ("payload[value]", "900000"))
    await call("POST", "/v1/billing/meter_events", ("event_name", "tokens"), *payload)
    period_end = subscription["items"]["data"][0]["current_period_end"]
    await account.control("/_control/clock", {"advance_ms": period_end * 1000 - account.simulator.clock.now_ms() + 60_000})
    (draft,) = (await call("GET", "/v1/invoices", ("customer", customer), ("status", "draft")))["data"]
    await call("POST", f"/v1/invoices/{draft['id']}/finalize", ("auto_advance", "false"))
    paid = await call("POST", f"/v1/invoices/{draft['id']}/pay", ("paid_out_of_band", "true"))
    assert paid["amount_paid"] == paid["amount_paid_off_stripe"] > 0


def test_the_fields_that_the_document_does_not_have_are_in_stripes_fixtures(stripe_mock: StripeMock) -> None:
    resources = stripe_mock.fixtures()["resources"]
    places = {"product": resources["product"], "subscription_item": resources["subscription_item"], "recurring": resources["price"]["recurring"]}
    assert {name: fields for name, fields in FIXTURE_FIELDS.items() if not set(fields) <= places[name].keys()} == {}


def documented(account: Account, route: Route) -> str | None:
    """The operation of a route, if the document has it."""
    operation = account.document.operation(route.method, re.sub(r"\{[^}]+\}", "x", route.path))
    return None if operation is None else operation.name


async def test_every_reply_is_as_stripes_document_says(account: Account) -> None:
    await live(account)

    assert account.differences == set(DIFFERENT_REPLIES)
    operations = {route.name: documented(account, route) for route in account.simulator.routes}
    assert {name for name, operation in operations.items() if operation is not None and operation not in account.called} == set()
    assert {name for name, operation in operations.items() if operation is None and not name.startswith(tuple(UNDOCUMENTED))} == set()


async def test_every_parameter_is_one_of_stripes_document(account: Account) -> None:
    await live(account)

    unknown = set()
    for method, path in (name.split(" ") for name in account.accepted):
        operation = account.document.operation(method, re.sub(r"\{[^}]+\}", "x", path))
        assert operation is not None
        for shown in account.accepted[operation.name]:
            names = tuple("*" if part.isdigit() else part for part in re.findall(r"[^\[\]]+", shown))
            if not names_of(operation.parameters, names):
                unknown.add((operation.name, shown))
    assert unknown == set(OTHER_PARAMETERS)
