"""Reading Stripe's meter event summaries, through the official library."""

from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import stripe
from taximeter_emitter.clock import Clock

from metering.configuration.secrets import Redactor, Secret
from metering.reconciliation.cells import CellScope
from metering.reconciliation.reconciler import SummariesRefused, SummariesUnread, SummaryValue
from metering.stripe.client import PAGE_ROWS, ReplyTooLarge, StripeHttp, make_client
from metering.stripe.sums import quantity

SUMMARIES_CONNECTIONS: Final = 2
METERS_KNOWN_SECONDS: Final = 600.0  # for so long a list of meters is believed
_METERS_PAGES_MAX: Final = 20
_CHARS_MAX: Final = 300
_SECOND_MS: Final = 1_000


class StripeHourSums:
    """A SummarySource by hours: `GET /v1/billing/meters/ID/event_summaries`. Create it inside the running event loop, for that loop; `close` it.

    `timeout_s` bounds one call. A restricted key needs to read meters and their summaries.
    """

    def __init__(self, *, api_key: Secret, api_base: str, timeout_s: float, clock: Clock) -> None:
        self._http = StripeHttp(connections=SUMMARIES_CONNECTIONS, timeout_s=timeout_s)
        self._client = make_client(self._http, api_key=api_key, api_base=api_base)
        self._redact = Redactor([api_key]).redact
        self._clock = clock
        self._meters: dict[str, tuple[str, str]] = {}
        self._meters_until = 0.0

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close_async()

    def calls(self, scope: CellScope) -> int:
        """One page of cells a call."""
        return -(-((scope.to_ms - scope.from_ms) // scope.width_ms) // PAGE_ROWS)

    async def sums(self, customer: str, meter: str, scope: CellScope) -> Mapping[int, SummaryValue]:
        """As SummarySource says. Raises SummariesRefused for what asking again does not help, SummariesUnread for all else."""
        found = await self._meter(meter)
        if found is None:
            raise SummariesRefused(f"this account has no meter {meter!r}")
        identifier, formula = found
        if formula != "sum":
            raise SummariesRefused(f"the meter's formula is {formula}: only sums are compared")
        asked = {
            "customer": customer,
            "start_time": scope.from_ms // _SECOND_MS,
            "end_time": scope.to_ms // _SECOND_MS,
            "value_grouping_window": "hour",
            "limit": PAGE_ROWS,
        }
        try:
            rows = await self._rows(f"/v1/billing/meters/{identifier}/event_summaries", asked)
        except stripe.InvalidRequestError as error:
            if error.param != "customer":
                raise SummariesUnread(self._words(error)) from None
            raise SummariesRefused(f"there is no customer {customer!r} in this account") from None
        sums: dict[int, SummaryValue] = {}
        for row in rows:
            value, exact = quantity(row["aggregated_value"])
            if value:
                sums[row["start_time"] * _SECOND_MS] = SummaryValue(int(value), exact)
        return sums

    async def _meter(self, event_name: str) -> tuple[str, str] | None:
        """Stripe's id of an active meter, or else of any, and its formula."""
        if event_name not in self._meters and self._clock.monotonic() >= self._meters_until:
            self._meters_until = self._clock.monotonic() + METERS_KNOWN_SECONDS
            after: str | None = None
            for _ in range(_METERS_PAGES_MAX):
                asked = {"limit": PAGE_ROWS} | ({"starting_after": after} if after else {})
                try:
                    rows = await self._rows("/v1/billing/meters", asked)
                except stripe.InvalidRequestError as error:
                    raise SummariesUnread(self._words(error)) from None
                for row in rows:
                    if row["event_name"] not in self._meters or row.get("status") == "active":
                        self._meters[row["event_name"]] = row["id"], row["default_aggregation"]["formula"]
                if len(rows) < PAGE_ROWS:
                    break
                after = rows[-1]["id"]
        return self._meters.get(event_name)

    async def _rows(self, path: str, parameters: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        try:
            reply = await self._client.raw_request_async("get", path, **parameters)
        except stripe.InvalidRequestError:
            raise
        except (TimeoutError, stripe.StripeError, aiohttp.ClientError, OSError, ReplyTooLarge) as error:
            raise SummariesUnread(self._words(error)) from None
        document: object = reply.data
        rows = document.get("data") if isinstance(document, Mapping) else None
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) for row in rows):
            raise SummariesUnread("Stripe's answer is not a list")
        return rows

    def _words(self, error: Exception) -> str:
        text = error.user_message if isinstance(error, stripe.StripeError) else None
        status = f"HTTP {error.http_status} " if isinstance(error, stripe.StripeError) and error.http_status else ""
        return self._redact(f"{status}{type(error).__name__}: {text or error}")[:_CHARS_MAX]
