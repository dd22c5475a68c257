"""Stripe through its official library: the only importer of `stripe`.

The library's own retries are off and its telemetry too: one call of `send` is one HTTP request, and what became of it is a verdict.
"""

import logging
import ssl
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import orjson
import stripe

from metering.secrets import Redactor, Secret
from reporter.outcomes import Reply, Retry, StopTheWorld, TryAgain, Verdict, classify, interrupted, unreachable

REPLY_BYTES_MAX: Final = 256 * 1024
_KEEP_ALIVE_S: Final = 30.0
_NOTICE_HEADER: Final = "Stripe-Notice"
_NOTICES_MAX: Final = 20
_NOTICE_CHARS_MAX: Final = 500

_log = logging.getLogger(__name__)


class _ReplyTooLarge(Exception):
    """The reply is longer than any of Stripe's."""


class StripeMeterEvents:
    """Meter events by `POST /v1/billing/meter_events`: a MeterEventPort.

    To be created inside the running event loop, for that loop; `close` it there. `connections` bounds the requests in flight, `timeout_s` the
    time of one attempt, from asking for a connection to the last byte of the reply. `api_base` is where Stripe's API is, without a path.
    It sets two things for the whole process: the library's telemetry is off, and its logger speaks from WARNING up only.
    """

    def __init__(self, *, api_key: Secret, api_base: str, connections: int, timeout_s: float) -> None:
        stripe.enable_telemetry = False
        # At INFO it writes two lines for each request.
        logging.getLogger("stripe").setLevel(logging.WARNING)
        self._redact = Redactor([api_key]).redact
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections,
                keepalive_timeout=_KEEP_ALIVE_S,
                ssl=ssl.create_default_context(cafile=stripe.ca_bundle_path),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        timeout = aiohttp.ClientTimeout(total=timeout_s, connect=timeout_s / 2)
        base = api_base.rstrip("/")
        self._meter_events = stripe.StripeClient(
            api_key.reveal(),
            base_addresses={"api": base, "meter_events": base},
            http_client=_BoundedClient(timeout=timeout, session=self._session),
            max_network_retries=0,
        ).v1.billing.meter_events

    async def send(self, *, event_name: str, payload: Mapping[str, str], identifier: str, timestamp_s: int, idempotency_key: str) -> Verdict:
        """Make one attempt. Waits for the network at most `timeout_s`; raises nothing but CancelledError. No verdict contains the key."""
        try:
            event = await self._meter_events.create_async(
                {"event_name": event_name, "payload": dict(payload), "identifier": identifier, "timestamp": timestamp_s},
                {"idempotency_key": idempotency_key},
            )
        except _ErrorReply as reply:
            return classify(self._parsed(reply))
        except stripe.StripeError as error:
            return classify(Reply(error.http_status or 0, recognised=False))
        # Network errors, and whatever nobody foresaw: an attempt was made and must not be forgotten.
        except Exception as error:
            return self._broken(error)
        # A meter event, and this one if it says which.
        named = getattr(event, "identifier", None)
        recognised = named == identifier or (named is None and getattr(event, "object", None) == "billing.meter_event")
        return classify(Reply(200, recognised=recognised))

    async def close(self) -> None:
        """Close the connections; attempts still in flight end as interrupted."""
        await self._session.close()

    def _broken(self, error: BaseException) -> TryAgain | StopTheWorld:
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
            case _ReplyTooLarge():
                return interrupted(Retry.NOT_UNDERSTOOD, f"a reply of more than {REPLY_BYTES_MAX} bytes")
            case _:
                _log.error("the Stripe library failed in an unexpected way: %s", detail)
                return interrupted(Retry.UNEXPECTED, detail)

    def _parsed(self, reply: "_ErrorReply") -> Reply:
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
            headers=reply.headers,
        )

    def _text(self, value: object) -> str | None:
        return self._redact(value) if isinstance(value, str) else None


class _ErrorReply(Exception):
    """A reply that is not 2xx, as it came."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        super().__init__(status)
        self.status = status
        self.headers = headers
        self.body = body


class _BoundedClient(stripe.AIOHTTPClient):
    """The library's aiohttp client, with its way of making a request replaced.

    The library follows redirects, reads replies of any length, leaves the connection behind when a reply is cut short, turns Stripe's notices
    into Python warnings, and makes exceptions of errors that lose the error's code, or the headers of a reply that is not JSON.
    """

    def __init__(self, *, timeout: aiohttp.ClientTimeout, session: aiohttp.ClientSession) -> None:
        super().__init__(timeout=timeout, session=session)
        self._http = session
        self._limits = timeout
        self._notices: set[str] = set()

    async def request_async(self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None) -> tuple[bytes, int, Mapping[str, str]]:
        """The body, status and headers of a 2xx. Raises _ErrorReply for another status, and what aiohttp raises."""
        body = bytearray()
        async with self._http.request(method, url, headers=headers, data=post_data, timeout=self._limits, allow_redirects=False) as reply:
            while chunk := await reply.content.read(REPLY_BYTES_MAX):
                body += chunk
                if len(body) > REPLY_BYTES_MAX:
                    raise _ReplyTooLarge
        notice = reply.headers.get(_NOTICE_HEADER, "")
        if notice:
            self._log_notice(notice[:_NOTICE_CHARS_MAX])
        if not 200 <= reply.status < 300:
            raise _ErrorReply(reply.status, reply.headers, bytes(body))
        return bytes(body), reply.status, {} if notice else reply.headers

    def _log_notice(self, notice: str) -> None:
        # Each notice once: it comes with every reply.
        if notice not in self._notices and len(self._notices) < _NOTICES_MAX:
            self._notices.add(notice)
            _log.warning("Stripe sends a notice: %s", notice)
