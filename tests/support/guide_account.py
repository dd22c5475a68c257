"""The company of the guide at a simulated Stripe: its settings, its customers, its clock and its invoices."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import aiohttp
import stripe
from taximeter_sandbox.demo.processes import own_environment

API_KEY: Final = "sk_test_guide"
COMMAND_SECONDS: Final = 120.0
CALL_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class GuideAccount:
    """The simulator at `url`, and the settings file at `settings`. `runner`: a module that runs the command line, and what it takes before it."""

    url: str
    settings: Path
    runner: Sequence[str] = ()

    def environment(self) -> dict[str, str]:
        """What a command or a reporter must be told."""
        return {"STRIPE_API_KEY": API_KEY, "TAXIMETER_STRIPE_API_BASE": self.url}

    async def taximeter(self, *arguments: str, environment: Mapping[str, str] | None = None, code: int = 0) -> str:
        """What `taximeter ...` writes on its standard output. Asserts that it ends with this exit code."""
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            *self.runner,
            "taximeter",
            *arguments,
            "--config",
            str(self.settings),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**own_environment(), **self.environment(), **(environment or {}), "PATH": os.environ.get("PATH", "")},
        )
        async with asyncio.timeout(COMMAND_SECONDS):
            output, errors = await process.communicate()
        assert process.returncode == code, f"taximeter {' '.join(arguments)}: exit code {process.returncode}\n{output.decode()}\n{errors.decode()}"
        return output.decode()

    async def ask(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Any:
        """One call of the simulator's control API or oracle. Raises aiohttp.ClientError."""
        timeout = aiohttp.ClientTimeout(total=CALL_SECONDS)
        async with (
            aiohttp.ClientSession(timeout=timeout, raise_for_status=True) as session,
            session.request(method, self.url + path, json=document) as response,
        ):
            return await response.json()

    async def set_clock(self, at_s: int) -> None:
        """Stripe's clock stands at this time."""
        await self.ask("POST", "/_control/clock", {"set_ms": at_s * 1000, "rate": 0})

    def _client(self) -> tuple[stripe.StripeClient, stripe.AIOHTTPClient]:
        http = stripe.AIOHTTPClient(timeout=CALL_SECONDS)
        return stripe.StripeClient(API_KEY, base_addresses={"api": self.url}, http_client=http, max_network_retries=2), http

    async def give_payment_details(self, setup_intent: str) -> None:
        """What a customer does in the browser."""
        client, http = self._client()
        try:
            await client.v1.setup_intents.confirm_async(setup_intent, {"payment_method": "pm_card_visa"})
        finally:
            await http.close_async()  # type: ignore[no-untyped-call]  # the library left it without types

    async def invoices(self, customer: str) -> Sequence[Any]:
        """All invoices of a customer, as Stripe's library shows them."""
        client, http = self._client()
        try:
            return [invoice async for invoice in (await client.v1.invoices.list_async({"customer": customer})).auto_paging_iter()]
        finally:
            await http.close_async()  # type: ignore[no-untyped-call]


def a_month_later(at_s: int) -> int:
    """The same day and second of the next month; the day must be one that every month has."""
    begin = datetime.fromtimestamp(at_s, UTC)
    assert begin.day <= 28
    year, month = divmod(begin.year * 12 + begin.month, 12)
    return int(begin.replace(year=year, month=month + 1).timestamp())


def a_past_month(days_open: int = 1) -> tuple[int, int]:
    """Start and end of a month that ended at least `days_open` days ago, as late as possible, and not on full minutes."""
    latest = int(time.time()) - days_open * 86_400
    start = latest - 32 * 86_400
    start += 17 - start % 60  # a subscription is made at any second
    while datetime.fromtimestamp(start, UTC).day > 28:
        start -= 86_400
    return start, a_month_later(start)
