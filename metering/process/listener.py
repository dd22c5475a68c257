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
from taximeter_emitter.wire.errors import TaximeterError

from metering.process.atomic_files import write_atomically

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

    `connections_max`: further connections are closed at once; None takes any number. `finish_seconds`: how long running requests may take
    once the listener stops. `linger_seconds`: how long the rest of a refused body is still read, so that the client sees the answer and
    not a reset.
    """

    finish_seconds: float
    connections_max: int | None = None
    linger_seconds: float = 10.0


class HttpListener:
    """Owns one listening socket, its connections and the file that names its port. `answers`: an application, or one handler for everything.

    A plain handler is quicker: aiohttp's application layer costs a third of a small request.
    """

    def __init__(self, answers: web.Application | Handler, address: ListenAddress, limits: ListenerLimits) -> None:
        self._answers = answers
        self._address = address
        self._limits = limits
        self._port = address.port
        self._runner: web.BaseRunner | None = None
        self._socket: asyncio.Server | None = None
        self._written: Path | None = None

    @property
    def port(self) -> int:
        """The port it listens on; known after `start`, also when 0 was asked for."""
        return self._port

    @property
    def is_listening(self) -> bool:
        """Whether it accepts connections."""
        return self._socket is not None

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
        self._runner = runner = _runner(self._answers, self._limits)
        await runner.setup()
        server, connections_max = runner.server, self._limits.connections_max
        assert server is not None, "the runner is set up"

        def connection() -> asyncio.Protocol:
            is_full = connections_max is not None and len(server.connections) >= connections_max
            return _OneTooMany() if is_full else server()

        host, port = self._address.host, self._address.port
        with _explained(f"cannot listen on {host}:{port}"):
            self._socket = await asyncio.get_running_loop().create_server(connection, host, port, backlog=BACKLOG)
        self._port = self._socket.sockets[0].getsockname()[1]

    async def _write_port(self) -> None:
        path = self._address.port_file
        if path is not None:
            with _explained(f"cannot write the port file {path}"):
                await asyncio.to_thread(write_atomically, path, f"{self._port}\n")
            self._written = path


class _OneTooMany(asyncio.Protocol):
    """Closes a connection at once."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _runner(answers: web.Application | Handler, limits: ListenerLimits) -> web.BaseRunner:
    options: dict[str, Any] = {
        "access_log": None,
        "auto_decompress": False,
        "keepalive_timeout": IDLE_CONNECTION_SECONDS,
        "lingering_time": limits.linger_seconds,
        "max_line_size": LINE_BYTES_MAX,
        "max_field_size": LINE_BYTES_MAX,
    }
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
