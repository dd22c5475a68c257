"""The console's pages in a real browser: Chromium without a window, driven by Playwright. Skipped by name where there is none."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, async_playwright, expect
from prometheus_client import CollectorRegistry

from console.answering.events_behind import EventLookup
from console.folding.usage_changes import FoldChanges, PlanPart, UsageAmounts, UsagePlace
from console.following.pipeline_view import PipelineView
from console.following.price_following import PriceFollowing
from console.metrics import ConsoleMetrics
from console.serving.console_server import ConsoleServer, Sources
from console.serving.page_answers import PageAnswers
from console.serving.readers_access import Access
from console.store.fold_places import TALLIES, FoldPlace
from console.store.store_reading import StoreReading
from console.store.usage_store import UsageStore
from metering.configuration.key_file import create_key, parse_keys
from metering.process.listener import ListenAddress
from metering.process.logs import get_log
from tests.support.console_usage import DAY, a_store
from tests.support.manual_clock import ManualClock

pytestmark = pytest.mark.end_to_end

ARGUMENTS = ("--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
PATIENCE_MS = 60_000
KEY = create_key(tenant="ops")
PATHS = ("/", "/customers", "/customer?id=acme", "/customer?id=acme&by=hour&from=2024-10-04", "/set-aside", "/refused", "/plans")


class NoLog(EventLookup):
    """No events are looked up."""

    def __init__(self) -> None:
        pass


class Shown:
    """A console with a store that the test fills."""

    def __init__(self, path: Path) -> None:
        self.store: UsageStore = a_store(path, ("acme", "tokens", (("model", "alpaca-70b"),), 1, 1_234_567), ("b <i>", "tokens", (), 2, 7))
        self.revision = 1
        clock, view = ManualClock(DAY * 86_400_000 + 5_000_000), PipelineView(2)
        view.caught_up |= {(topic, partition) for topic in ("tallies", "ledger", "deadletters") for partition in range(2)}
        self.reading = StoreReading(path, seconds=5)
        pages = PageAnswers(self.reading, view, NoLog(), PriceFollowing(None, clock, get_log(__name__)), clock)
        sources = Sources(self.reading, pages, lambda: self.revision)
        address, metrics = ListenAddress(host="127.0.0.1", port=0), ConsoleMetrics.create(CollectorRegistry())
        self.server = ConsoleServer(address, Access(parse_keys(KEY.entry)), sources, metrics=metrics, clock=clock)
        self.complaints: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def add(self, units: int) -> None:
        """More usage of acme, as the followers write it."""
        changes = FoldChanges(plans=[PlanPart("f" * 32, 0, 2, "take_out", "ann", "sent twice", 5_000, -40)])
        changes.add(UsagePlace("acme", "tokens", (("model", "alpaca-70b"),), 24 * DAY + 1), UsageAmounts(counted=units, events=1))
        self.store.write(FoldPlace(TALLIES, 0, 1 + self.revision), self.store.place(TALLIES, 0), changes)
        self.revision += 1

    async def page(self, browser: Browser, **options: Any) -> Page:
        """A page of its own; what it may not do, or did wrong, is in `complaints`."""
        context = await browser.new_context(http_credentials={"username": "any", "password": KEY.token}, **options)
        context.set_default_timeout(PATIENCE_MS)
        page = await context.new_page()
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on("console", lambda message: self.complaints.append(message.text) if message.type == "error" else None)
        return page


def chromium() -> str:
    found = os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found is None:
        pytest.skip("no Chromium: the console's pages are not seen in a browser")
    return found


@pytest.fixture
async def shown(tmp_path: Path) -> AsyncIterator[Shown]:
    found = Shown(tmp_path / "usage")
    await found.server.start()
    yield found
    await found.server.stop()
    found.reading.close()
    found.store.close()


@pytest.fixture
async def browser() -> AsyncIterator[Browser]:
    executable = chromium()
    async with async_playwright() as playwright:
        started = await playwright.chromium.launch(executable_path=executable, args=list(ARGUMENTS), timeout=PATIENCE_MS * 2)
        yield started
        await started.close()


async def test_support_finds_a_customer_and_sees_usage_grow_without_a_reload(shown: Shown, browser: Browser) -> None:
    page = await shown.page(browser)
    await page.goto(shown.url)
    await page.get_by_role("link", name="Customers").click()
    await page.get_by_label("Customer begins with").fill("ac")
    await page.get_by_role("button", name="Show").click()
    await expect(page.get_by_role("link", name="b <i>")).to_have_count(0)
    await page.get_by_role("link", name="acme").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("acme")
    table = page.get_by_role("region", name="Usage from")
    await expect(table).to_contain_text("1,234,567")
    await expect(table).to_contain_text("alpaca-70b")
    focused = page.get_by_role("link", name="tokens").first
    await focused.focus()
    await asyncio.to_thread(shown.add, 3)
    await expect(table).to_contain_text("1,234,570")
    await expect(focused).to_be_focused()  # renewing a page leaves the keyboard where it was
    await page.get_by_role("link", name="Plans").click()
    await expect(page.get_by_role("cell", name="1 of 2", exact=True)).to_be_visible()
    assert shown.complaints == []


async def test_a_paused_page_stays_as_it_is(shown: Shown, browser: Browser) -> None:
    page = await shown.page(browser)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url))
    await page.goto(f"{shown.url}/customers")
    await page.get_by_role("link", name="Pause").click()
    await expect(page.get_by_role("link", name="Renew")).to_be_visible()
    asked.clear()
    await asyncio.sleep(4)
    assert asked == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1200])
async def test_pages_fit_and_can_be_read_by_night_and_day(shown: Shown, browser: Browser, scheme: str, width: int) -> None:
    page = await shown.page(browser, color_scheme=scheme, viewport={"width": width, "height": 800})
    for path in PATHS:
        await page.goto(shown.url + path)
        assert await page.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert await page.evaluate(CONTRAST) == [], path
        assert await page.evaluate("[...document.querySelectorAll('input:not([type=hidden])')].filter(each => !each.labels.length).length") == 0
        assert await page.evaluate("document.querySelectorAll('main, h1').length") == 2
        assert await page.evaluate("[...document.querySelectorAll('table')].every(each => each.caption && each.querySelector('th[scope=col]'))")
    assert shown.complaints == []


async def test_pages_say_the_same_without_scripts(shown: Shown, browser: Browser) -> None:
    page = await shown.page(browser, java_script_enabled=False)
    await page.goto(f"{shown.url}/customer?id=acme")
    await expect(page.get_by_role("region", name="Usage from")).to_contain_text("1,234,567")


async def test_the_first_key_leads_to_the_content(shown: Shown, browser: Browser) -> None:
    page = await shown.page(browser)
    await page.goto(f"{shown.url}/customers")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    await page.keyboard.press("Enter")
    await page.keyboard.press("Tab")
    await expect(page.get_by_role("link", name="Pause")).to_be_focused()


# Texts whose contrast with what is behind them is below 4.5 (WCAG AA).
CONTRAST = """() => {
  const channel = value => { value /= 255; return value <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4; };
  const numbers = text => text.match(/[\\d.]+/g).map(Number);
  const light = ([red, green, blue]) => 0.2126 * channel(red) + 0.7152 * channel(green) + 0.0722 * channel(blue);
  const behind = element => {
    for (let each = element; each; each = each.parentElement) {
      const found = numbers(getComputedStyle(each).backgroundColor);
      if (found.length === 3 || found[3] > 0) return found;
    }
    return [255, 255, 255];
  };
  return [...document.querySelectorAll("body *")].filter(element => {
    if (![...element.childNodes].some(node => node.nodeType === 3 && node.textContent.trim())) return false;
    const pair = [light(numbers(getComputedStyle(element).color)), light(behind(element))].sort((a, b) => b - a);
    return (pair[0] + 0.05) / (pair[1] + 0.05) < 4.5;
  }).map(element => element.outerHTML.slice(0, 80));
}"""
