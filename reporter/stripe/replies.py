"""From what the Stripe library lets through, or fails with, to a verdict: shared by the adapters."""

import logging
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import orjson
import stripe

from metering.configuration.secrets import Redactor, Secret
from metering.stripe.client import ReplyTooLarge, StripeHttp
from reporter.sending.verdicts import Reply, Retry, StopTheWorld, Verdict, classify, interrupted, unreachable

SENDING_REPLY_BYTES_MAX: Final = 256 * 1024

_log = logging.getLogger(__name__)


class ErrorReply(Exception):
    """A reply that is not 2xx, as it came."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


class PlainHttp(StripeHttp):
    """Raises replies that are not 2xx as they came: the library makes exceptions of them that lose the error's code, or its headers."""

    async def request_async(self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None) -> tuple[bytes, int, Mapping[str, str]]:
        """The body, status and headers of a 2xx. Raises ErrorReply for another status, ReplyTooLarge, and what aiohttp raises."""
        body, status, reply_headers = await super().request_async(method, url, headers, post_data)
        if not 200 <= status < 300:
            raise ErrorReply(status, reply_headers, body)
        return body, status, reply_headers


class Verdicts:
    """Makes verdicts of errors. None of them contains a secret."""

    def __init__(self, *secrets: Secret) -> None:
        self._redact = Redactor(list(secrets)).redact

    def of(self, error: Exception) -> Verdict:
        """The verdict on an attempt that ended so."""
        if isinstance(error, ErrorReply):
            return classify(self.parsed(error))
        if isinstance(error, stripe.StripeError):
            return classify(Reply(error.http_status or 0, recognised=False))
        # Network errors, and anything unforeseen: an attempt was made and must not be forgotten.
        return self._broken(error)

    def parsed(self, reply: ErrorReply) -> Reply:
        """The error object of a reply."""
        said: Any = None
        try:
            said = orjson.loads(reply.body)["error"]
            recognised = isinstance(said, dict) and any(isinstance(said.get(name), str) for name in ("type", "code", "message"))
        except (orjson.JSONDecodeError, KeyError, IndexError, TypeError):
            recognised = False
        if not recognised:
            return Reply(reply.status, recognised=False, headers=reply.headers)
        return Reply(
            reply.status,
            error_type=self._text(said.get("type")),
            code=self._text(said.get("code")),
            message=self._text(said.get("message")) or "",
            param=self._text(said.get("param")) or "",
            headers=reply.headers,
        )

    def _broken(self, error: Exception) -> Verdict:
        """The verdict on an attempt that got no whole reply."""
        detail = self._redact(f"{type(error).__name__}: {error}" if isinstance(error, aiohttp.ClientError | OSError) else type(error).__name__)
        match error:
            case aiohttp.InvalidURL():
                return StopTheWorld("the address of Stripe's API is not a URL")
            case aiohttp.ClientConnectorError() | aiohttp.ConnectionTimeoutError():
                return unreachable(detail)
            case TimeoutError():
                return interrupted(Retry.TIMEOUT, detail)
            case aiohttp.ClientError() | OSError():
                return interrupted(Retry.CONNECTION_LOST, detail)
            case ReplyTooLarge():
                return interrupted(Retry.NOT_UNDERSTOOD, str(error))
            case _:
                _log.error("the Stripe library failed in an unexpected way: %s", detail)
                return interrupted(Retry.UNEXPECTED, detail)

    def _text(self, value: object) -> str | None:
        return self._redact(value) if isinstance(value, str) else None
