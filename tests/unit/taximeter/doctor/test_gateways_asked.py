"""What gateways answer at their admin ports, over sockets: ready, not ready, something else, slowly, or not at all."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from taximeter.doctor import gateways_asked
from taximeter.doctor.doctor_facts import GatewaySeen
from taximeter.doctor.gateways_asked import ask_gateways


@asynccontextmanager
async def answering(answer: bytes | None) -> AsyncIterator[str]:
    """A server that says this to everybody; None: nothing, ever."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        if answer is not None:
            writer.write(answer)
        else:
            await reader.read()
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


def http(status: str, body: bytes) -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode() + body


READY = b'{"ok":true,"failing":[],"conditions":{"kafka":"ok"}}'
FULL = b'{"ok":false,"failing":["kafka","room"],"conditions":{"kafka":"nothing for 9 s","room":"full"}}'


async def test_each_is_told_from_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateways_asked, "READYZ_SECONDS_MAX", 0.5)
    async with (
        answering(http("200 OK", READY)) as ready,
        answering(http("503 Full", FULL)) as full,
        answering(http("200 OK", b"<html>")) as other,
        answering(b"SSH-2.0-OpenSSH\r\n") as no_http,
        answering(None) as silent,
    ):
        found = await ask_gateways([ready, f"{full}/", other, no_http, silent, "http://127.0.0.1:9", "no address"])
    assert found[0] == GatewaySeen(ready)
    assert found[1] == GatewaySeen(f"{full}/", "kafka: nothing for 9 s; room: full")
    assert "is it the admin port?" in found[2].problem
    assert found[4].problem == "no answer within 0.5 s"
    assert [each.answers for each in found] == [True, True, False, False, False, False, False]
    assert all(each.problem for each in found[1:])


async def test_none_are_asked_where_none_are_named() -> None:
    assert await ask_gateways([]) == []
