"""Connections that misbehave, with real sockets: none shuts others out, each is bounded, counted and answered in one form."""

import asyncio
import logging
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import orjson
import pytest
from aiohttp import web

from metering.process.connections import HEAD_BYTES_MAX, SERVER, Connection, ConnectionPool, address_key
from metering.process.listener import HttpListener, ListenAddress, ListenerHooks, ListenerLimits
from tests.support.waiting import until_async

HOST = "127.0.0.1"
SOON = 30.0
GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
HALF = b"GET / HTTP/1.1\r\nHost: x\r\nX-Half: "

Peer = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Subject:
    """A listener that answers at once, except to /slow, and what it counted."""

    def __init__(self, **limits: float) -> None:
        self.closed: Counter[str] = Counter()
        self.entered = 0
        self.leave = asyncio.Event()
        chosen = ListenerLimits(**{"finish_seconds": 5.0, "head_seconds": 20.0, "linger_seconds": 0.2, **limits})  # type: ignore[arg-type] # the tests' own
        hooks = ListenerHooks(closed=lambda reason: self.closed.update([reason]))
        self.listener = HttpListener(self._answer, ListenAddress(host=HOST, port=0), chosen, hooks)

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        if request.path == "/slow":
            self.entered += 1
            await self.leave.wait()
        if request.path == "/large":
            return web.Response(body=b"x" * 10_000_000)
        if request.path == "/body":
            with suppress(web.RequestPayloadError, ConnectionError):
                await request.read()
        if request.path == "/crash":
            raise ValueError("a secret of the handler")
        return web.Response(text="hello")


@asynccontextmanager
async def subject(**limits: float) -> AsyncIterator[Subject]:
    made = Subject(**limits)
    await made.listener.start()
    try:
        yield made
    finally:
        made.leave.set()
        await made.listener.stop()
        assert made.listener.connections == 0


@asynccontextmanager
async def peer(made: Subject) -> AsyncIterator[Peer]:
    reader, writer = await asyncio.open_connection(HOST, made.listener.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def peers(made: Subject, count: int) -> list[Peer]:
    return [await asyncio.open_connection(HOST, made.listener.port) for _ in range(count)]


async def let_go(others: list[Peer]) -> None:
    for _, writer in others:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def answer(connection: Peer, request: bytes = GET) -> tuple[int, dict[str, str], bytes]:
    reader, writer = connection
    writer.write(request)
    async with asyncio.timeout(SOON):
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        assert first.startswith("HTTP/1.1 ")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        return int(first.split()[1]), headers, await reader.readexactly(int(headers["content-length"]))


async def rest(connection: Peer) -> bytes:
    """Everything until the other side closes."""
    received = b""
    async with asyncio.timeout(SOON):
        with suppress(ConnectionError):
            while chunk := await connection[0].read(65_536):
                received += chunk
    return received


async def received_by(wire: socket.socket) -> bytes:
    """Everything until the other side closes, also what came before a reset."""
    received = b""
    async with asyncio.timeout(SOON):
        with suppress(ConnectionError):
            while chunk := await asyncio.get_running_loop().sock_recv(wire, 65_536):
                received += chunk
    return received


async def test_a_thousand_half_heads_shut_nobody_out() -> None:
    async with subject(connections_max=1_000) as made:
        half = await peers(made, 1_000)
        for _, writer in half:
            writer.write(HALF)
        await until_async(lambda: made.listener.connections == 1_000)
        for _ in range(20):
            async with peer(made) as good:
                assert (await answer(good))[0] == 200
        assert made.listener.connections <= 1_000
        assert made.closed["made_way"] >= 1
        # The oldest went.
        assert await rest(half[0]) == b""
        await let_go(half)


async def test_a_head_that_does_not_come_is_given_up_and_bytes_do_not_prolong_it() -> None:
    loop = asyncio.get_running_loop()
    # Not a stream: that forgets what it has received when it cannot send any more.
    with socket.socket() as drip:
        drip.setblocking(False)
        async with subject(head_seconds=0.4) as made, peer(made) as silent:
            await loop.sock_connect(drip, (HOST, made.listener.port))

            async def dripping() -> None:
                for byte in HALF * 100:
                    with suppress(OSError):
                        drip.send(bytes([byte]))
                    await asyncio.sleep(0.02)

            task = asyncio.create_task(dripping())
            received = await received_by(drip)
            assert received.startswith(b"HTTP/1.1 408 ")
            assert b"\r\nConnection: close\r\n" in received
            assert orjson.loads(received.partition(b"\r\n\r\n")[2])["error"] == "slow_head"
            # Nothing was asked, so nothing is answered.
            assert await rest(silent) == b""
            assert not task.done(), "it was given up while bytes still came"
            assert made.closed == {"slow_head": 2}
            task.cancel()


async def test_a_used_connection_may_be_idle_but_its_next_head_may_not_be_slow() -> None:
    # Long enough that the first heads arrive on a busy machine, too.
    async with subject(head_seconds=1.5) as made, peer(made) as idle, peer(made) as slow:
        assert (await answer(idle))[0] == (await answer(slow))[0] == 200
        slow[1].write(HALF)
        assert (await rest(slow)).startswith(b"HTTP/1.1 408 ")
        assert (await answer(idle))[0] == 200
        assert made.closed == {"slow_head": 1}


async def test_idle_connections_make_way_in_the_order_in_which_they_began_to_wait() -> None:
    async with subject(connections_max=3) as made, peer(made) as first, peer(made) as second, peer(made) as third:
        for each in (second, third, first):
            assert (await answer(each))[0] == 200
        async with peer(made) as new:
            assert (await answer(new))[0] == 200
            assert await rest(second) == b""
            assert (await answer(third))[0] == (await answer(first))[0] == 200
        assert made.closed == {"made_way": 1}


async def test_a_request_in_flight_is_never_closed_for_another_and_the_new_one_learns_why() -> None:
    async with subject(connections_max=2) as made, peer(made) as one, peer(made) as two:
        running = [asyncio.create_task(answer(each, GET.replace(b"/ ", b"/slow "))) for each in (one, two)]
        await until_async(lambda: made.entered == 2)
        async with peer(made) as new:
            received = await rest(new)
        assert received.startswith(b"HTTP/1.1 503 ")
        assert orjson.loads(received.partition(b"\r\n\r\n")[2])["error"] == "too_many_connections"
        assert made.closed == {"refused": 1}
        made.leave.set()
        assert [(await each)[0] for each in running] == [200, 200]


async def test_bodies_that_do_not_come_make_way_too() -> None:
    async with subject(connections_max=3) as made:
        slow = await peers(made, 3)
        for _, writer in slow:
            writer.write(b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{")
        await until_async(lambda: made.listener.connections == 3)
        await asyncio.sleep(0.1)
        async with peer(made) as good:
            assert (await answer(good))[0] == 200
        assert made.closed == {"made_way": 1}
        await let_go(slow)


async def test_one_address_takes_its_own_places_only() -> None:
    async with subject(connections_max=100, per_address_max=2) as made, peer(made) as first, peer(made) as second:
        for each in (first, second):
            assert (await answer(each))[0] == 200
        async with peer(made) as third:
            assert (await answer(third))[0] == 200
            assert await rest(first) == b""
            assert made.closed == {"address_made_way": 1}
            running = [asyncio.create_task(answer(each, GET.replace(b"/ ", b"/slow "))) for each in (second, third)]
            await until_async(lambda: made.entered == 2)
            async with peer(made) as fourth:
                assert (await rest(fourth)).startswith(b"HTTP/1.1 503 ")
            assert made.closed["address_refused"] == 1
            made.leave.set()
            await asyncio.gather(*running)


async def test_a_client_that_reads_nothing_is_cut_off() -> None:
    async with subject(head_seconds=0.3) as made:
        raw = socket.create_connection((HOST, made.listener.port))
        raw.sendall(GET.replace(b"/ ", b"/large ") * 2)
        await until_async(lambda: made.closed["slow_reader"] == 1)
        await until_async(lambda: made.listener.connections == 0)
        raw.close()


@pytest.mark.parametrize("ending", ["half-closed", "reset"])
async def test_half_closed_and_reset_connections_leave_nothing(ending: str) -> None:
    async with subject(connections_max=50) as made:
        for payload in (b"", HALF, GET, b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n{"):
            raw = socket.create_connection((HOST, made.listener.port))
            raw.sendall(payload)
            await asyncio.sleep(0.02)
            if ending == "reset":
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                raw.close()
            else:
                raw.shutdown(socket.SHUT_WR)
            await until_async(lambda: made.listener.connections == 0)
            raw.close()
        assert made.closed == {}


async def test_pipelined_requests_are_answered_in_order_and_garbage_after_them_by_name() -> None:
    async with subject() as made, peer(made) as client:
        client[1].write(GET * 50 + b"\x00garbage\r\n\r\n" + GET * 50)
        received = await rest(client)
        assert received.count(b"HTTP/1.1 200 OK") <= 50
        assert received.count(b"HTTP/1.1 400 ") == 1
        assert received.endswith(b"}")
    async with subject() as made, peer(made) as client:
        client[1].write(GET * 200)
        for _ in range(200):
            assert (await answer(client, b""))[0] == 200


POST = b"POST / HTTP/1.1\r\nHost: x\r\n"
BROKEN = [
    (b"garbage\r\n\r\n", 400, "malformed_head"),
    (b"\x00" * 50 + b"\r\n\r\n", 400, "malformed_head"),
    (b"GET / HTTP/1.1\nHost: x\n\n", 400, "malformed_head"),
    (b"GET http://[ HTTP/1.1\r\nHost: x\r\n\r\n", 400, "malformed_head"),
    (b"GET / HTTP/1.1\r\n\r\n", 400, "malformed_head"),
    (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "tls_on_plain_port"),
    (b"GET /\r\n\r\n", 505, "unsupported_http_version"),
    (b"GET / HTTP/0.9\r\n\r\n", 505, "unsupported_http_version"),
    (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505, "unsupported_http_version"),
    (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "unsupported_http_version"),
    (GET[:-2] + b"X: " + b"a" * 20_000 + b"\r\n\r\n", 431, "head_too_large"),
    (b"GET /" + b"a" * 20_000 + b" HTTP/1.1\r\n\r\n", 431, "head_too_large"),
    (GET[:-2] + b"".join(b"X%d: 1\r\n" % number for number in range(200)) + b"\r\n", 431, "head_too_large"),
    (POST + b"Content-Length: abc\r\n\r\n", 400, "malformed_head"),
    (POST + b"Content-Length: -1\r\n\r\n", 400, "malformed_head"),
    (POST + b"Content-Length: 1\r\nContent-Length: 2\r\n\r\na", 400, "malformed_head"),
    (POST + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "malformed_head"),
    (POST + b"Transfer-Encoding: foo\r\n\r\n", 400, "malformed_head"),
    (POST + b"Bad Header: 1\r\n\r\n", 400, "malformed_head"),
    (POST + b"X: a\x00b\r\n\r\n", 400, "malformed_head"),
    (POST + b"Transfer-Encoding: chunked\r\n\r\nzzz\r\nabc", 400, "broken_body"),
    (POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcX", 400, "broken_body"),
]


@pytest.mark.parametrize(("sent", "status", "reason"), BROKEN, ids=[repr(sent[:40]) for sent, _, _ in BROKEN])
async def test_what_is_not_http_gets_a_json_answer_and_one_line_in_the_log(
    sent: bytes, status: int, reason: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with subject() as made:
        for _ in range(5):
            async with peer(made) as client:
                got, headers, body = await answer(client, sent)
                assert (got, orjson.loads(body)["error"]) == (status, reason)
                assert headers["connection"] == "close"
                assert headers["server"] == SERVER
                assert headers["content-type"].startswith("application/json")
                assert await rest(client) == b""
    assert len(caplog.records) == 1
    assert caplog.records[0].exc_info is None
    assert "Traceback" not in caplog.text


async def test_a_head_of_many_short_headers_is_bounded_in_bytes() -> None:
    async with subject() as made, peer(made) as client:
        received = b""
        with suppress(ConnectionError):
            client[1].write(POST)
            for number in range(100):
                client[1].write(b"X%d: " % number + b"a" * 1_000 + b"\r\n")
                await client[1].drain()
                await asyncio.sleep(0.005)
            received = await rest(client)
        assert HEAD_BYTES_MAX < 100_000
        assert received == b"" or received.startswith(b"HTTP/1.1 431 ")
        assert made.listener.connections == 0


async def test_a_handler_that_crashes_is_logged_once_and_tells_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async with subject() as made:
        for _ in range(5):
            async with peer(made) as client:
                status, _, body = await answer(client, GET.replace(b"/ ", b"/crash "))
                assert (status, orjson.loads(body)["error"]) == (500, "internal_error")
                assert b"secret" not in body
    assert [record.levelno for record in caplog.records] == [logging.ERROR]


def test_addresses_that_one_subscriber_has_are_one() -> None:
    assert address_key("2001:db8:1:2:3:4:5:6") == address_key("2001:db8:1:2::1") != address_key("2001:db8:1:3::1")
    assert address_key("::ffff:192.0.2.1") == address_key("192.0.2.1") != address_key("192.0.2.2")
    assert address_key("fe80::1%eth0") == address_key("fe80::2")
    assert address_key("name") == "name"


class _Still:
    """A connection of which the pool needs no more than this."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.has_whole_request = True
        self.was_shut = False

    def shut(self) -> None:
        self.was_shut = True


def test_the_pool_forgets_what_leaves() -> None:
    closed: Counter[str] = Counter()
    pool = ConnectionPool(connections_max=4, per_address_max=2, closed=lambda reason: closed.update([reason]), crashed=lambda _: None)
    made: list[Connection] = [_Still(address) for address in "aabbcc"]  # type: ignore[misc] # see _Still
    assert all(pool.admit(each) for each in made[:4])
    for each in made[:3]:
        pool.busy(each)
    assert pool.admit(made[4])  # in the place of the only one that waits
    pool.busy(made[4])
    assert not pool.admit(made[5])
    for each in made:
        pool.remove(each)
    assert len(pool) == 0
    assert pool._by_address == {}
    assert closed == {"made_way": 1, "refused": 1}
