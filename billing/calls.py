"""Calls to Stripe that are tried again while that can help, and lists read to their end."""

from collections.abc import Awaitable, Callable, Mapping
from random import Random
from typing import Final, Protocol, TypeVar

import aiohttp
import stripe

from metering.clock import Clock, SystemClock
from metering.retry import Backoff, RetryPolicy

RETRIES: Final = RetryPolicy(base_seconds=0.5, cap_seconds=8.0, deadline_seconds=60.0, attempts_max=8)
PAGE_SIZE: Final = 100  # Stripe's maximum
OBJECTS_MAX: Final = 20_000

_TEMPORARY: Final = (stripe.APIConnectionError, stripe.RateLimitError, aiohttp.ClientError, TimeoutError)
_CONFLICT: Final = 409
_SERVER_ERROR: Final = 500

T = TypeVar("T")


class Identified(Protocol):
    """An object of Stripe's that can be a cursor."""

    id: str


I = TypeVar("I", bound=Identified)  # noqa: E741  # an item


class Page(Protocol[I]):
    """What the library returns for one page of a list."""

    data: list[I]
    has_more: bool


class TooMany(Exception):
    """A list at Stripe is longer than this program reads."""


def is_temporary(error: BaseException) -> bool:
    """Whether the same call, with the same idempotency key, may succeed later: 409, 429, 5xx, or no reply at all."""
    if isinstance(error, _TEMPORARY):
        return True
    if not isinstance(error, stripe.StripeError):
        return False
    status = error.http_status or 0
    return (status == _CONFLICT or status >= _SERVER_ERROR) and _header(error.headers, "stripe-should-retry") != "false"


async def patiently(operation: Callable[[], Awaitable[T]], *, policy: RetryPolicy = RETRIES, clock: Clock | None = None) -> T:
    """The result of `operation`, one call to Stripe; a temporary failure is tried again until the policy gives up, then raised as it is.

    A call that changes something must carry its own idempotency key, so that every attempt has the same. Blocks at most for the policy's
    deadline and one call more.
    """
    clock = clock or SystemClock()
    backoff = Backoff(policy, now=clock.monotonic(), random=Random())
    while True:
        try:
            return await operation()
        except (stripe.StripeError, aiohttp.ClientError, TimeoutError) as error:
            delay = backoff.next_delay(clock.monotonic()) if is_temporary(error) else None
            if delay is None:
                raise
        await clock.sleep(delay)


async def all_pages(fetch: Callable[[dict[str, object]], Awaitable[Page[I]]], *, maximum: int = OBJECTS_MAX) -> list[I]:
    """Every object of a v1 list, in Stripe's order. `fetch` makes the call with `limit` and `starting_after`, as it is given them.

    Each page is fetched patiently. Raises TooMany beyond `maximum` objects.
    """
    found: list[I] = []
    cursor: dict[str, object] = {"limit": PAGE_SIZE}
    while True:
        asked = cursor
        page = await patiently(lambda asked=asked: fetch(asked))  # type: ignore[misc]  # mypy does not infer a lambda with a default
        found += page.data
        if not page.has_more or not page.data:
            return found
        if len(found) >= maximum:
            raise TooMany(f"Stripe lists more than {maximum:,} objects where far fewer were expected")
        cursor = {"limit": PAGE_SIZE, "starting_after": found[-1].id}


def _header(headers: Mapping[str, str] | None, name: str) -> str:
    return next((value for key, value in (headers or {}).items() if key.lower() == name), "")
