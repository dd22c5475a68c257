"""Reading from Stripe's customers, through the official library, what their metadata names."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Protocol

import aiohttp
import stripe

from metering.configuration.secrets import Redactor, Secret
from metering.folds.metadata_links import named_in
from metering.stripe.client import PAGE_ROWS, ReplyTooLarge, StripeHttp, make_client

CUSTOMERS_CONNECTIONS: Final = 2
# A customer with 50 full metadata fields, an address and a tax id takes about 40 kB.
CUSTOMERS_REPLY_BYTES_MAX: Final = 16 * 1024 * 1024
_NOT_FOUND: Final = 404
_DETAIL_CHARS_MAX: Final = 300


class NamesUnavailable(Exception):
    """Stripe did not answer, or not as it should. `lasting`: asking again does not help (a missing permission, a key that is refused)."""

    def __init__(self, message: str, *, lasting: bool) -> None:
        super().__init__(message)
        self.lasting = lasting


@dataclass(frozen=True, slots=True)
class NamesPage:
    """The customers that each Stripe customer of a page names; `after` gets the next page, None after the last one."""

    names: Mapping[str, frozenset[str]]
    after: str | None


class NamesPort(Protocol):
    """Reads names. Each call waits for the network for a bounded time, and may raise NamesUnavailable."""

    async def page(self, after: str | None = None) -> NamesPage:
        """At most PAGE_ROWS Stripe customers; deleted ones are not among them."""
        ...

    async def named_by(self, stripe_customer: str) -> frozenset[str] | None:
        """The customers that it names now: none if it is deleted, None if the account never had it."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class StripeNames:
    """A NamesPort: `GET /v1/customers`, where `field` is the metadata field. Create it inside the running event loop; `close` it there.

    `timeout_s` bounds one call. A restricted key needs to read customers.
    """

    def __init__(self, field: str, *, api_key: Secret, api_base: str, timeout_s: float) -> None:
        self._field = field
        self._http = StripeHttp(connections=CUSTOMERS_CONNECTIONS, timeout_s=timeout_s, reply_bytes_max=CUSTOMERS_REPLY_BYTES_MAX)
        self._client = make_client(self._http, api_key=api_key, api_base=api_base)
        self._redact = Redactor([api_key]).redact

    async def page(self, after: str | None = None) -> NamesPage:
        """As NamesPort says. No error contains the key."""
        parameters: dict[str, Any] = {"limit": PAGE_ROWS}
        if after is not None:
            parameters["starting_after"] = after
        document = await self._get("/v1/customers", **parameters)
        rows = document.get("data")
        if not isinstance(rows, list) or not all(isinstance(row, Mapping) and isinstance(row.get("id"), str) for row in rows):
            raise NamesUnavailable("Stripe's answer is not a list of customers", lasting=False)
        following = rows[-1]["id"] if document.get("has_more") is True and rows else None
        return NamesPage({row["id"]: names_of(row, self._field) for row in rows}, following)

    async def named_by(self, stripe_customer: str) -> frozenset[str] | None:
        """As NamesPort says. The id must be one of Stripe's: it becomes part of the address."""
        try:
            return names_of(await self._get(f"/v1/customers/{stripe_customer}"), self._field)
        except _NeverThere:
            return None

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close_async()

    async def _get(self, path: str, **parameters: Any) -> Mapping[str, Any]:
        try:
            document = (await self._client.raw_request_async("get", path, **parameters)).data
        except (stripe.AuthenticationError, stripe.PermissionError, stripe.InvalidRequestError) as error:
            kind = _NeverThere if error.http_status == _NOT_FOUND else NamesUnavailable
            raise kind(self._words(error), lasting=True) from None
        except (TimeoutError, stripe.StripeError, aiohttp.ClientError, OSError, ReplyTooLarge) as error:
            raise NamesUnavailable(self._words(error), lasting=False) from None
        if not isinstance(document, Mapping):
            raise NamesUnavailable("Stripe's answer is not an object", lasting=False)
        return document

    def _words(self, error: Exception) -> str:
        text = error.user_message if isinstance(error, stripe.StripeError) else None
        return self._redact(f"{type(error).__name__}: {text or error}")[:_DETAIL_CHARS_MAX]


class _NeverThere(NamesUnavailable):
    """The account has nothing of this id, and had nothing that was deleted."""


def names_of(customer: Mapping[str, Any], field: str) -> frozenset[str]:
    """What a customer of Stripe's, as JSON, names in this metadata field; nothing if it is deleted."""
    metadata = customer.get("metadata")
    text = metadata.get(field) if isinstance(metadata, Mapping) and customer.get("deleted") is not True else None
    return named_in(text) if isinstance(text, str) else frozenset()
