"""Stripe's guide from nothing to an invoice, through the real pipeline: every customer is billed for what was emitted, to the cent."""

import asyncio
import json
import secrets
import time
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from random import Random
from typing import Final

import aiohttp
import pytest
from taximeter_emitter import Emitter
from taximeter_emitter.clock import SystemClock
from taximeter_sandbox.demo.installation import AGGREGATORS, GATEWAY, REPORTERS, SERVICES, Installation
from taximeter_sandbox.demo.plan import Pace, Plan
from taximeter_sandbox.demo.processes import Command, Fleet, own_environment
from taximeter_sandbox.demo.stripe_side import SimulatedStripe

from audit.positions import Positions, all_settled
from tests.support.alpaca import SETTINGS
from tests.support.guide_account import GuideAccount, a_past_month
from tests.support.short_notice import NOTICE_MS

CUSTOMERS: Final = 6
EVENTS_PER_PHASE: Final = 3_000
HTTP_BATCH: Final = 200
SETTLE_SECONDS: Final = 180.0
MODELS: Final = ("alpaca-7b", "alpaca-70b")
DAY_S: Final = 86_400
DOLLARS_PER_MILLION: Final = {
    ("alpaca-7b", "input"): Decimal("0.20"),
    ("alpaca-7b", "cached_input"): Decimal("0.05"),
    ("alpaca-7b", "output"): Decimal("0.60"),
    ("alpaca-70b", "input"): Decimal("0.90"),
    ("alpaca-70b", "cached_input"): Decimal("0.25"),
    ("alpaca-70b", "output"): Decimal("2.70"),
}
CARD: Final = """
[[rate_cards]]
[rate_cards.kinds]
input = {sum = ["input_tokens"], less = ["cached_input_tokens"]}
cached_input = {sum = ["cached_input_tokens"]}
output = {sum = ["output_tokens"]}
[rate_cards.models]
alpaca-7b = true
alpaca-70b = ["alpaca-70b", "alpaca-70b-*"]
[rate_cards.prices]
currency = "usd"
interval = "month"
per = 1_000_000
[rate_cards.prices.amounts]
alpaca-7b = {input = "0.20", cached_input = "0.05", output = "0.60"}
alpaca-70b = {input = "0.90", cached_input = "0.25", output = "2.70"}
"""
BEFORE_CACHED_INPUT: Final = """
[[rate_cards]]
[rate_cards.kinds]
input = {sum = ["input_tokens"]}
output = {sum = ["output_tokens"]}
[rate_cards.models]
alpaca-7b = true
alpaca-70b = ["alpaca-70b", "alpaca-70b-*"]
[usage]
unmetered = ["reasoning_tokens", "cached_input_tokens"]
"""
NOTICE_TO_SPARE_S: Final = 6  # a command takes a second or two until it writes
FAULTS: Final = {
    "latency": {"meter_events.create": {"distribution": "lognormal", "median_ms": 10, "p99_ms": 80}},
    "faults": {
        "meter_events.create": [
            {"kind": "server_error_after", "probability": 0.01},
            {"kind": "server_error_before", "probability": 0.01},
            {"kind": "reset_after", "probability": 0.01},
            {"kind": "conflict", "probability": 0.01},
        ]
    },
}


class Month:
    """The pipeline of one company over one month; `tokens` is what its customers used in it, by this test's own count."""

    settings = SETTINGS
    prices: Sequence[str] = ()
    runner: Sequence[str] = ()

    def __init__(self, folder: Path, broker: str) -> None:
        self.folder = folder
        self.broker = broker
        self.random = Random(7)
        self.fleet = Fleet(folder)
        self.start_s, self.end_s = a_past_month()
        self.customers: list[str] = []
        self.organisations: dict[str, str] = {}  # what events call a customer, if not by Stripe's id
        self.tokens: Counter[str] = Counter()
        self.account: GuideAccount
        self.installation: Installation
        self.emitted = 0

    async def open(self) -> None:
        port_file = self.folder / "stripe.port"
        self.fleet.start(
            Command("stripe", ("taximeter_sandbox.stripe", "--port", "0", "--port-file", str(port_file), "--seed", "7"), own_environment())
        )
        url = f"http://127.0.0.1:{await self.fleet.wait_for_file('stripe', port_file, 60.0)}"
        self.account = GuideAccount(url, self.folder / "taximeter.toml", self.runner)
        self.installation = Installation(
            folder=self.folder,
            fleet=self.fleet,
            plan=Plan(pace=Pace(flush=0.5, report=1.0, session=3.0)),
            bootstrap_servers=self.broker,
            prefix=f"guide-{secrets.token_hex(4)}",
            stripe=SimulatedStripe(url),
            runner=self.runner,
        )
        self.installation.prepare()
        self.account.settings.write_text(self.settings)
        for name in AGGREGATORS:
            # The month is emitted in a minute, so its first events come a month late.
            self.installation.environments[name] = {"TAXIMETER_AGGREGATOR_DEDUPLICATION_HORIZON_SECONDS": str(38 * DAY_S)}
        for name in REPORTERS:
            self.installation.environments[name] = self.account.environment()

    # The guide

    async def sell(self) -> None:
        """Meter, product and price; customers who subscribe at the first second of the month and give their payment details."""
        account = self.account
        await account.set_clock(self.start_s)
        await account.taximeter("stripe", "setup", "--dry-run", code=2)
        await account.taximeter("stripe", "setup", "--yes")
        await account.taximeter("stripe", "setup", "--dry-run")
        for number in range(CUSTOMERS):
            customer = (await account.taximeter("stripe", "customer", "create", "--name", f"Customer {number}", "--key", f"c{number}")).strip()
            prices = [part for key in self.prices for part in ("--price", key)]
            subscription = json.loads(await account.taximeter("stripe", "subscribe", customer, *prices, "--json"))
            await account.give_payment_details(subscription["pending_setup_intent"]["id"])
            self.customers.append(customer)

    # Traffic

    async def phase(self, from_s: int, until_s: int, *, counts: bool) -> None:
        """Emit usage of [from_s, until_s), by SDK and HTTP, some of it twice, and in no order. `counts`: it belongs to this month."""
        documents = [self._document(self.random.randrange(from_s, until_s), counts=counts) for _ in range(EVENTS_PER_PHASE)]
        half = len(documents) // 2
        await asyncio.gather(asyncio.to_thread(self._by_sdk, documents[:half]), self._by_http(documents[half:]))

    def _document(self, at_s: int, *, counts: bool) -> dict[str, object]:
        self.emitted += 1
        customer = self.random.choice(self.customers[1:])  # the first one uses nothing
        model, usage = self._use(customer, counts=counts)
        return {
            "id": f"event-{self.emitted}",
            "source": "guide",
            "time": datetime.fromtimestamp(at_s, UTC).isoformat(),
            "customer": self.organisations.get(customer, customer),
            "usage": usage,
            "dimensions": {"model": model},
        }

    def _use(self, customer: str, *, counts: bool) -> tuple[str, dict[str, int]]:
        """Model and usage of an event, which is noted if it counts."""
        usage = {"input_tokens": self.random.randrange(1, 900), "output_tokens": self.random.randrange(0, 400)}
        if counts:
            self.tokens[customer] += sum(usage.values())
        return self.random.choice(MODELS), usage

    def _by_sdk(self, documents: Sequence[dict[str, object]]) -> None:
        kafka = self.installation.kafka
        emitter = Emitter(source="guide", kafka=kafka.options(), topic=kafka.topics.events.name, when_full="block")
        for document in [*documents, *documents[::20]]:
            named = {name: document[name] for name in ("customer", "usage", "dimensions", "time")}
            assert emitter.emit(event_id=str(document["id"]), **named)  # type: ignore[arg-type]  # a JSON document
        stats = emitter.close(60.0)
        assert stats.counts.sent == stats.counts.emitted

    async def _by_http(self, documents: Sequence[dict[str, object]]) -> None:
        key = self.installation.api_key_file.read_text().strip()
        repeated = [*documents, *documents[::20]]
        async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {key}"}, timeout=aiohttp.ClientTimeout(total=60)) as session:
            for start in range(0, len(repeated), HTTP_BATCH):
                body = repeated[start : start + HTTP_BATCH]
                async with session.post(f"{self.installation.gateway_url}/v1/events", json=body) as response:
                    assert response.status == 202, await response.text()

    async def crash(self) -> None:
        """Half of the workers are killed under load, and come back."""
        for name in (AGGREGATORS[0], REPORTERS[1]):
            await asyncio.to_thread(self.installation.kill, name)
            await asyncio.sleep(0.5)
            await self.installation.start([name])

    async def settled(self) -> None:
        """Everything emitted is counted, reported and answered."""
        positions = Positions(self.installation.kafka, SystemClock())
        try:
            deadline = time.monotonic() + SETTLE_SECONDS
            while not all_settled(found := await positions.read()):
                self.fleet.check()
                assert not [each.problem for each in found if each.problem]
                assert time.monotonic() < deadline, found
                await asyncio.sleep(0.3)
        finally:
            await positions.close()


class CardMonth(Month):
    """The company sells two models at three prices each; `units` is what its customers used, by model and kind.

    Cached input has a price of its own from the middle of the month on; it is dear input before.
    """

    settings = f'{CARD}\n[usage]\nunmetered = ["reasoning_tokens"]\n'
    prices = tuple(f"{model}_{kind}_month" for model in MODELS for kind in ("input", "cached_input", "output"))
    runner = ("tests.support.short_notice",)

    def __init__(self, folder: Path, broker: str) -> None:
        super().__init__(folder, broker)
        self.units: Counter[tuple[str, str, str]] = Counter()
        self.cached_is_sold = False

    def _use(self, customer: str, *, counts: bool) -> tuple[str, dict[str, int]]:
        model, whole, output = self.random.choice(MODELS), self.random.randrange(1, 900), self.random.randrange(0, 400)
        cached = self.random.randrange(0, whole)
        if counts:
            kinds = (("input", whole - cached), ("cached_input", cached)) if self.cached_is_sold else (("input", whole),)
            for kind, units in (*kinds, ("output", output)):
                self.units[customer, model, kind] += units
        usage = {"input_tokens": whole, "cached_input_tokens": cached, "output_tokens": output, "reasoning_tokens": output // 2}
        # The larger model runs in several versions, which cost the same.
        return (f"{model}-2026" if model == "alpaca-70b" and self.random.random() < 0.5 else model), usage

    async def link(self, *customers: str) -> None:
        for customer in customers:
            words = ("customers", "link", self.organisations[customer], customer, "--yes", "--reason", "a contract")
            await self.account.taximeter(*words, environment=_kafka(self))

    async def sell_cached_input(self) -> None:
        """Publish the page of prices as it stands in Stripe; returns when it is in force."""
        self.account.settings.write_text(self.settings)
        plan = await self.account.taximeter("meters", "plan", environment=_kafka(self))
        assert "+ alpaca-7b_cached_input" in plan
        assert "~ alpaca-7b_input" in plan
        from_s = int(time.time()) + NOTICE_MS // 1000 + NOTICE_TO_SPARE_S
        words = ("--from", datetime.fromtimestamp(from_s, UTC).isoformat(), "--reason", "cached input", "--yes")
        await self.account.taximeter("meters", "apply", *words, environment=_kafka(self))
        await asyncio.sleep(from_s + 1 - time.time())
        self.cached_is_sold = True

    def cents(self, customer: str) -> Counter[tuple[int, int]]:
        """Units and cents of each line of the invoice that has any."""
        return Counter(
            (units, int((units * DOLLARS_PER_MILLION[model, kind] / 10_000).quantize(Decimal(1), ROUND_HALF_UP)))
            for (owner, model, kind), units in self.units.items()
            if owner == customer and units
        )


@pytest.mark.broker
@pytest.mark.end_to_end
async def test_a_page_of_prices_becomes_invoices_that_are_right_to_the_cent(broker: str, tmp_path: Path) -> None:
    month = CardMonth(tmp_path, broker)
    try:
        await month.open()
        await month.sell()
        month.account.settings.write_text(BEFORE_CACHED_INPUT)
        await month.installation.start(SERVICES)
        await month.installation.wait_until_ready(SERVICES)
        await month.account.set_clock(month.end_s - 1)
        month.organisations = {customer: f"org_{number}" for number, customer in enumerate(month.customers)}
        *early, late = month.customers
        await month.link(*early)
        middle = (month.start_s + month.end_s) // 2
        await asyncio.gather(month.phase(month.start_s, middle, counts=True), month.crash())
        await month.sell_cached_input()
        await asyncio.gather(month.phase(middle, month.end_s - 1, counts=True), month.crash())
        held = json.loads(await month.account.taximeter("customers", "list", "--held", "--json", environment=_kafka(month)))["held"]
        assert {each["customer"] for each in held} == {month.organisations[late]}
        await month.link(late)
        await month.installation.stop([GATEWAY])
        await month.settled()
        await month.account.taximeter("verify", environment=_kafka(month))
        await month.account.set_clock(month.end_s + 2 * 3600)
        for customer in month.customers:
            invoices = await month.account.invoices(customer)
            lines = [line for invoice in invoices for line in invoice.lines.data if line.period.end == month.end_s]
            wanted = month.cents(customer)
            assert Counter((line.quantity, line.amount) for line in lines if line.quantity) == wanted
            paid = sum(invoice.amount_paid for invoice in invoices if invoice.period_end <= month.end_s + 60)
            assert paid == sum(cents * times for (_, cents), times in wanted.items())
        assert len(month.units) == 6 * (CUSTOMERS - 1)
    finally:
        month.fleet.kill_all()


@pytest.mark.broker
@pytest.mark.end_to_end
async def test_from_an_empty_account_to_invoices_that_are_right_to_the_cent(broker: str, tmp_path: Path) -> None:
    month = Month(tmp_path, broker)
    try:
        await month.open()
        await month.sell()
        await month.account.ask("POST", "/_control/config", FAULTS)
        await month.installation.start(SERVICES)
        await month.installation.wait_until_ready(SERVICES)

        middle = (month.start_s + month.end_s) // 2
        await month.account.set_clock(middle)
        await asyncio.gather(month.phase(month.start_s, middle, counts=True), month.crash())
        await month.settled()

        # The month is over and its invoices are drafts: what comes late is still billed, and what belongs to the next month is not.
        await month.account.set_clock(month.end_s + 900)
        await asyncio.gather(month.phase(middle, month.end_s, counts=True), month.crash())
        await month.phase(month.end_s + 60 - month.end_s % 60, month.end_s + 900, counts=False)
        await month.installation.stop([GATEWAY])
        await month.settled()
        await month.account.taximeter("verify", environment=_kafka(month))

        previews = {customer: json.loads(await month.account.taximeter("stripe", "usage", customer, "--json")) for customer in month.customers[:2]}
        assert all(previews.values())

        await month.account.set_clock(month.end_s + 2 * 3600)
        for customer in month.customers:
            await _is_billed(month, customer)
    finally:
        month.fleet.kill_all()


async def _is_billed(month: Month, customer: str) -> None:
    """One paid invoice for the month: 4 cents for every thousand tokens that was begun."""
    invoices = [invoice for invoice in await month.account.invoices(customer) if invoice.period_end <= month.end_s + 60]
    cents = -(-month.tokens[customer] // 1000) * 4
    lines = [line for invoice in invoices for line in invoice.lines.data if line.period.end == month.end_s]
    assert sum(line.amount for line in lines) == cents, (customer, month.tokens[customer], lines)
    assert sum(line.quantity or 0 for line in lines) in {month.tokens[customer], -(-month.tokens[customer] // 1000)}
    billed = [invoice for invoice in invoices if invoice.total]
    assert [(invoice.status, invoice.total, invoice.amount_paid) for invoice in billed] == ([("paid", cents, cents)] if cents else [])


def _kafka(month: Month) -> dict[str, str]:
    kafka = month.installation.kafka
    return {
        "KAFKA_BOOTSTRAP_SERVERS": ",".join(kafka.bootstrap_servers),
        "TAXIMETER_KAFKA_TOPIC_PREFIX": kafka.topic_prefix,
        "TAXIMETER_KAFKA_PARTITIONS": str(kafka.partitions),
    }
