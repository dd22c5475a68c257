"""The quickstart from its first process to the last: set up, follow the bill, and prove it at the end."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import aiohttp
import stripe
from taximeter_emitter.clock import SystemClock

from audit.positions import Positions, all_settled
from audit.verification.verdict import ProofVerdict, verdict_of
from audit.verification.verifier import verify
from billing.calls import NotPossible
from metering.configuration.key_file import CreatedKey, create_key
from taximeter_sandbox.brokers.embedded import EmbeddedBroker
from taximeter_sandbox.demo.installation import AGGREGATORS, CONSOLE, GATEWAY, REPORTERS, Installation
from taximeter_sandbox.demo.organisations import link
from taximeter_sandbox.demo.plan import Pace, Plan
from taximeter_sandbox.demo.processes import Fleet
from taximeter_sandbox.demo.stripe_side import SIMULATOR_KEY, start_simulator
from taximeter_sandbox.quickstart.bill import Bill, counted_and_reported
from taximeter_sandbox.quickstart.billed_customer import BilledCustomer
from taximeter_sandbox.quickstart.offer import CUSTOMER, SETTINGS, SOURCE

SERVICES: Final = (GATEWAY, AGGREGATORS[0], REPORTERS[0])
PREFIX: Final = "usage"
PACE: Final = Pace(flush=0.3, report=1.0, receipt=0.3)
LOOK_SECONDS: Final = 0.5
SETTLE_SECONDS: Final = 15.0
SETTLE_POLL_SECONDS: Final = 0.3


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where what the reader talks to listens, all on 127.0.0.1; 0 takes a free port."""

    gateway: int
    kafka: int
    stripe: int


@dataclass(slots=True)
class Quickstart:
    """One run in a folder of its own, or one more in the folder of an earlier one. Everything started is ended by `close`."""

    folder: Path
    ports: Ports
    key: CreatedKey = field(init=False)
    installation: Installation = field(init=False)
    _fleet: Fleet = field(init=False)
    _broker: EmbeddedBroker = field(init=False)
    _customer: BilledCustomer | None = None
    _stripe_url: str = ""

    def __post_init__(self) -> None:
        self._fleet = Fleet(self.folder)
        self._broker = EmbeddedBroker(self.folder / "broker", port=self.ports.kafka)

    async def start(self) -> None:
        """Start everything. Raises BrokerUnavailable, ProcessFailed, NotPossible, and what Stripe's library and aiohttp raise."""
        servers, simulator = await asyncio.gather(
            asyncio.to_thread(self._broker.start),
            start_simulator(self._fleet, self.folder, port=self.ports.stripe, data=self.folder / "stripe.journal"),
        )
        self._stripe_url = simulator.url
        self._customer = BilledCustomer.at(simulator.url, SIMULATOR_KEY)
        self.installation = Installation(
            folder=self.folder,
            fleet=self._fleet,
            plan=Plan(pace=PACE),
            bootstrap_servers=servers,
            prefix=PREFIX,
            stripe=simulator,
            gateway_url=f"http://127.0.0.1:{self.ports.gateway}",
        )
        self.key = self._earlier_key() or create_key(tenant="quickstart", name="quickstart", customers=(CUSTOMER,), sources=(SOURCE,))
        self.installation.prepare(SETTINGS, self.key)
        await asyncio.gather(self.installation.start((*SERVICES, CONSOLE)), self._customer.set_up())
        await self.installation.wait_until_ready(SERVICES)
        await link({CUSTOMER: self._customer.stripe_customer}, self.folder / "links.csv", self.installation.kafka)

    def addresses(self) -> dict[str, str]:
        """Where everything is while it runs."""
        installation = self.installation
        return {
            "gateway": installation.gateway_url,
            "kafka": installation.bootstrap_servers,
            "stripe": self._stripe_url,
            "console": installation.console_url,
        }

    async def follow(self, stop: asyncio.Event, show: Callable[[Bill], None]) -> None:
        """Show the bill whenever it moves, until `stop`. Raises ProcessFailed when a service ends."""
        shown = None
        while not stop.is_set():
            self._fleet.check()
            bill = await self._bill()
            if bill is not None and bill != shown:
                show(bill)
                shown = bill
            await _wait(stop, LOOK_SECONDS)

    async def verdict(self, show: Callable[[Bill], None]) -> ProofVerdict:
        """Stop taking events, let what came in be billed, show the last bill, and prove it. Raises ProcessFailed, LogUnavailable."""
        await self.installation.stop([GATEWAY])
        await self._settle()
        bill = await self._bill()
        if bill is not None:
            show(bill)
        verdict = verdict_of(await verify(self.installation.kafka))
        await self.installation.stop((*SERVICES[1:], CONSOLE))
        return verdict

    async def close(self) -> None:
        """End all processes. Blocks some seconds for the broker's orderly stop."""
        if self._customer is not None:
            await self._customer.close()
        self._fleet.kill_all()
        await asyncio.to_thread(self._broker.stop)

    def _earlier_key(self) -> CreatedKey | None:
        token, entry = self.installation.api_key_file, self.installation.gateway_keys_file
        return CreatedKey(token.read_text(), entry.read_text()) if token.exists() and entry.exists() else None

    async def _bill(self) -> Bill | None:
        """None while something does not answer: then the last bill stays."""
        assert self._customer is not None
        urls = self.installation.admin_urls
        try:
            counted, duplicates, reported = await counted_and_reported(urls[AGGREGATORS[0]], urls[REPORTERS[0]])
            invoice = await self._customer.next_invoice()
        except (aiohttp.ClientError, stripe.StripeError, NotPossible, TimeoutError):
            return None
        return Bill(counted, duplicates, reported, invoice.total, invoice.currency)

    async def _settle(self) -> None:
        """Until the log says that nothing is on its way; `verify` says it where that takes too long."""
        positions = Positions(self.installation.kafka, SystemClock())
        deadline = time.monotonic() + SETTLE_SECONDS
        try:
            while time.monotonic() < deadline:
                self._fleet.check()
                found = await positions.read()
                if all_settled(found):
                    return
                await asyncio.sleep(SETTLE_POLL_SECONDS)
        finally:
            await positions.close()


async def _wait(stop: asyncio.Event, seconds: float) -> None:
    try:
        async with asyncio.timeout(seconds):
            await stop.wait()
    except TimeoutError:
        pass
