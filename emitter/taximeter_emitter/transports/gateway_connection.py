"""One connection to a gateway, kept open: HTTP/1.1 on the emitter's own event loop, by the standard library alone.

There is no thread, so nothing has to be joined when the interpreter ends, or is missing after a fork; and every wait has an end.
"""

import asyncio
import ssl
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import SplitResult, unquote, urlsplit
from urllib.request import getproxies_environment, proxy_bypass_environment  # type: ignore[attr-defined]  # typeshed lacks them

from taximeter_emitter.deadlines import timeout
from taximeter_emitter.transports.batch_producer import ProducerFailed
from taximeter_emitter.transports.gateway_options import GATEWAY_PATH, GatewayOptions
from taximeter_emitter.transports.http_answer import BadAnswer, HttpAnswer, read_answer
from taximeter_emitter.version import __version__

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class GatewayAddress:
    """Where to connect, and what each request begins with. `headers` may hold secrets, so they are not in the repr."""

    host: str
    port: int
    target: str
    connect_to: tuple[str, int]
    tunnel: str = ""
    context: ssl.SSLContext | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    proxy_headers: Mapping[str, str] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, options: GatewayOptions) -> "GatewayAddress":
        """Looks at the environment for proxies. Raises ValueError for certificates that cannot be loaded."""
        parts = urlsplit(options.url)
        host, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        path = parts.path.rstrip("/") + GATEWAY_PATH
        named = parts.netloc
        headers = {"Host": named, "User-Agent": f"taximeter-emitter/{__version__}", "Accept": "application/json"}
        if options.api_key is not None:
            headers["Authorization"] = f"Bearer {options.api_key}"
        proxy = _proxy_for(parts, place)
        if proxy is None:
            return cls(host, port, path, (host, port), context=_context(options, parts), headers=headers)
        connect_to = (proxy.hostname or "", proxy.port or _PORTS["http"])
        credentials = _credentials(proxy)
        if parts.scheme == "https":
            context = _context(options, parts)
            return cls(host, port, path, connect_to, tunnel=place, context=context, headers=headers, proxy_headers=credentials)
        return cls(host, port, f"http://{named}{path}", connect_to, headers=headers | credentials)


class GatewayConnection:
    """`is_timed_out`: a request had no answer in time."""

    def __init__(self, address: GatewayAddress, transport: asyncio.Transport, wire: "_Wire") -> None:
        self.is_timed_out = False
        self._address = address
        self._transport = transport
        self._wire = wire

    @property
    def is_open(self) -> bool:
        """Whether it takes another request, as far as anybody knows."""
        return not self._wire.is_over and not self._transport.is_closing() and not self._wire.received

    @classmethod
    async def open(cls, address: GatewayAddress, *, connect_seconds: float, answer_seconds: float) -> "GatewayConnection":
        """Connect, through a proxy if there is one. Waits at most for both times together. Raises ProducerFailed."""
        loop = asyncio.get_running_loop()
        host, port = address.connect_to
        try:
            async with timeout(connect_seconds):
                transport, wire = await loop.create_connection(_Wire, host, port)
        except TimeoutError:
            raise ProducerFailed(f"no connection to {host}:{port} within {connect_seconds:g} s") from None
        except OSError as error:
            raise ProducerFailed(f"no connection to {host}:{port}: {_words(error)}") from None
        connection = cls(address, transport, wire)
        try:
            async with timeout(answer_seconds):
                await connection._secure()
        except TimeoutError:
            connection.close()
            raise ProducerFailed(f"no secured connection to {host}:{port} within {answer_seconds:g} s") from None
        except (OSError, ssl.SSLError) as error:
            connection.close()
            raise ProducerFailed(f"no secured connection to {host}:{port}: {_words(error)}") from None
        except BaseException:
            connection.close()
            raise
        return connection

    async def request(self, method: str, headers: Mapping[str, str], body: bytes, *, seconds: float) -> HttpAnswer:
        """Send a request, and wait for its whole answer, at most for `seconds`. Raises ProducerFailed; the connection is of no use then."""
        sent = {**self._address.headers, **headers} | ({"Content-Length": str(len(body))} if body or method == "POST" else {})
        try:
            async with timeout(seconds):
                answer = await self._exchange(_head(f"{method} {self._address.target}", sent), body)
        except TimeoutError:
            self.is_timed_out = True
            self.close()
            raise ProducerFailed(f"the gateway has not answered within {seconds:g} s") from None
        except BaseException:
            self.close()
            raise
        if answer.closes:
            self.close()
        return answer

    def close(self) -> None:
        """Let go of it at once."""
        self._transport.abort()

    async def _secure(self) -> None:
        """Through the proxy, and into TLS, where there is one."""
        address = self._address
        if address.tunnel:
            answer = await self._exchange(_head(f"CONNECT {address.tunnel}", {"Host": address.tunnel, **address.proxy_headers}), b"", is_connect=True)
            if answer.status != 200:
                raise ProducerFailed(f"the proxy answers {answer.status}", reason="unreachable")
        if address.context is not None:
            secured = await asyncio.get_running_loop().start_tls(self._transport, self._wire, address.context, server_hostname=address.host)
            if secured is None:
                raise ConnectionResetError("closed meanwhile")
            self._transport = secured

    async def _exchange(self, head: bytes, body: bytes, *, is_connect: bool = False) -> HttpAnswer:
        wire = self._wire
        wire.received.clear()
        self._transport.write(head + body)
        while True:
            try:
                answer = read_tunnel(bytes(wire.received)) if is_connect else read_answer(bytes(wire.received), is_over=wire.is_over)
            except BadAnswer as bad:
                raise ProducerFailed(str(bad), reason="wrong_answer") from None
            if answer is not None:
                wire.received.clear()
                return answer
            if wire.is_over:
                raise ProducerFailed("the connection was closed before the answer was complete")
            wire.changed.clear()
            await wire.changed.wait()


def read_tunnel(received: bytes) -> HttpAnswer | None:
    """The answer to CONNECT, which has no body if it is 200."""
    end = received.find(b"\r\n\r\n")
    return None if end < 0 else read_answer(received[: end + 2] + b"Content-Length: 0\r\n\r\n", is_over=False)


class _Wire(asyncio.Protocol):
    """What has come of the answer under way."""

    def __init__(self) -> None:
        self.received = bytearray()
        self.is_over = False
        self.changed = asyncio.Event()

    def data_received(self, data: bytes) -> None:
        """Some more of it."""
        self.received += data
        self.changed.set()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002  # asyncio's
        """No more will come."""
        self.is_over = True
        self.changed.set()


def _head(line: str, headers: Mapping[str, str]) -> bytes:
    return "\r\n".join([f"{line} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]).encode("latin-1")


def _context(options: GatewayOptions, parts: SplitResult) -> ssl.SSLContext | None:
    """Verifies the gateway's certificate and host name; there is no option to turn that off."""
    if parts.scheme != "https":
        return None
    try:
        return ssl.create_default_context(ssl.Purpose.SERVER_AUTH, cafile=options.ssl_cafile)
    except (OSError, ssl.SSLError) as error:
        raise ValueError(f"ssl_cafile {options.ssl_cafile} cannot be used: {_words(error)}") from None


def _proxy_for(parts: SplitResult, place: str) -> SplitResult | None:
    """The proxy that the environment names for this URL. Raises ValueError for one that is not http://host:port."""
    proxies: dict[str, str] = getproxies_environment()
    named = proxies.get(parts.scheme) or proxies.get("all")
    if not named or proxy_bypass_environment(place, proxies):
        return None
    proxy = urlsplit(named if "://" in named else f"http://{named}")
    if proxy.scheme != "http" or not proxy.hostname:
        raise ValueError(f"the environment names a proxy for {parts.scheme} that is not http://host:port")
    return proxy


def _credentials(proxy: SplitResult) -> dict[str, str]:
    if proxy.username is None:
        return {}
    pair = f"{unquote(proxy.username)}:{unquote(proxy.password or '')}"
    return {"Proxy-Authorization": f"Basic {b64encode(pair.encode()).decode()}"}


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__
