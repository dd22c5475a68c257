"""One HTTP listener: it binds a port, names the port in a file, bounds what comes in, and closes in order.

The gateway, the webhook endpoint, the admin port and the demo page each own one, and give it what answers requests.
"""

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from aiohttp import web
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.errors import TaximeterError

from metering.process.atomic_files import write_atomically
from metering.process.connections import Connection, ConnectionPool, Fault, FaultAnswer
from metering.process.logs import RateLimited, get_log

LINE_BYTES_MAX: Final = 16 * 1024  # the request line, and each header
IDLE_CONNECTION_SECONDS: Final = 75.0  # load balancers keep connections for 60 s
BACKLOG: Final = 1024

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


class CannotListen(TaximeterError):
    """The address cannot be bound, or the port file cannot be written; the message says which one, and why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenAddress:
    """Where to listen; port 0 takes a free one. The listener writes its port into `port_file`, and removes the file unless it `keeps` it."""

    host: str
    port: int
    port_file: Path | None = None
    keeps_port_file: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerLimits:
    """What a listener allows.

    `connections_max`: a further connection takes the place of the one that has waited longest; None takes any number. `per_address_max`: the
    same among connections of one remote address; 0 for no limit. `head_seconds`: how long a client may take for the head of a request.
    `finish_seconds`: how long running requests may take once the listener stops. `linger_seconds`: how long the rest of a refused body is
    still read, so that the client sees the answer and not a reset.
    """

    finish_seconds: float
    connections_max: int | None = None
    per_address_max: int = 0
    head_seconds: float = 10.0
    linger_seconds: float = 10.0


def answer_fault(fault: Fault, detail: str) -> web.Response:
    """A plain JSON answer to a fault, for a listener whose owner does not supply a form."""
    return web.json_response({"error": fault.reason, "message": detail}, status=fault.status)


@dataclass(frozen=True, slots=True, kw_only=True)
class ListenerHooks:
    """What the owner of a listener wants to know and say.

    `closed` gets the reason, one of CLOSED, for each connection that the listener closes. `answer` makes the answer to what is no request.
    """

    closed: Callable[[str], None] = lambda _: None
    answer: FaultAnswer = answer_fault


class HttpListener:
    """Owns one listening socket, its connections and the file that names its port. `answers`: an application, or one handler for everything.

    A plain handler is quicker: aiohttp's application layer costs a third of a small request.
    """

    def __init__(
        self, answers: web.Application | Handler, address: ListenAddress, limits: ListenerLimits, hooks: ListenerHooks | None = None
    ) -> None:
        self._answers = answers
        self._address = address
        self._limits = limits
        self._hooks = hooks or ListenerHooks()
        self._log = get_log(__name__)
        self._warnings = RateLimited(SystemClock())
        self._pool = ConnectionPool(
            connections_max=limits.connections_max, per_address_max=limits.per_address_max, closed=self._closed, crashed=self._crashed
        )
        self._port = address.port
        self._runner: web.BaseRunner | None = None
        self._socket: asyncio.Server | None = None
        self._written: Path | None = None

    @property
    def port(self) -> int:
        """The port it listens on; known after `start`, even when 0 was asked for."""
        return self._port

    @property
    def is_listening(self) -> bool:
        """Whether it accepts connections."""
        return self._socket is not None

    @property
    def connections(self) -> int:
        """How many connections there are."""
        return len(self._pool)

    async def start(self) -> None:
        """Bind, then write the port file. Raises CannotListen, and then nothing stays open."""
        try:
            await self._bind()
            await self._write_port()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Accept no more connections, let running requests finish, close all connections. Waits for `finish_seconds` at most.

        The port file goes first. A second call does nothing.
        """
        socket, self._socket = self._socket, None
        if socket is not None:
            socket.close()
        written, self._written = self._written, None
        if written is not None and not self._address.keeps_port_file:
            await asyncio.to_thread(written.unlink, missing_ok=True)
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _bind(self) -> None:
        options = _options(self._limits)
        self._runner = runner = _runner(self._answers, self._limits, options)
        await runner.setup()
        server, loop = runner.server, asyncio.get_running_loop()
        assert server is not None, "the runner is set up"

        def connection() -> asyncio.Protocol:
            return Connection(server, loop=loop, pool=self._pool, answer=self._fault, head_seconds=self._limits.head_seconds, **options)

        host, port = self._address.host, self._address.port
        with _explained(f"cannot listen on {host}:{port}"):
            self._socket = await loop.create_server(connection, host, port, backlog=BACKLOG)
        self._port = self._socket.sockets[0].getsockname()[1]

    async def _write_port(self) -> None:
        path = self._address.port_file
        if path is not None:
            with _explained(f"cannot write the port file {path}"):
                await asyncio.to_thread(write_atomically, path, f"{self._port}\n")
            self._written = path

    def _closed(self, reason: str) -> None:
        self._warnings.warning(self._log, "a connection was closed", key=reason, reason=reason, connections=self.connections)
        self._hooks.closed(reason)

    def _crashed(self, error: BaseException) -> None:
        if self._warnings.admit(type(error).__name__) is not None:
            self._log.failed("a request crashed", error)

    def _fault(self, fault: Fault, detail: str) -> web.Response:
        if fault not in {Fault.SLOW_HEAD, Fault.TOO_MANY_CONNECTIONS, Fault.CRASHED}:  # these are logged in other words
            self._warnings.warning(self._log, "a request could not be read", key=fault.reason, reason=fault.reason, detail=detail)
        return self._hooks.answer(fault, detail)


def _options(limits: ListenerLimits) -> dict[str, Any]:
    return {
        "access_log": None,
        "auto_decompress": False,
        "keepalive_timeout": IDLE_CONNECTION_SECONDS,
        "lingering_time": limits.linger_seconds,
        "max_line_size": LINE_BYTES_MAX,
        "max_field_size": LINE_BYTES_MAX,
    }


def _runner(answers: web.Application | Handler, limits: ListenerLimits, options: dict[str, Any]) -> web.BaseRunner:
    if isinstance(answers, web.Application):
        return web.AppRunner(answers, handle_signals=False, shutdown_timeout=limits.finish_seconds, **options)
    return web.ServerRunner(web.Server(answers, **options), shutdown_timeout=limits.finish_seconds)


@contextmanager
def _explained(what: str) -> Iterator[None]:
    """Raise CannotListen for what the system refuses."""
    try:
        yield
    except (OSError, OverflowError) as error:
        # The event loop's own text repeats the address; the system's is shorter. Failures of name resolution have numbers of their own.
        number = error.errno if isinstance(error, OSError) else None
        reason = os.strerror(number) if number is not None and number in errno.errorcode else str(error)
        raise CannotListen(f"{what}: {reason}") from None
