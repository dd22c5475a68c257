"""What our code asks of Stripe, and what comes back: every request of the package's own HTTP client."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import orjson
import pytest

from metering.stripe.client import StripeHttp


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its reply."""

    method: str
    path: str
    query: str
    status: int
    body: bytes

    @property
    def document(self) -> Any:
        """The reply's JSON."""
        return orjson.loads(self.body)

    @property
    def message(self) -> str:
        """What an error says."""
        return str(self.document["error"]["message"])


def record(monkeypatch: pytest.MonkeyPatch) -> list[Exchange]:
    """From now on, every exchange is added to the list."""
    exchanges: list[Exchange] = []
    ask = StripeHttp.request_async

    async def asking(
        self: StripeHttp, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        body, status, reply_headers = await ask(self, method, url, headers, post_data)
        parts = urlsplit(url)
        exchanges.append(Exchange(method.upper(), parts.path, parts.query, status, body))
        return body, status, reply_headers

    monkeypatch.setattr(StripeHttp, "request_async", asking)
    return exchanges
