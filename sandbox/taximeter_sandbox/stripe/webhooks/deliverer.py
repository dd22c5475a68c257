"""The process's hands: it lets simulated time do its work, and posts what is due to webhook endpoints.

A slow or dead receiver keeps only its own connections busy; calls to the API never wait for one.
"""

import asyncio
import signal
import time
from collections.abc import AsyncIterator
from typing import Protocol

import aiohttp
from aiohttp import web

from taximeter_sandbox.stripe.state.account_port import AccountPort
from taximeter_sandbox.stripe.state.clock import SimulatedClock
from taximeter_sandbox.stripe.state.journal import Journal
from taximeter_sandbox.stripe.webhooks.deliveries import Webhooks
from taximeter_sandbox.stripe.webhooks.notifications import Attempt, Notifications

TICK_S = 0.05
HEADERS = {
    "Content-Type": "application/json; charset=utf-8",
    "User-Agent": "Stripe/1.0 (+https://stripe.com/docs/webhooks)",
    "Accept": "*/*; q=0.5, application/xml",
    "Cache-Control": "no-cache",
}


class DeliveryPort(AccountPort, Protocol):
    """What delivering asks of the account."""

    @property
    def clock(self) -> SimulatedClock:
        """The simulated time."""

    @property
    def webhooks(self) -> Webhooks:
        """How deliveries go."""

    @property
    def notifications(self) -> Notifications:
        """What is to be delivered; another object after a reset."""


class Deliverer:
    """Delivers for one account while the application runs."""

    def __init__(self, account: DeliveryPort, journal: Journal) -> None:
        self._account = account
        self._journal = journal
        self._attempts: set[asyncio.Task[None]] = set()
        self._failed: list[asyncio.Task[None]] = []

    async def running(self, _: web.Application) -> AsyncIterator[None]:
        """A cleanup context of aiohttp: from the application's start to its end. Attempts under way at the end are cut off."""
        connector = aiohttp.TCPConnector(limit=0, force_close=True)
        async with aiohttp.ClientSession(connector=connector, cookie_jar=aiohttp.DummyCookieJar(), trust_env=False) as session:
            ticking = self._watched(asyncio.create_task(self._tick_for_ever(session), name="webhook deliveries"))
            yield
            under_way = [ticking, *self._attempts, *self._failed]
            for task in under_way:
                task.cancel()
            ended = await asyncio.gather(*under_way, return_exceptions=True)
            for error in ended:
                if isinstance(error, Exception):
                    raise error

    async def settle(self, patience_s: float) -> bool:
        """Wait until everything due at this moment was attempted; false when that took longer than `patience_s`."""
        due_ms = self._account.clock.now_ms()
        deadline = time.monotonic() + patience_s
        self._account.advance(due_ms)
        while self._account.notifications.queue.unsettled(due_ms):
            if time.monotonic() > deadline:
                return False
            await asyncio.sleep(TICK_S / 5)
        return True

    async def _tick_for_ever(self, session: aiohttp.ClientSession) -> None:
        while True:
            self._tick(session)
            await asyncio.sleep(TICK_S)

    def _tick(self, session: aiohttp.ClientSession) -> None:
        now_ms = self._account.clock.now_ms()
        self._account.advance(now_ms)
        notifications = self._account.notifications
        for attempt in notifications.take_due(now_ms, int(time.time())):
            name = f"webhook delivery {attempt.delivery.number}"
            task = self._watched(asyncio.create_task(self._attempt(session, notifications, attempt), name=name))
            self._attempts.add(task)
            task.add_done_callback(self._attempts.discard)
        self._journal.flush()

    def _watched(self, task: asyncio.Task[None]) -> asyncio.Task[None]:
        task.add_done_callback(self._end_process_on_failure)
        return task

    def _end_process_on_failure(self, task: asyncio.Task[None]) -> None:
        """A simulator that silently delivers nothing would be worse than none: stop, and let `running` raise what went wrong."""
        if not task.cancelled() and task.exception() is not None:
            self._failed.append(task)
            signal.raise_signal(signal.SIGTERM)

    async def _attempt(self, session: aiohttp.ClientSession, notifications: Notifications, attempt: Attempt) -> None:
        status, error = await _post(session, attempt, self._account.webhooks.timeout_ms / 1000)
        if notifications is self._account.notifications:  # else everything was forgotten meanwhile
            notifications.attempted(attempt.delivery, self._account.clock.now_ms(), status, error)
            self._tick(session)


async def _post(session: aiohttp.ClientSession, attempt: Attempt, timeout_s: float) -> tuple[int | None, str | None]:
    """The status, or the name of what went wrong. A redirect is not followed."""
    headers = {**HEADERS, "Stripe-Signature": attempt.signature}
    timeout = aiohttp.ClientTimeout(total=timeout_s)
    try:
        async with session.post(attempt.url, data=attempt.body, headers=headers, timeout=timeout, allow_redirects=False) as response:
            return response.status, None
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        return None, type(error).__name__
