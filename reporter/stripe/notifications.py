"""Stripe's record of what it notified: `/v2/core/events`, kept for 30 days, through the official library."""

from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Protocol
from urllib.parse import urlsplit

import aiohttp
import stripe

from metering.configuration.secrets import Redactor, Secret
from metering.stripe.client import PAGE_ROWS, ReplyTooLarge, StripeHttp, make_client
from reporter.stripe.report_types import REPORT_TYPES

EVENTS_CONNECTIONS: Final = 4
LISTED_EVENTS_MAX: Final = 50_000  # one meter that always fails has 26,000 in three days
METER_NAMES_KEPT_MAX: Final = 1_000
_DETAIL_CHARS_MAX: Final = 300


class EventsUnavailable(Exception):
    """Stripe did not answer, or not as it should. `lasting`: asking again does not help (a missing permission, an event it does not have)."""

    def __init__(self, message: str, *, lasting: bool) -> None:
        super().__init__(message)
        self.lasting = lasting


@dataclass(frozen=True, slots=True)
class ListedReport:
    """An error report as a list of events shows it. `created_ms` is 0 where that cannot be read."""

    id: str
    created_ms: int


class EventsPort(Protocol):
    """Reads error reports. Every method may raise EventsUnavailable and waits for the network, for a bounded time."""

    async def fetch(self, event_id: str) -> Mapping[str, Any]:
        """The whole event, as Stripe's JSON."""
        ...

    def reports(self, since_ms: int) -> AsyncIterator[ListedReport]:
        """The error reports made since then, newest first, at most LISTED_EVENTS_MAX."""
        ...

    async def meter_name(self, meter_id: str) -> str:
        """The event name of a meter; its id, when Stripe does not give the name."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class StripeEvents:
    """An EventsPort. Create it inside the running event loop, for that loop; `close` it there. `timeout_s` bounds one request."""

    def __init__(self, *, api_key: Secret, api_base: str, timeout_s: float) -> None:
        self._http = StripeHttp(connections=EVENTS_CONNECTIONS, timeout_s=timeout_s)
        self._client = make_client(self._http, api_key=api_key, api_base=api_base)
        self._redact = Redactor([api_key]).redact
        self._meters: OrderedDict[str, str] = OrderedDict()

    async def fetch(self, event_id: str) -> Mapping[str, Any]:
        """As EventsPort says. The id must be one of Stripe's: it becomes part of the address."""
        return await self._get(f"/v2/core/events/{event_id}")

    async def reports(self, since_ms: int) -> AsyncIterator[ListedReport]:
        """As EventsPort says. Pages are followed as they are needed."""
        since = datetime.fromtimestamp(since_ms // 1000, UTC).isoformat().replace("+00:00", "Z")
        page = await self._get("/v2/core/events", types=list(REPORT_TYPES), created={"gte": since}, limit=PAGE_ROWS)
        for _ in range(LISTED_EVENTS_MAX // PAGE_ROWS):
            for event in _events(page):
                yield event
            following = page.get("next_page_url")
            if not isinstance(following, str) or not following:
                return
            # Never the address of another host, even if the reply gives one: the key goes with the request.
            parts = urlsplit(following)
            page = await self._get(f"{parts.path}?{parts.query}")

    async def meter_name(self, meter_id: str) -> str:
        """As EventsPort says; names of the last METER_NAMES_KEPT_MAX meters are remembered."""
        known = self._meters.get(meter_id)
        if known is not None:
            return known
        try:
            meter = await self._get(f"/v1/billing/meters/{meter_id}")
        except EventsUnavailable:
            return meter_id
        name = meter.get("event_name")
        if not isinstance(name, str):
            return meter_id
        self._meters[meter_id] = name
        if len(self._meters) > METER_NAMES_KEPT_MAX:
            self._meters.popitem(last=False)
        return name

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close_async()

    async def _get(self, path: str, **parameters: Any) -> Mapping[str, Any]:
        try:
            reply = await self._client.raw_request_async("get", path, **parameters)
            document = reply.data
        except (stripe.AuthenticationError, stripe.PermissionError, stripe.InvalidRequestError) as error:
            raise EventsUnavailable(self._words(error), lasting=True) from None
        except (TimeoutError, stripe.StripeError, aiohttp.ClientError, OSError, ReplyTooLarge) as error:
            raise EventsUnavailable(self._words(error), lasting=False) from None
        if not isinstance(document, Mapping):
            raise EventsUnavailable("Stripe's answer is not an object", lasting=False)
        return document

    def _words(self, error: Exception) -> str:
        text = error.user_message if isinstance(error, stripe.StripeError) else None
        return self._redact(f"{type(error).__name__}: {text or error}")[:_DETAIL_CHARS_MAX]


def _events(page: Mapping[str, Any]) -> list[ListedReport]:
    events = page.get("data")
    found = [event for event in events if isinstance(event, Mapping)] if isinstance(events, list) else []
    return [
        ListedReport(event["id"], _created_ms(event.get("created")))
        for event in found
        if isinstance(event.get("id"), str) and event.get("type") in REPORT_TYPES
    ]


def _created_ms(value: object) -> int:
    try:
        return round(datetime.fromisoformat(value).timestamp() * 1000) if isinstance(value, str) else 0
    except (ValueError, OverflowError):
        return 0
