"""`taximeter demo --stripe-key` against the simulator in sandbox mode: meters, customers and summaries through the official library."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import stripe
from taximeter_sandbox.demo import stripe_side
from taximeter_sandbox.demo.plan import METERS
from taximeter_sandbox.demo.processes import Command, Fleet, own_environment
from taximeter_sandbox.demo.stripe_account import AccountUnsuitable, StripeAccount
from taximeter_sandbox.demo.stripe_side import StripeSandbox

from metering.configuration.secrets import Secret

KEY = Secret("sk_test_of_this_test")
METER = "alpaca_ai_tokens"


@pytest.fixture
async def url(tmp_path: Path) -> AsyncIterator[str]:
    fleet = Fleet(tmp_path)
    port_file = tmp_path / "port"
    fleet.start(Command("stripe", ("taximeter_sandbox.stripe", "--port-file", str(port_file), "--profile", "sandbox"), own_environment()))
    try:
        yield f"http://127.0.0.1:{await fleet.wait_for_file('stripe', port_file, 30.0)}"
    finally:
        fleet.kill_all()


async def send(url: str, customer: str, value: int) -> None:
    client = stripe.AIOHTTPClient(timeout=10)
    try:
        await stripe.StripeClient(
            KEY.reveal(), base_addresses={"api": url, "meter_events": url}, http_client=client
        ).v1.billing.meter_events.create_async({"event_name": METER, "payload": {"stripe_customer_id": customer, "value": str(value)}})
    finally:
        await client.close_async()  # type: ignore[no-untyped-call]  # the library left this one without types


async def test_meters_are_made_once_and_customers_for_each_run(url: str) -> None:
    first = await StripeSandbox(KEY, api_base=url).set_up(2)
    second = await StripeSandbox(KEY, api_base=url).set_up(2)

    assert len({*first, *second}) == 4
    async with StripeAccount(KEY, url) as account:
        assert set(await account.ensure_meters()) == set(METERS)


async def test_the_books_are_the_summaries_of_the_runs_own_customers(url: str) -> None:
    sandbox = StripeSandbox(KEY, api_base=url)
    one, other = await sandbox.set_up(2)
    await asyncio.gather(send(url, one, 40), send(url, other, 7))
    await send(url, one, 2)

    books = await sandbox.books({(METER, one): 42, (METER, other): 7})
    assert books.by_customer(METER) == {one: 42, other: 7}


async def test_books_that_never_agree_are_given_as_they_are(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stripe_side, "SUMMARIES_SECONDS", 0.0)
    sandbox = StripeSandbox(KEY, api_base=url)
    [customer] = await sandbox.set_up(1)
    await send(url, customer, 41)

    books = await sandbox.books({(METER, customer): 42})
    assert books.by_customer(METER) in ({customer: 41}, {})


async def test_a_meter_that_does_not_sum_is_refused_by_name(url: str) -> None:
    client = stripe.AIOHTTPClient(timeout=10)
    await stripe.StripeClient(KEY.reveal(), base_addresses={"api": url}, http_client=client).v1.billing.meters.create_async(
        {"display_name": "x", "event_name": METER, "default_aggregation": {"formula": "count"}}
    )
    await client.close_async()  # type: ignore[no-untyped-call]  # as above

    async with StripeAccount(KEY, url) as account:
        with pytest.raises(AccountUnsuitable, match=METER):
            await account.ensure_meters()
