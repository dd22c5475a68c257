"""The Stripe of a run: the simulator, with latency and faults, or a real sandbox. Set up before, asked for its books afterwards."""

import asyncio
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import aiohttp

from metering.configuration.secrets import Secret
from taximeter_sandbox.demo.load.workload import customer_ids
from taximeter_sandbox.demo.processes import Command, Fleet, own_environment
from taximeter_sandbox.demo.stripe_account import StripeAccount

ROUTES: Final = ("meter_events.create", "v2.meter_event_stream.create")
SIMULATOR: Final = "stripe"
SIMULATOR_START_SECONDS: Final = 30.0
SIMULATOR_KEY: Final = Secret("sk_test_simulator")
TIMEOUT_SECONDS: Final = 30.0
SETTLE_SECONDS: Final = 0.2
SUMMARIES_SECONDS: Final = 300.0
SUMMARY_POLL_SECONDS: Final = 5.0
HISTORY_SECONDS: Final = 2 * 3_600
# Calls that a broken network swallowed are not among those that the simulator answered.
NEVER_ANSWERED: Final = frozenset({"reset_before", "hang_before", "bad_gateway_before"})

BookKey = tuple[str, str]
"""Meter, customer."""

FAULTS: Final[Mapping[str, Any]] = {
    "latency": {route: {"distribution": "lognormal", "median_ms": 25, "p99_ms": 150} for route in ROUTES},
    "faults": {
        route: [
            # Each of these halves the pace for most of a minute, as it should.
            {"kind": "rate_limited", "probability": 0.0002},
            {"kind": "lock_timeout", "probability": 0.004},
            {"kind": "conflict", "probability": 0.002},
            {"kind": "server_error_before", "probability": 0.003},
            {"kind": "server_error_after", "probability": 0.003},
            {"kind": "reset_before", "probability": 0.002},
            {"kind": "reset_after", "probability": 0.002},
            {"kind": "bad_gateway_before", "probability": 0.001},
        ]
        for route in ROUTES
    },
    "processing": {"lag_min_ms": 0, "lag_max_ms": 2_000},
}
"""How the simulator misbehaves: about one call in sixty goes wrong, a third of those after it took effect."""


@dataclass(frozen=True, slots=True)
class StripeBooks:
    """Units that Stripe holds, by meter and customer."""

    units: Mapping[BookKey, int]

    def total(self, meter: str) -> int:
        """Of one meter."""
        return sum(units for (name, _), units in self.units.items() if name == meter)

    def by_customer(self, meter: str) -> Counter[str]:
        """Of one meter."""
        return Counter({customer: units for (name, customer), units in self.units.items() if name == meter})


@dataclass(frozen=True, slots=True)
class StripeTraffic:
    """What Stripe saw so far: calls to report usage, those that went wrong on purpose, and identifiers sent twice."""

    calls: int
    faults: int
    duplicates: int


class StripeSide(Protocol):
    """What a run needs of its Stripe."""

    def describe(self) -> str:
        """One line for people."""
        ...

    def environment(self) -> dict[str, str]:
        """The settings that the reporters need."""
        ...

    async def set_up(self, customers: int) -> list[str]:
        """Make the meters and customers; returns the customers' ids."""
        ...

    async def books(self, expected: Mapping[BookKey, int]) -> StripeBooks:
        """The units it holds, once it has worked off all it took; `expected` says when there is nothing more to wait for."""
        ...

    async def traffic(self) -> StripeTraffic | None:
        """Counted by Stripe itself; None where it does not say."""
        ...


class SimulatedStripe:
    """The simulator at an address."""

    def __init__(self, url: str) -> None:
        self._url = url

    @property
    def url(self) -> str:
        """Where it answers."""
        return self._url

    def describe(self) -> str:
        """One line for people."""
        return f"the Stripe simulator at {self._url}: latency, 429, 409, 500 before and after the fact, resets"

    def environment(self) -> dict[str, str]:
        """Address and key."""
        return {"STRIPE_API_KEY": SIMULATOR_KEY.reveal(), "TAXIMETER_STRIPE_API_BASE": self._url}

    async def set_up(self, customers: int) -> list[str]:
        """Meters by the API, customers with ids of our choice. Raises aiohttp.ClientError, stripe.StripeError."""
        async with StripeAccount(SIMULATOR_KEY, self._url) as account:
            await account.ensure_meters()
        ids = customer_ids(customers)
        await self._ask("/_control/customers", {"ids": ids})
        await self._ask("/_control/config", FAULTS)
        return ids

    async def add_customers(self, ids: Sequence[str]) -> None:
        """More customers, with these ids. Raises aiohttp.ClientError."""
        await self._ask("/_control/customers", {"ids": list(ids)})

    async def books(self, expected: Mapping[BookKey, int]) -> StripeBooks:
        """From the oracle, which knows when it has worked off everything; blocks until then. Raises aiohttp.ClientError."""
        del expected
        while True:
            books = await self._ask("/_oracle/books")
            if not books["events_pending"]:
                return StripeBooks({(row["event_name"], row["customer"]): int(row["total"]) for row in books["rows"]})
            await asyncio.sleep(SETTLE_SECONDS)

    async def traffic(self) -> StripeTraffic | None:
        """From the oracle. Raises aiohttp.ClientError."""
        stats = await self._ask("/_oracle/stats")
        faults: Counter[str] = sum((Counter(stats["faults"].get(route, {})) for route in ROUTES), Counter())
        answered = sum(sum(stats["calls"].get(route, {}).values()) for route in ROUTES)
        unanswered = sum(count for kind, count in faults.items() if kind in NEVER_ANSWERED)
        return StripeTraffic(calls=answered + unanswered, faults=faults.total(), duplicates=stats["duplicates"])

    async def _ask(self, path: str, document: Mapping[str, Any] | None = None) -> Any:
        method = "GET" if document is None else "POST"
        timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
            session.request(method, self._url + path, json=document) as response,
        ):
            return await response.json()


async def start_simulator(fleet: Fleet, folder: Path, *, seed: int = 1, port: int = 0, data: Path | None = None) -> SimulatedStripe:
    """Start a simulator as a process of the fleet; returns when it takes calls. Port 0 takes a free one; `data` keeps what it has.

    Raises processes.ProcessFailed.
    """
    port_file = folder / "stripe.port"
    port_file.unlink(missing_ok=True)
    arguments = ("taximeter_sandbox.stripe", "--port", str(port), "--port-file", str(port_file), "--seed", str(seed))
    kept = () if data is None else ("--data", str(data))
    fleet.start(Command(SIMULATOR, (*arguments, *kept), own_environment()))
    return SimulatedStripe(f"http://127.0.0.1:{await fleet.wait_for_file(SIMULATOR, port_file, SIMULATOR_START_SECONDS)}")


class StripeSandbox:
    """A real account in test mode, with customers made for this run, so that earlier runs do not matter."""

    def __init__(self, key: Secret, *, api_base: str | None = None) -> None:
        self._key = key
        self._api_base = api_base
        self._began_s = int(time.time())
        self._customers: list[str] = []

    def describe(self) -> str:
        """One line for people."""
        return "Stripe's own sandbox, with the test key given"

    def environment(self) -> dict[str, str]:
        """The key, and the address if it is another."""
        environment = {"STRIPE_API_KEY": self._key.reveal()}
        if self._api_base is not None:
            environment["TAXIMETER_STRIPE_API_BASE"] = self._api_base
        return environment

    async def set_up(self, customers: int) -> list[str]:
        """Make the meters that are missing, and the customers. Raises stripe.StripeError."""
        async with StripeAccount(self._key, self._api_base) as account:
            await account.ensure_meters()
            self._customers = await account.create_customers(customers)
        return self._customers

    async def books(self, expected: Mapping[BookKey, int]) -> StripeBooks:
        """From the meter event summaries, which lag: blocks until they are as expected, or for SUMMARIES_SECONDS. Raises stripe.StripeError."""
        deadline = time.monotonic() + SUMMARIES_SECONDS
        async with StripeAccount(self._key, self._api_base) as account:
            while True:
                units = await account.summaries(self._customers, since_s=self._began_s - HISTORY_SECONDS)
                agree = all(units.get(key, 0) == expected.get(key, 0) for key in units.keys() | expected.keys())
                if agree or time.monotonic() > deadline:
                    return StripeBooks(units)
                await asyncio.sleep(SUMMARY_POLL_SECONDS)

    async def traffic(self) -> StripeTraffic | None:
        """Stripe does not say."""
        return None
