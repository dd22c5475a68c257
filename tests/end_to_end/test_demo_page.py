"""`taximeter stripe demo-page`, and the page of `checkout`, in a real browser: Chromium without a window, driven by Playwright."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import stripe
from playwright.async_api import BrowserContext, Page, Route, async_playwright, expect
from taximeter_sandbox.signup_page.server import DemoPage, Offer

from billing.selling.prices import find_price
from metering.configuration.secrets import Secret
from metering.stripe.client import StripeHttp, make_client
from tests.support.alpaca import SETTINGS
from tests.support.stripe_command_line import KEY, NO_LIMITS
from tests.support.stripe_simulator_process import SimulatorProcess

pytestmark = pytest.mark.end_to_end

PRICE = "alpaca_ai_tokens_monthly"
SHOP = "https://shop.example/"
PUBLISHABLE_KEY = "pk_test_of_this_test"
PATIENCE_MS = 60_000
START_S = 60.0
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
# Replaces https://js.stripe.com: notes how it is called; the first confirmation is declined, the second leaves for return_url.
FAKE_STRIPE_JS = """
window.calls = [];
window.Stripe = (key) => {
  calls.push(["Stripe", key]);
  return {
    elements: (options) => {
      calls.push(["elements", options]);
      return { name: "elements", create: (kind) => ({ mount: (where) => {
        calls.push(["mount", kind, where]);
        document.querySelector(where).textContent = "Payment Element";
      } }) };
    },
    confirmSetup: async ({ elements, confirmParams }) => {
      calls.push(["confirmSetup", elements.name, confirmParams.return_url]);
      if (calls.filter(([name]) => name === "confirmSetup").length === 1) return { error: { message: "Your card was declined." } };
      location.assign(`${confirmParams.return_url}&setup_intent=seti_x&setup_intent_client_secret=seti_x_secret_y&redirect_status=succeeded`);
      return new Promise(() => {});
    },
  };
};
"""


def chromium() -> str:
    """Where the browser is; the test is skipped without one."""
    named = os.environ.get("CHROMIUM")
    found = named or next((path for name in ("chromium", "chromium-browser", "google-chrome") if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium: set CHROMIUM to its path, or have chromium, chromium-browser or google-chrome on the PATH")
    return found


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    process = SimulatorProcess(tmp_path)
    process.start()
    process.call("POST", "/_control/config", {"limits": NO_LIMITS})
    yield process
    process.kill()


@pytest.fixture
def environment(simulator: SimulatorProcess, tmp_path: Path) -> dict[str, str]:
    """What the commands are given."""
    file = tmp_path / "taximeter.toml"
    file.write_text(SETTINGS, encoding="utf-8")
    kept = {name: value for name, value in os.environ.items() if "STRIPE" not in name}
    return {**kept, "TAXIMETER_CONFIG": str(file), "STRIPE_API_KEY": KEY, "TAXIMETER_STRIPE_API_BASE": simulator.url, "PYTHONWARNINGS": "error"}


@pytest.fixture
async def client(simulator: SimulatorProcess) -> AsyncIterator[stripe.StripeClient]:
    http = StripeHttp(connections=4, timeout_s=30)
    yield make_client(http, api_key=Secret(KEY), api_base=simulator.url)
    await http.close_async()


class Visitor:
    """A browser with one page; whatever the page may not do, or did wrong, is in `complaints`. It reaches nothing but this machine."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.complaints: list[str] = []
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text) if "Content Security Policy" in message.text else None)

    async def sign_up(self, address: str) -> None:
        await self.page.goto(address)
        await self.page.get_by_label("Name").fill("Acme <b>Ltd</b>")
        await self.page.get_by_label("E-mail").fill("billing@acme.example")
        await self.page.get_by_role("button", name="Subscribe").click()

    async def save(self) -> None:
        await self.page.get_by_role("button", name="Save payment details").click()


@pytest.fixture
async def visitor() -> AsyncIterator[Visitor]:
    executable = chromium()
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS), timeout=PATIENCE_MS * 2)
        context = await browser.new_context()
        context.set_default_timeout(PATIENCE_MS)
        await _stay_here(context)
        yield Visitor(await context.new_page())
        await browser.close()


async def _stay_here(context: BrowserContext) -> None:
    async def route(route: Route) -> None:
        if route.request.url.startswith("https://js.stripe.com/"):
            await route.fulfill(content_type="text/javascript", body=FAKE_STRIPE_JS)
        elif route.request.url.startswith(SHOP):
            await route.fulfill(content_type="text/html", body="<h1>Thank you</h1>")
        elif route.request.url.startswith("http://127.0.0.1:"):
            await route.continue_()
        else:
            await route.abort()

    await context.route("**/*", route)


async def command(environment: dict[str, str], *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "taximeter", "stripe", *arguments, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )


async def set_up(environment: dict[str, str]) -> None:
    process = await command(environment, "setup", "--yes")
    _, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()


@asynccontextmanager
async def served(environment: dict[str, str]) -> AsyncIterator[str]:
    """The address of the page, served by the command; at the end it must go in peace, and must not have said anything else."""
    process = await command(environment, "demo-page", "--port", "0")
    try:
        assert process.stdout is not None
        async with asyncio.timeout(START_S):
            address = (await process.stdout.readline()).decode().strip()
        yield address
    finally:
        with suppress(ProcessLookupError):
            process.terminate()
        out, errors = await process.communicate()
    assert (process.returncode, out, errors) == (0, b"", b"")


async def subscription_of(client: stripe.StripeClient, page: Page) -> Any:
    return await client.v1.subscriptions.retrieve_async(await page.locator("#subscription").inner_text())


async def test_on_the_simulator_a_customer_signs_up_and_has_an_active_subscription(
    environment: dict[str, str], client: stripe.StripeClient, visitor: Visitor
) -> None:
    await set_up(environment)
    async with served(environment) as address:
        page = visitor.page
        await visitor.sign_up(address)
        await expect(page.get_by_text("This is the simulator.")).to_be_visible(timeout=PATIENCE_MS)
        assert "nothing is charged" in await page.inner_text("main")

        await page.get_by_label("It is declined").check()
        await visitor.save()
        await expect(page.get_by_role("alert")).to_contain_text("declined", timeout=PATIENCE_MS)

        await page.get_by_label("It works").check()
        await visitor.save()
        await page.wait_for_url("**/complete?*")
        await expect(page.get_by_role("heading", name="You are subscribed")).to_be_visible(timeout=PATIENCE_MS)
        await expect(page.locator("#status")).to_have_text("active")
        await expect(page.locator("#payment")).to_have_text("saved")
        subscription = await subscription_of(client, page)

    assert subscription.status == "active"
    assert subscription.default_payment_method is not None
    assert subscription.pending_setup_intent is None
    customer = await client.v1.customers.retrieve_async(subscription.customer)
    assert (customer.name, customer.email) == ("Acme <b>Ltd</b>", "billing@acme.example")
    assert visitor.complaints == []


async def test_with_a_publishable_key_the_payment_element_confirms_the_setup(
    environment: dict[str, str], client: stripe.StripeClient, visitor: Visitor
) -> None:
    await set_up(environment)
    offer = Offer(await find_price(client, PRICE), PUBLISHABLE_KEY)
    listener, address = await DemoPage(client, offer).start(0)
    try:
        page = visitor.page
        await visitor.sign_up(address)
        await expect(page.get_by_text("Payment Element")).to_be_visible(timeout=PATIENCE_MS)
        await visitor.save()
        await expect(page.get_by_role("alert")).to_have_text("Your card was declined.", timeout=PATIENCE_MS)
        calls = await page.evaluate("calls")
        secret = calls[1][1]["clientSecret"]
        assert secret not in await page.content()
        await visitor.save()
        await page.wait_for_url("**/complete?*")
        await expect(page.locator("#payment")).to_have_text("not saved")

        intent = secret.partition("_secret_")[0]
        await client.v1.setup_intents.confirm_async(intent, {"payment_method": "pm_card_visa"})
        await page.reload()
        await expect(page.locator("#payment")).to_have_text("saved")
        shown = await page.content()
    finally:
        await listener.stop()

    assert calls[0] == ["Stripe", PUBLISHABLE_KEY]
    assert intent.startswith("seti_")
    assert calls[2] == ["mount", "payment", "#payment-element"]
    assert calls[3][:2] == ["confirmSetup", "elements"]
    assert calls[3][2].startswith(f"{address}/complete?visit=")
    assert "_secret_" not in shown
    assert visitor.complaints == []


async def test_without_stripe_js_the_page_says_so(environment: dict[str, str], client: stripe.StripeClient, visitor: Visitor) -> None:
    await set_up(environment)
    listener, address = await DemoPage(client, Offer(await find_price(client, PRICE), PUBLISHABLE_KEY)).start(0)
    try:
        await visitor.page.context.route("https://js.stripe.com/**", lambda route: route.abort())
        await visitor.sign_up(address)
        await expect(visitor.page.get_by_role("alert")).to_contain_text("Stripe.js did not load", timeout=PATIENCE_MS)
    finally:
        await listener.stop()


async def test_the_page_of_a_checkout_session_subscribes_and_leads_back_to_the_shop(
    environment: dict[str, str], client: stripe.StripeClient, visitor: Visitor
) -> None:
    await set_up(environment)
    urls = ("--success-url", SHOP + "ok?session={CHECKOUT_SESSION_ID}", "--cancel-url", SHOP)
    process = await command(environment, "checkout", *urls)
    out, errors = await process.communicate()
    assert (process.returncode, errors) == (0, b"")

    await visitor.page.goto(out.decode().strip())
    await visitor.page.get_by_role("button", name="Subscribe").click()
    await visitor.page.wait_for_url(SHOP + "ok?session=*")
    session = await client.v1.checkout.sessions.retrieve_async(visitor.page.url.partition("session=")[2])

    assert session.status == "complete"
    assert isinstance(session.subscription, str)
    assert (await client.v1.subscriptions.retrieve_async(session.subscription)).status == "active"
    assert visitor.complaints == []


async def test_the_stand_in_is_not_there_when_the_payment_element_is(environment: dict[str, str], client: stripe.StripeClient) -> None:
    await set_up(environment)
    listener, address = await DemoPage(client, Offer(await find_price(client, PRICE), PUBLISHABLE_KEY)).start(0)
    try:
        async with aiohttp.ClientSession() as session, session.post(f"{address}/stand-in", json={}, headers={"Origin": address}) as reply:
            assert reply.status == 404
    finally:
        await listener.stop()
