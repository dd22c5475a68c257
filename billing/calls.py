"""Calls to Stripe that are tried again while that can help, lists read to their end, and idempotency keys."""

from collections.abc import Awaitable, Callable, Mapping
from hashlib import blake2b
from random import Random
from typing import Any, Final, TypeVar

import aiohttp
import stripe
from taximeter_emitter.clock import Clock, SystemClock
from taximeter_emitter.retry import Backoff, RetryPolicy

CALL_RETRIES: Final = RetryPolicy(base_seconds=0.5, cap_seconds=8.0, deadline_seconds=60.0, attempts_max=8)

_TEMPORARY: Final = (stripe.APIConnectionError, stripe.RateLimitError, aiohttp.ClientError, TimeoutError)
_CONFLICT: Final = 409
_SERVER_ERROR: Final = 500

T = TypeVar("T")


class NotPossible(Exception):
    """What was asked for cannot be done; the message says why and what to do."""


Fetch = Callable[[str | None], Awaitable[stripe.ListObject[Any]]]


def is_temporary(error: BaseException) -> bool:
    """Whether the same call, with the same idempotency key, may succeed later: 409, 429, 5xx, or no reply at all."""
    if isinstance(error, _TEMPORARY):
        return True
    if not isinstance(error, stripe.StripeError):
        return False
    status = error.http_status or 0
    return (status == _CONFLICT or status >= _SERVER_ERROR) and _header(error.headers, "stripe-should-retry") != "false"


async def calling(call: Callable[[], Awaitable[T]], *, policy: RetryPolicy = CALL_RETRIES, clock: Clock | None = None) -> T:
    """The result of one call to Stripe; a temporary failure is tried again until the policy gives up, then raised as it is.

    A call that makes something must carry an idempotency key of its own, so that every attempt has the same. Blocks at most for the
    policy's deadline and one call more. Raises what the library, aiohttp and metering.stripe.client raise.
    """
    clock = clock or SystemClock()
    backoff = Backoff(policy, now=clock.monotonic(), random=Random())
    while True:
        try:
            return await call()
        except (stripe.StripeError, aiohttp.ClientError, TimeoutError) as error:
            delay = backoff.next_delay(clock.monotonic()) if is_temporary(error) else None
            if delay is None:
                raise
        await clock.sleep(delay)


async def all_rows(fetch: Fetch, *, what: str, rows_max: int) -> list[Any]:
    """Every object of a v1 list, in Stripe's order. `fetch` makes the call for the page after an id, or for the first page (None).

    Each page is fetched by `calling`. Raises NotPossible when there are more than `rows_max`; `what` names them in the message.
    """
    rows: list[Any] = []
    after: str | None = None
    while True:
        page = await calling(_Fetching(fetch, after))
        rows += page.data
        if len(rows) > rows_max:
            raise NotPossible(f"there are more than {rows_max:,} {what}, which is more than is looked through")
        if not page.has_more or not page.data:
            return rows
        after = rows[-1].id


def idempotency_key(*parts: str) -> str:
    """A key that follows from its parts alone: the same parts give the same key, on every machine."""
    digest = blake2b(digest_size=20)
    for part in parts:
        encoded = part.encode()
        digest.update(len(encoded).to_bytes(8, "big") + encoded)
    return f"taximeter-{parts[0]}-{digest.hexdigest()}"


class _Fetching:
    """The call for one page."""

    def __init__(self, fetch: Fetch, after: str | None) -> None:
        self._fetch = fetch
        self._after = after

    def __call__(self) -> Awaitable[stripe.ListObject[Any]]:
        return self._fetch(self._after)


def _header(headers: Mapping[str, str] | None, name: str) -> str:
    return next((value for key, value in (headers or {}).items() if key.lower() == name), "")
