"""Connections to Stripe for the official library: bounded, without its retries and without its telemetry.

    http = StripeHttp(connections=4, timeout_s=15.0)
    client = make_client(http, api_key=key, api_base="https://api.stripe.com")
    ...
    await http.close_async()

`StripeClient` raises what the library raises, and two things that it lets through: aiohttp.ClientError and TimeoutError.
"""

import logging
import ssl
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import stripe

from metering.configuration.secrets import Secret

REPLY_BYTES_MAX: Final = 2 * 1024 * 1024
PAGE_ROWS: Final = 100  # the most that Stripe gives at once of a list
_KEEP_ALIVE_S: Final = 30.0
_NOTICE_HEADER: Final = "Stripe-Notice"
_NOTICES_MAX: Final = 20
_NOTICE_CHARS_MAX: Final = 500

_log = logging.getLogger(__name__)


class ReplyTooLarge(Exception):
    """The reply is longer than any of Stripe's."""


class StripeHttp(stripe.AIOHTTPClient):
    """The library's aiohttp client, with its way of making a request replaced.

    The library follows redirects, reads replies of any length, leaves the connection behind when a reply is cut short, and turns Stripe's
    notices into Python warnings.

    Create it inside the running event loop, for that loop; `close_async` it there. `connections` bounds the requests in flight,
    `timeout_s` the time of one request, from asking for a connection to the last byte of the reply.
    """

    def __init__(self, *, connections: int, timeout_s: float, reply_bytes_max: int = REPLY_BYTES_MAX) -> None:
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=connections,
                keepalive_timeout=_KEEP_ALIVE_S,
                ssl=ssl.create_default_context(cafile=stripe.ca_bundle_path),
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        self._limits = aiohttp.ClientTimeout(total=timeout_s, connect=timeout_s / 2)
        self._reply_bytes_max = reply_bytes_max
        self._notices: set[str] = set()
        self._key: Secret | None = None
        self._first_key = ""
        super().__init__(timeout=self._limits, session=self._http)

    def send_key(self, key: Secret) -> None:
        """The library keeps the key that its client is made with. From now on its requests have what this one reveals then."""
        self._key, self._first_key = key, key.reveal()

    async def request_async(self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None) -> tuple[bytes, int, Mapping[str, str]]:
        """The body, status and headers of the reply. Raises ReplyTooLarge, and what aiohttp raises."""
        body = bytearray()
        headers = self._with_key_of_now(headers)
        async with self._http.request(method, url, headers=headers, data=post_data, timeout=self._limits, allow_redirects=False) as reply:
            while chunk := await reply.content.read(self._reply_bytes_max):
                body += chunk
                if len(body) > self._reply_bytes_max:
                    raise ReplyTooLarge(f"a reply of more than {self._reply_bytes_max} bytes")
        notice = reply.headers.get(_NOTICE_HEADER, "")
        if not notice:
            return bytes(body), reply.status, reply.headers
        self._log_notice(notice[:_NOTICE_CHARS_MAX])
        # The library would make a Python warning of it.
        return bytes(body), reply.status, {name: value for name, value in reply.headers.items() if name.lower() != _NOTICE_HEADER.lower()}

    def _with_key_of_now(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        if self._key is None or self._key.reveal() == self._first_key:
            return headers
        # A request with another key than the client's is made with a session's token.
        first = f"Bearer {self._first_key}"
        return {name: f"Bearer {self._key.reveal()}" if value == first else value for name, value in headers.items()}

    async def close_async(self) -> None:
        """Close the connections."""
        await self._http.close()

    def _log_notice(self, notice: str) -> None:
        # Each notice once: it comes with every reply.
        if notice not in self._notices and len(self._notices) < _NOTICES_MAX:
            self._notices.add(notice)
            _log.warning("Stripe sends a notice: %s", notice)


def make_client(http: StripeHttp, *, api_key: Secret, api_base: str, stream_base: str | None = None) -> stripe.StripeClient:
    """The library's client over `http`; `stream_base` is where the meter event stream is. One call is one HTTP request: retries are off.

    It sets two things for the whole process: the library's telemetry is off, and its logger speaks from WARNING up only.
    """
    stripe.enable_telemetry = False
    # At INFO it writes two lines for each request.
    logging.getLogger("stripe").setLevel(logging.WARNING)
    http.send_key(api_key)
    return stripe.StripeClient(
        api_key.reveal(),
        base_addresses={"api": api_base.rstrip("/"), "meter_events": (stream_base or api_base).rstrip("/")},
        http_client=http,
        max_network_retries=0,
    )
