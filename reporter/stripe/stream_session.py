"""The session that the meter event stream asks for in place of an API key: made on first use, renewed before it ends."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from taximeter_emitter.clock import Clock

from metering.configuration.secrets import Secret
from reporter.sending.verdicts import Reply, Retry, StopTheWorld, TryAgain, Verdict, classify
from reporter.stripe.replies import Verdicts

_RENEW_AT: Final = 0.8  # of its life
_LIFE_S_MAX: Final = 3600.0
_RETRY_S: Final = 5.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Grant:
    """What Stripe gives: a token, and how long it lives from its creation."""

    token: Secret
    life_s: float


@dataclass(frozen=True, slots=True)
class Session:
    """A session in use; times are monotonic seconds of this process."""

    token: Secret
    renew_at: float
    ends_at: float


class SessionKeeper:
    """Gives out the session. However many wait for a new one, one call makes it.

    `create` asks Stripe for one and returns the grant, or the verdict on why there is none; it raises only CancelledError. Use it
    inside one event loop; `close` it there.
    """

    def __init__(self, create: Callable[[], Awaitable[Grant | Verdict]], clock: Clock) -> None:
        self._create = create
        self._clock = clock
        self._current: Session | None = None
        self._renewal: asyncio.Task[Session | TryAgain | StopTheWorld] | None = None
        self._retry_at = 0.0

    async def get(self) -> Session | TryAgain | StopTheWorld:
        """A session that lives, or why there is none. Waits for Stripe only where no session lives."""
        now = self._clock.monotonic()
        current = self._current
        if current is None or now >= current.ends_at:
            return await self._renewed()
        if now >= current.renew_at and self._renewal is None and now >= self._retry_at:
            self._retry_at = now + _RETRY_S
            self._start()
        return current

    async def after(self, refused: Session) -> Session | TryAgain | StopTheWorld:
        """A session other than one that Stripe refused, or why there is none."""
        if self._current is refused:
            return await self._renewed()
        return await self.get()

    async def close(self) -> None:
        """Give up a renewal that is under way."""
        if self._renewal is not None:
            self._renewal.cancel()
            await asyncio.wait([self._renewal])

    async def _renewed(self) -> Session | TryAgain | StopTheWorld:
        renewal = self._renewal or self._start()
        # One that stops waiting must not take the call from the others.
        return await asyncio.shield(renewal)

    def _start(self) -> "asyncio.Task[Session | TryAgain | StopTheWorld]":
        self._renewal = renewal = asyncio.get_running_loop().create_task(self._renew())
        renewal.add_done_callback(self._renewal_ended)
        return renewal

    def _renewal_ended(self, _: object) -> None:
        self._renewal = None

    async def _renew(self) -> Session | TryAgain | StopTheWorld:
        began = self._clock.monotonic()  # its life cannot have begun earlier
        found = await self._create()
        if isinstance(found, Grant):
            life_s = min(found.life_s, _LIFE_S_MAX)
            self._current = Session(found.token, began + life_s * _RENEW_AT, began + life_s)
            return self._current
        failure = without_session(found)
        if self._current is not None:
            _log.warning("the meter event session could not be renewed: %s", failure)
        return failure


def without_session(verdict: Verdict) -> TryAgain | StopTheWorld:
    """What a failed call for a session means for events that wait for it: none of them was sent, and none is at fault."""
    match verdict:
        case TryAgain(reason, detail, rate_limited, concurrency_limited):
            return TryAgain(reason, f"meter event session: {detail}", rate_limited=rate_limited, concurrency_limited=concurrency_limited)
        case StopTheWorld():
            return verdict
        case _:
            return StopTheWorld(f"Stripe makes no meter event session: {verdict}")


def grant_of(token: object, created: object, expires_at: object) -> Grant | Verdict:
    """The grant in a session object; a verdict if it is not understood. Stripe's clock need not be ours: only the difference counts."""
    if not (isinstance(token, str) and token and isinstance(created, str) and isinstance(expires_at, str)):
        return classify(Reply(200, recognised=False))
    try:
        life_s = (datetime.fromisoformat(expires_at) - datetime.fromisoformat(created)).total_seconds()
    except (ValueError, TypeError):
        return classify(Reply(200, recognised=False))
    if life_s <= 0:
        return TryAgain(Retry.NOT_UNDERSTOOD, "a session that has ended when it begins")
    return Grant(Secret(token), life_s)


def verdicts_for(api_key: Secret, session: Session) -> Verdicts:
    """Makes verdicts that contain neither the key nor the session's token."""
    return Verdicts(api_key, session.token)
