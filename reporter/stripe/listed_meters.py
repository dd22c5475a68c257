"""Reading the meters of the account, through the official library."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

import aiohttp
import stripe

from metering.configuration.secrets import Redactor, Secret
from metering.stripe.client import PAGE_ROWS, ReplyTooLarge, StripeHttp, make_client

METERS_CONNECTIONS: Final = 1
METER_PAGES_MAX: Final = 20
_DETAIL_CHARS_MAX: Final = 300


class WhyUnread(StrEnum):
    """Why meters could not be read: a label of the metrics."""

    KEY_REFUSED = "key_refused"  # Stripe does not know the key
    FORBIDDEN = "forbidden"  # it knows the key, which may not read meters
    UNAVAILABLE = "unavailable"


class MetersUnread(Exception):
    """Stripe did not list the meters; the message has no key in it."""

    def __init__(self, why: WhyUnread, message: str) -> None:
        super().__init__(message)
        self.why = why


@dataclass(frozen=True, slots=True)
class ListedMeter:
    """What Stripe says of a meter. `value_key` is None where the meter counts events and reads no value. `formula`: sum, count or last."""

    active: bool
    customer_key: str
    value_key: str | None
    formula: str = "sum"


class MetersPort(Protocol):
    """Reads meters."""

    async def read(self) -> Mapping[str, ListedMeter]:
        """All meters by event name. Waits for the network, a bounded time a page. Raises MetersUnread."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class StripeMeters:
    """A MetersPort: `GET /v1/billing/meters`. Create it inside the running event loop, for that loop; `close` it there.

    `timeout_s` bounds one call. A restricted key needs to read meters.
    """

    def __init__(self, *, api_key: Secret, api_base: str, timeout_s: float) -> None:
        self._http = StripeHttp(connections=METERS_CONNECTIONS, timeout_s=timeout_s)
        self._client = make_client(self._http, api_key=api_key, api_base=api_base)
        self._redact = Redactor([api_key]).redact

    async def read(self) -> Mapping[str, ListedMeter]:
        """As MetersPort says. Stripe cannot look a name up, so all pages are read, METER_PAGES_MAX at most."""
        found: dict[str, ListedMeter] = {}
        after: str | None = None
        for _ in range(METER_PAGES_MAX):
            rows, after = await self._page(after)
            for name, meter in map(_meter, rows):
                # Of several with one name, at most one is active.
                if name not in found or meter.active:
                    found[name] = meter
            if after is None:
                return found
        raise MetersUnread(WhyUnread.UNAVAILABLE, f"the account has more than {METER_PAGES_MAX * PAGE_ROWS} meters")

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close_async()

    async def _page(self, after: str | None) -> tuple[list[Mapping[str, Any]], str | None]:
        """The rows of a page, and what gets the next one."""
        parameters: dict[str, Any] = {"limit": PAGE_ROWS} if after is None else {"limit": PAGE_ROWS, "starting_after": after}
        try:
            reply = await self._client.raw_request_async("get", "/v1/billing/meters", **parameters)
        except stripe.AuthenticationError as error:
            raise MetersUnread(WhyUnread.KEY_REFUSED, self._words(error)) from None
        except stripe.PermissionError as error:
            raise MetersUnread(WhyUnread.FORBIDDEN, self._words(error)) from None
        except (TimeoutError, stripe.StripeError, aiohttp.ClientError, OSError, ReplyTooLarge) as error:
            raise MetersUnread(WhyUnread.UNAVAILABLE, self._words(error)) from None
        document: object = reply.data
        rows = document.get("data") if isinstance(document, Mapping) else None
        if not isinstance(document, Mapping) or not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise MetersUnread(WhyUnread.UNAVAILABLE, "Stripe's answer is not a list of meters")
        last = rows[-1].get("id") if rows and document.get("has_more") is True else None
        return rows, last if isinstance(last, str) and last else None

    def _words(self, error: Exception) -> str:
        text = error.user_message if isinstance(error, stripe.StripeError) else None
        status = f"HTTP {error.http_status} " if isinstance(error, stripe.StripeError) and error.http_status else ""
        return self._redact(f"{status}{type(error).__name__}: {text or error}")[:_DETAIL_CHARS_MAX]


def _meter(row: Mapping[str, Any]) -> tuple[str, ListedMeter]:
    """The event name and what is said of it. What Stripe leaves out has its documented default."""
    formula = _text(row.get("default_aggregation"), "formula", "sum")
    return str(row.get("event_name") or ""), ListedMeter(
        active=row.get("status") != "inactive",
        customer_key=_text(row.get("customer_mapping"), "event_payload_key", "stripe_customer_id"),
        value_key=None if formula == "count" else _text(row.get("value_settings"), "event_payload_key", "value"),
        formula=formula,
    )


def _text(group: object, name: str, default: str) -> str:
    value = group.get(name) if isinstance(group, Mapping) else None
    return value if isinstance(value, str) and value else default
