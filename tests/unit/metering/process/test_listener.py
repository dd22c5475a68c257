"""The listener with real sockets: what it binds, what it bounds, and the order in which it closes."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from aiohttp import web

from metering.process.listener import LINE_BYTES_MAX, CannotListen, Handler, HttpListener, ListenAddress, ListenerLimits

HOST = "127.0.0.1"
SOON = 60.0
ANYWHERE = ListenAddress(host=HOST, port=0)
LIMITS = ListenerLimits(finish_seconds=SOON)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def hello(_: web.BaseRequest) -> web.Response:
    return web.Response(text="hello")


@asynccontextmanager
async def listening(
    answers: web.Application | Handler = hello, *, address: ListenAddress = ANYWHERE, limits: ListenerLimits = LIMITS
) -> AsyncIterator[HttpListener]:
    listener = HttpListener(answers, address, limits)
    await listener.start()
    try:
        yield listener
    finally:
        await listener.stop()


@asynccontextmanager
async def connected(listener: HttpListener) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection(HOST, listener.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def get(connection: Connection, header: str = "x") -> tuple[bytes, bytes]:
    """The status line and the body of one answer."""
    reader, writer = connection
    writer.write(f"GET / HTTP/1.1\r\nHost: {HOST}\r\nX-Header: {header}\r\n\r\n".encode())
    async with asyncio.timeout(SOON):
        head = await reader.readuntil(b"\r\n\r\n")
        [length] = [line.partition(b":")[2] for line in head.lower().splitlines() if line.startswith(b"content-length")]
        return head.partition(b"\r\n")[0], await reader.readexactly(int(length))


async def is_closed(connection: Connection) -> bool:
    async with asyncio.timeout(SOON):
        with suppress(ConnectionError):
            return not await connection[0].read()
    return True


async def test_a_plain_handler_and_an_application_are_served() -> None:
    application = web.Application()
    application.router.add_get("/", hello)
    for answers in (hello, application):
        async with listening(answers) as listener, connected(listener) as connection:
            assert await get(connection) == (b"HTTP/1.1 200 OK", b"hello")


@pytest.mark.parametrize("keeps", [False, True])
async def test_the_port_file_is_written_once_the_port_is_bound(tmp_path: Path, keeps: bool) -> None:
    path = tmp_path / "port"
    async with listening(address=ListenAddress(host=HOST, port=0, port_file=path, keeps_port_file=keeps)) as listener:
        assert path.read_text() == f"{listener.port}\n"
        assert not tmp_path.joinpath("port.new").exists()
        async with connected(listener) as connection:
            assert await get(connection) == (b"HTTP/1.1 200 OK", b"hello")
    assert path.exists() == keeps


async def test_a_header_of_the_largest_size_is_taken_and_a_larger_one_is_not() -> None:
    async with listening() as listener:
        async with connected(listener) as connection:
            assert (await get(connection, "x" * (LINE_BYTES_MAX - 100)))[0] == b"HTTP/1.1 200 OK"
        async with connected(listener) as connection:
            assert (await get(connection, "x" * (LINE_BYTES_MAX + 1)))[0] == b"HTTP/1.1 431 Request Header Fields Too Large"


async def test_stopping_lets_a_running_request_finish_and_closes_idle_connections() -> None:
    entered, leave = asyncio.Event(), asyncio.Event()

    async def slow(_: web.BaseRequest) -> web.Response:
        entered.set()
        await leave.wait()
        return web.Response(text="finished")

    answers = web.Application()
    answers.router.add_get("/", slow)
    async with listening(answers) as listener, connected(listener) as idle, connected(listener) as busy:
        running = asyncio.create_task(get(busy))
        await entered.wait()
        stopping = asyncio.create_task(listener.stop())
        assert await is_closed(idle)
        with pytest.raises(ConnectionRefusedError):
            await asyncio.open_connection(HOST, listener.port)
        assert not stopping.done()
        leave.set()
        assert await running == (b"HTTP/1.1 200 OK", b"finished")
        await stopping
        assert await is_closed(busy)


async def test_a_request_that_does_not_finish_in_time_is_cut_off() -> None:
    entered = asyncio.Event()

    async def endless(_: web.BaseRequest) -> web.Response:
        entered.set()
        await asyncio.Event().wait()
        raise AssertionError("it was cancelled")

    async with listening(endless, limits=ListenerLimits(finish_seconds=0.1)) as listener, connected(listener) as connection:
        connection[1].write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await entered.wait()
        async with asyncio.timeout(SOON):
            await listener.stop()
        assert await is_closed(connection)


async def test_a_taken_port_is_named_and_the_port_file_of_its_owner_stays(tmp_path: Path) -> None:
    path = tmp_path / "port"
    async with listening(address=ListenAddress(host=HOST, port=0, port_file=path)) as first:
        second = HttpListener(hello, ListenAddress(host=HOST, port=first.port, port_file=path), LIMITS)
        with pytest.raises(CannotListen, match=f"^cannot listen on {HOST}:{first.port}: Address already in use$"):
            await second.start()
        assert path.exists()


async def test_an_impossible_port_is_an_error_with_words() -> None:
    with pytest.raises(CannotListen, match=f"^cannot listen on {HOST}:70000: "):
        await HttpListener(hello, ListenAddress(host=HOST, port=70_000), LIMITS).start()


async def test_a_port_file_that_cannot_be_written_leaves_nothing_open(tmp_path: Path) -> None:
    path = tmp_path / "no" / "port"
    listener = HttpListener(hello, ListenAddress(host=HOST, port=0, port_file=path), LIMITS)
    with pytest.raises(CannotListen, match=f"^cannot write the port file {path}: {os.strerror(2)}$"):
        await listener.start()
    with pytest.raises(ConnectionRefusedError), socket.create_connection((HOST, listener.port)):
        pass
