"""Reading subscriptions from Stripe, a page a call, through the official library."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import aiohttp
import stripe

from metering.configuration.secrets import Redactor, Secret
from metering.stripe.client import PAGE_ROWS, ReplyTooLarge, StripeHttp, make_client
from reporter.planning.billing_periods import Span

SUBSCRIPTIONS_CONNECTIONS: Final = 2
# A subscription with 20 items takes about 50 kB.
LIST_REPLY_BYTES_MAX: Final = 16 * 1024 * 1024
_DETAIL_CHARS_MAX: Final = 300


class SubscriptionsUnavailable(Exception):
    """Stripe did not answer, or not as it should. `lasting`: asking again does not help (a missing permission, a key that is refused)."""

    def __init__(self, message: str, *, lasting: bool) -> None:
        super().__init__(message)
        self.lasting = lasting


@dataclass(frozen=True, slots=True)
class SubscriptionPage:
    """Subscriptions as Stripe's JSON; `after` gets the next page, None after the last one."""

    subscriptions: Sequence[Mapping[str, Any]]
    after: str | None


class SubscriptionsPort(Protocol):
    """Reads subscriptions."""

    async def page(self, after: str | None = None, *, ends: Span | None = None, starts: Span | None = None) -> SubscriptionPage:
        """At most PAGE_ROWS subscriptions that have not ended; with `ends` or `starts` only those whose current period ends or starts then (Unix
        seconds, both included).

        One call, which waits for the network for a bounded time. Raises SubscriptionsUnavailable.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class StripeSubscriptions:
    """A SubscriptionsPort: `GET /v1/subscriptions`. Create it inside the running event loop, for that loop; `close` it there.

    `timeout_s` bounds one call. A restricted key needs to read subscriptions.
    """

    def __init__(self, *, api_key: Secret, api_base: str, timeout_s: float) -> None:
        self._http = StripeHttp(connections=SUBSCRIPTIONS_CONNECTIONS, timeout_s=timeout_s, reply_bytes_max=LIST_REPLY_BYTES_MAX)
        self._client = make_client(self._http, api_key=api_key, api_base=api_base)
        self._redact = Redactor([api_key]).redact

    async def page(self, after: str | None = None, *, ends: Span | None = None, starts: Span | None = None) -> SubscriptionPage:
        """As SubscriptionsPort says. No error contains the key."""
        parameters: dict[str, Any] = {"limit": PAGE_ROWS}
        if after is not None:
            parameters["starting_after"] = after
        if ends is not None:
            parameters["current_period_end"] = {"gte": ends[0], "lte": ends[1]}
        if starts is not None:
            parameters["current_period_start"] = {"gte": starts[0], "lte": starts[1]}
        try:
            # The plain JSON: making the library's objects of a hundred subscriptions would hold up the event loop.
            reply = await self._client.raw_request_async("get", "/v1/subscriptions", **parameters)
        except (stripe.AuthenticationError, stripe.PermissionError, stripe.InvalidRequestError) as error:
            raise SubscriptionsUnavailable(self._words(error), lasting=True) from None
        except (TimeoutError, stripe.StripeError, aiohttp.ClientError, OSError, ReplyTooLarge) as error:
            raise SubscriptionsUnavailable(self._words(error), lasting=False) from None
        return _page(reply.data)

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close_async()

    def _words(self, error: Exception) -> str:
        text = error.user_message if isinstance(error, stripe.StripeError) else None
        return self._redact(f"{type(error).__name__}: {text or error}")[:_DETAIL_CHARS_MAX]


def _page(document: object) -> SubscriptionPage:
    data = document.get("data") if isinstance(document, Mapping) else None
    if not isinstance(document, Mapping) or not isinstance(data, list) or not all(isinstance(found, Mapping) for found in data):
        raise SubscriptionsUnavailable("Stripe's answer is not a list of subscriptions", lasting=False)
    if document.get("has_more") is not True or not data:
        return SubscriptionPage(data, None)
    after = data[-1].get("id")
    if not isinstance(after, str) or not after:
        raise SubscriptionsUnavailable("Stripe's answer has a subscription without an id", lasting=False)
    return SubscriptionPage(data, after)
