"""The demo page's server without Stripe: what it shows, and whom it refuses."""

from collections.abc import AsyncIterator
from decimal import Decimal

import aiohttp
import pytest
from taximeter_sandbox.signup_page.server import BODY_BYTES_MAX, DemoPage, Offer
from taximeter_sandbox.signup_page.visits import Visit, Visits

from billing.selling.prices import PriceAtStripe
from metering.configuration.secrets import Secret
from metering.stripe.client import StripeHttp, make_client

PRICE = PriceAtStripe(
    id="price_1",
    lookup_key="<script>alert(1)</script>",
    active=True,
    currency="usd",
    unit_amount=Decimal(4),
    package=1000,
    round_up=True,
    tiers_mode=None,
    interval="month",
    interval_count=1,
    meter="mtr_1",
)
BILLED_TO_NOBODY = "http://127.0.0.1:9"


@pytest.fixture(params=[None, "pk_test_1"])
async def address(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    http = StripeHttp(connections=1, timeout_s=5)
    client = make_client(http, api_key=Secret("sk_test_of_this_test"), api_base=BILLED_TO_NOBODY)
    listener, address = await DemoPage(client, Offer(PRICE, request.param)).start(0)
    yield address
    await listener.stop()
    await http.close_async()


@pytest.fixture
async def browser() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


async def test_the_page_is_served_with_what_keeps_it_apart_from_others(address: str, browser: aiohttp.ClientSession) -> None:
    async with browser.get(address) as reply:
        text = await reply.text()
        headers = reply.headers

    assert reply.status == 200
    assert headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
    assert (headers["X-Content-Type-Options"], headers["Referrer-Policy"], headers["Cache-Control"]) == ("nosniff", "no-referrer", "no-store")
    assert "0.04 USD per 1,000 (rounded up), billed every month" in text
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert" in text
    assert "sk_test" not in text


async def test_stripe_js_is_loaded_from_stripe_and_only_with_a_publishable_key(address: str, browser: aiohttp.ClientSession) -> None:
    async with browser.get(address) as reply:
        text, policy = await reply.text(), reply.headers["Content-Security-Policy"]

    assert ("https://js.stripe.com/" in text) == ('data-publishable-key="pk_test_1"' in text) == ("https://js.stripe.com" in policy)


@pytest.mark.parametrize("name", ["page.css", "page.js"])
async def test_style_and_script_are_files_of_the_package(address: str, browser: aiohttp.ClientSession, name: str) -> None:
    async with browser.get(f"{address}/{name}") as reply:
        assert reply.status == 200
        assert reply.content_type in {"text/css", "text/javascript"}


@pytest.mark.parametrize("host", ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1"])
async def test_a_foreign_name_for_this_machine_gets_nothing(address: str, browser: aiohttp.ClientSession, host: str) -> None:
    async with browser.get(address, headers={"Host": host}) as reply:
        assert reply.status == 421


@pytest.mark.parametrize("origin", [None, "null", "http://evil.example", "https://127.0.0.1", "http://127.0.0.1:1"])
async def test_a_foreign_page_cannot_sign_anybody_up(address: str, browser: aiohttp.ClientSession, origin: str | None) -> None:
    headers = {} if origin is None else {"Origin": origin}
    async with browser.post(f"{address}/sign-up", json={"name": "Acme", "email": "a@acme.example"}, headers=headers) as reply:
        assert reply.status == 403


async def test_a_form_cannot_sign_anybody_up(address: str, browser: aiohttp.ClientSession) -> None:
    async with browser.post(f"{address}/sign-up", data={"name": "Acme", "email": "a@acme.example"}, headers={"Origin": address}) as reply:
        assert reply.status == 403


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"{", "JSON"),
        (b"[]", "object"),
        (b"{}", "the name"),
        (b'{"name": 1, "email": "a@acme.example"}', "the name"),
        (b'{"name": "Acme", "email": " "}', "the e-mail address"),
        (b'{"name": "Ac\\nme", "email": "a@acme.example"}', "the name"),
        (b'{"name": "Acme", "email": "nowhere"}', "not an e-mail address"),
        (b'{"name": "' + b"a" * 201 + b'", "email": "a@acme.example"}', "the name"),
    ],
)
async def test_what_is_filled_in_wrongly_is_told(address: str, browser: aiohttp.ClientSession, body: bytes, said: str) -> None:
    headers = {"Origin": address, "Content-Type": "application/json"}
    async with browser.post(f"{address}/sign-up", data=body, headers=headers) as reply:
        assert reply.status == 400
        assert said in (await reply.json())["error"]
        assert "Content-Security-Policy" in reply.headers


async def test_a_body_is_bounded(address: str, browser: aiohttp.ClientSession) -> None:
    headers = {"Origin": address, "Content-Type": "application/json"}
    async with browser.post(f"{address}/sign-up", data=b" " * (BODY_BYTES_MAX + 1), headers=headers) as reply:
        assert reply.status == 413


async def test_an_unknown_visit_begins_again(address: str, browser: aiohttp.ClientSession) -> None:
    async with browser.get(f"{address}/complete?visit=guess") as reply:
        assert reply.status == 400
        assert "begin again" in (await reply.json())["error"]


async def test_an_unknown_page_is_not_there(address: str, browser: aiohttp.ClientSession) -> None:
    async with browser.get(f"{address}/../server.py") as reply:
        assert reply.status == 404
        assert "Content-Security-Policy" in reply.headers


def test_the_oldest_visit_is_forgotten_when_it_is_full() -> None:
    visits = Visits(2)
    names = [visits.add(Visit(f"cus_{number}", f"sub_{number}", None)) for number in range(3)]

    assert [visits.get(name) for name in names] == [None, Visit("cus_1", "sub_1", None), Visit("cus_2", "sub_2", None)]
