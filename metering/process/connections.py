"""The connections of one listener: how many there are, which ones make way for new ones, and what each may do before it has sent a request.

A connection waits until the head of a request is complete, and after its answer. Connections that wait are cheap to lose: nothing is in flight
on them. So at a limit the one that has waited longest is closed in favour of a new one, and slow or idle clients never shut others out.
"""

import asyncio
import ipaddress
from collections.abc import Callable
from enum import Enum
from functools import lru_cache
from http import HTTPStatus
from itertools import islice
from typing import Any, Final, cast

from aiohttp import HttpVersion10, HttpVersion11, hdrs, web
from aiohttp.http_exceptions import (
    BadStatusLine,
    ContentLengthError,
    HttpProcessingError,
    InvalidURLError,
    LineTooLong,
    PayloadEncodingError,
)
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader
from aiohttp.web_protocol import RequestHandler, RequestPayloadError, _ErrInfo

HEAD_BYTES_MAX: Final = 32 * 1024  # a request line and all headers
SERVER: Final = "taximeter"

_PIPELINED_MAX: Final = 2  # requests of one connection that wait for the one before them; then it is not read
_SEARCHED_MAX: Final = 256  # connections that are asked whether their body is complete, oldest first
_ADDRESSES_CACHED: Final = 4_096
_VERSIONS: Final = {HttpVersion10, HttpVersion11}


class Fault(Enum):
    """What the listener itself refuses, before any handler sees a request: the status code, and the name in answers, metrics and logs."""

    MALFORMED_HEAD = (400, "malformed_head")
    TLS_ON_PLAIN_PORT = (400, "tls_on_plain_port")
    BROKEN_BODY = (400, "broken_body")
    SLOW_HEAD = (408, "slow_head")
    HEAD_TOO_LARGE = (431, "head_too_large")
    CRASHED = (500, "internal_error")
    TOO_MANY_CONNECTIONS = (503, "too_many_connections")
    UNSUPPORTED_VERSION = (505, "unsupported_http_version")

    @property
    def status(self) -> int:
        """The HTTP status code."""
        return self.value[0]

    @property
    def reason(self) -> str:
        """The name in answers, metrics and logs."""
        return self.value[1]


CLOSED: Final = ("slow_head", "slow_reader", "made_way", "refused", "address_made_way", "address_refused")
"""Why a listener closes connections: the values of a label."""

FaultAnswer = Callable[[Fault, str], web.Response]
"""Makes the answer to a fault, from the fault and a sentence about it; called once for each fault, so it may count."""


class ConnectionPool:
    """All connections of a listener. Pure: it closes connections and counts, and waits for nothing.

    `connections_max` None and `per_address_max` 0 are no limits. `closed` gets one of CLOSED for each connection that is closed or refused,
    `crashed` what a handler raised.
    """

    def __init__(
        self, *, connections_max: int | None, per_address_max: int, closed: Callable[[str], None], crashed: Callable[[BaseException], None]
    ) -> None:
        self._connections_max = connections_max
        self._per_address_max = per_address_max
        self.closed = closed
        self.crashed = crashed
        # Each in the order in which they began to wait, or to be busy.
        self._waiting: dict[Connection, None] = {}
        self._busy: dict[Connection, None] = {}
        self._by_address: dict[str, dict[Connection, None]] = {}

    def __len__(self) -> int:
        return len(self._waiting) + len(self._busy)

    def admit(self, connection: "Connection") -> bool:
        """Take a new connection, if there is room or another one can make way; whether it was taken."""
        peers = self._by_address.get(connection.address) if self._per_address_max and connection.address else None
        if peers is not None and len(peers) >= self._per_address_max and not self._make_way(peers, "address_made_way"):
            self.closed("address_refused")
            return False
        if self._connections_max is not None and len(self) >= self._connections_max and not self._make_way(None, "made_way"):
            self.closed("refused")
            return False
        self._waiting[connection] = None
        if self._per_address_max and connection.address:
            self._by_address.setdefault(connection.address, {})[connection] = None
        return True

    def busy(self, connection: "Connection") -> None:
        """Note that a connection has a request."""
        if connection in self._waiting:
            del self._waiting[connection]
            self._busy[connection] = None

    def waiting(self, connection: "Connection") -> None:
        """Note that a connection waits for its next request."""
        if connection in self._busy:
            del self._busy[connection]
            self._waiting[connection] = None

    def is_waiting(self, connection: "Connection") -> bool:
        """Whether it is in the pool and has no request."""
        return connection in self._waiting

    def remove(self, connection: "Connection") -> None:
        """Forget a connection; does nothing if it is not there."""
        self._waiting.pop(connection, None)
        self._busy.pop(connection, None)
        peers = self._by_address.get(connection.address)
        if peers is not None:
            peers.pop(connection, None)
            if not peers:
                del self._by_address[connection.address]

    def _make_way(self, peers: "dict[Connection, None] | None", reason: str) -> bool:
        """Close the connection that has waited longest, else one whose request is not complete after the longest time; whether there was one.

        `peers` None: of all connections.
        """
        if peers is None:
            victim = next(iter(self._waiting), None)
            busy = islice(self._busy, _SEARCHED_MAX)
        else:
            victim = next((peer for peer in peers if peer in self._waiting), None)
            busy = islice(peers, _SEARCHED_MAX)
        if victim is None:
            victim = next((each for each in busy if not each.has_whole_request), None)
        if victim is None:
            return False
        self.remove(victim)
        self.closed(reason)
        victim.shut()
        return True


class Connection(RequestHandler):
    """One connection of a listener: aiohttp's, with deadlines for heads and for clients that do not read their answers.

    A head must be complete `head_seconds` after its connection was made or, on a used connection, after its first byte.
    """

    __slots__ = ("_answer_fault", "_head_bytes", "_head_seconds", "_head_timer", "_pool", "_refused_body", "_stall_timer", "_wire", "address")

    def __init__(
        self, server: web.Server, *, loop: asyncio.AbstractEventLoop, pool: ConnectionPool, answer: FaultAnswer, head_seconds: float, **options: Any
    ) -> None:
        super().__init__(server, loop=loop, **options)
        # aiohttp would hold 32 requests, each with the beginning of its body.
        self._max_msg_queue_size = _PIPELINED_MAX
        self._msg_queue_resume_size = _PIPELINED_MAX - 1
        self._pool = pool
        self._answer_fault = answer
        self._head_seconds = head_seconds
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._stall_timer: asyncio.TimerHandle | None = None
        self._wire: asyncio.Transport | None = None
        self._refused_body: StreamReader | None = None
        self.address = ""

    @property
    def has_whole_request(self) -> bool:
        """Whether a request has arrived with all of its body, and is being answered."""
        request = self._current_request
        return request is None or request.content.is_eof()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Enter the pool, or be closed with an answer if there is no room."""
        wire = self._wire = cast("asyncio.Transport", transport)
        peer = wire.get_extra_info("peername")
        self.address = address_key(peer[0]) if isinstance(peer, tuple) else ""
        if not self._pool.admit(self):
            wire.write(_raw(self._answer_fault(Fault.TOO_MANY_CONNECTIONS, "all connections have requests in flight; try again")))
            wire.set_protocol(asyncio.Protocol())
            wire.close()
            return
        super().connection_made(transport)
        self._head_timer = self._loop.call_later(self._head_seconds, self._head_is_late)

    def data_received(self, data: bytes) -> None:
        """Read what arrived. As soon as a head is complete the connection is busy."""
        super().data_received(data)
        if self._messages:
            self._head_bytes = 0
            if self._head_timer is not None:
                self._head_timer.cancel()
                self._head_timer = None
            self._check_messages()
            self._pool.busy(self)
        elif data and self._pool.is_waiting(self) and not self._is_refused_body():
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(Fault.HEAD_TOO_LARGE, f"a head has at most {HEAD_BYTES_MAX} bytes")
            elif self._head_timer is None:
                self._head_timer = self._loop.call_later(self._head_seconds, self._head_is_late)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Leave the pool."""
        self._pool.remove(self)
        for timer in (self._head_timer, self._stall_timer):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read its answers: it has `head_seconds` to go on."""
        super().pause_writing()
        self._stall_timer = self._loop.call_later(self._head_seconds, self._reads_nothing)

    def resume_writing(self) -> None:
        """The client reads again."""
        if self._stall_timer is not None:
            self._stall_timer.cancel()
            self._stall_timer = None
        super().resume_writing()

    def shut(self) -> None:
        """Close the connection even if it is busy; what a client does not read is thrown away."""
        wire = self._wire
        self.force_close()
        if wire is not None and wire.get_write_buffer_size():
            wire.abort()
        elif wire is not None:
            wire.close()

    def log_access(self, request: web.BaseRequest, response: web.StreamResponse, time: float | None) -> None:  # noqa: ARG002 # aiohttp's signature
        """aiohttp calls this after each answer."""
        self._refused_body = request.content
        if not self._messages:
            self._pool.waiting(self)

    async def finish_response(self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None) -> tuple[web.StreamResponse, bool]:
        """Name the server without its versions, then send the answer."""
        resp.headers[hdrs.SERVER] = SERVER
        return await super().finish_response(request, resp, start_time)

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to a request that cannot be read, or whose handler crashed. It closes the connection."""
        if request.writer.output_size > 0:
            raise ConnectionError("the answer has begun, so no other one can be sent")
        request._version = HttpVersion11  # noqa: SLF001 # aiohttp takes what it cannot read for HTTP/1.0
        fault = fault_of(exc) if status < HTTPStatus.INTERNAL_SERVER_ERROR or isinstance(exc, _UnsupportedVersion) else Fault.CRASHED
        if fault is Fault.CRASHED and exc is not None:
            self._pool.crashed(exc)
        response = self._answer_fault(fault, "" if fault is Fault.CRASHED else _first_line(message))
        response.force_close()
        return response

    def log_exception(self, *args: Any, **kw: Any) -> None:  # noqa: ARG002 # aiohttp's signature
        """aiohttp calls this for exceptions that it does not expect."""
        error = kw.get("exc_info")
        if isinstance(error, BaseException):
            self._pool.crashed(error)

    def _is_refused_body(self) -> bool:
        """Whether what arrives is the rest of a body that nobody wants."""
        return self._refused_body is not None and not self._refused_body.is_eof()

    def _check_messages(self) -> None:
        """Turn requests in other versions of HTTP into errors: aiohttp would answer HTTP/0.9 and HTTP/2.0 in kind.

        An error while a body is being read belongs to that body, whose reader would otherwise wait for the rest.
        """
        for place, (message, _) in enumerate(self._messages):
            if isinstance(message, _ErrInfo):
                if not self.has_whole_request and self._current_request is not None:
                    self._current_request.content.set_exception(RequestPayloadError("the body is broken"))
            elif message.version not in _VERSIONS:
                error = _UnsupportedVersion()
                self._messages[place] = (_ErrInfo(status=Fault.UNSUPPORTED_VERSION.status, exc=error, message=error.message), EMPTY_PAYLOAD)

    def _head_is_late(self) -> None:
        self._head_timer = None
        if not self._pool.is_waiting(self):
            return
        self._pool.closed("slow_head")
        if self._head_bytes:
            self._refuse(Fault.SLOW_HEAD, f"the head of the request did not arrive within {self._head_seconds:g} s")
        else:
            self.shut()

    def _reads_nothing(self) -> None:
        self._pool.closed("slow_reader")
        self.shut()

    def _refuse(self, fault: Fault, detail: str) -> None:
        """Answer what is no request yet, and close."""
        if self._wire is not None and not self._wire.is_closing():
            self._wire.write(_raw(self._answer_fault(fault, detail)))
        self._pool.remove(self)
        self.force_close()


class _UnsupportedVersion(HttpProcessingError):
    code = Fault.UNSUPPORTED_VERSION.status
    message = "HTTP/1.1 and HTTP/1.0 are spoken here"


def fault_of(error: BaseException | None) -> Fault:
    """What is wrong with a request that aiohttp cannot read."""
    text = str(getattr(error, "message", ""))
    if isinstance(error, _UnsupportedVersion) or "PRI/Upgrade" in text:
        return Fault.UNSUPPORTED_VERSION
    if isinstance(error, LineTooLong) or text == "Too many headers received":
        return Fault.HEAD_TOO_LARGE
    if "HTTPS traffic" in text:
        return Fault.TLS_ON_PLAIN_PORT
    if isinstance(error, BadStatusLine | InvalidURLError | ContentLengthError) or "Transfer-Encoding" in text:
        return Fault.MALFORMED_HEAD
    return Fault.BROKEN_BODY if isinstance(error, PayloadEncodingError) or "chunk" in text else Fault.MALFORMED_HEAD


@lru_cache(maxsize=_ADDRESSES_CACHED)
def address_key(host: str) -> str:
    """What connections of one remote share: an IPv4 address, or the first 64 bits of an IPv6 address, which one subscriber has wholly."""
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, 64), strict=False).network_address)
    return host


def _first_line(message: str | None) -> str:
    """aiohttp's own words, without the excerpt of what was sent."""
    line = (message or "").strip().partition("\n")[0].partition(" when reading: ")[0].rstrip(":")
    return line if line.isprintable() and len(line) < 200 else "cannot be read"


def _raw(response: web.Response) -> bytes:
    """The bytes of an answer that closes its connection, for where aiohttp has no request."""
    body = response.body if isinstance(response.body, bytes) else b""
    headers = {**response.headers, hdrs.SERVER: SERVER, hdrs.CONTENT_LENGTH: str(len(body)), hdrs.CONNECTION: "close"}
    lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n" + body
