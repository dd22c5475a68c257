"""A server that answers what a test says, byte for byte, and keeps what it was sent."""

import asyncio
import gzip
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

ABOUT = {"partitions": 4, "batches_max": 64, "body_bytes_max": 1_000_000}


@dataclass(frozen=True, slots=True)
class SentRequest:
    """A request as it came; `batches` are the lines of its body, decompressed."""

    line: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def batches(self) -> list[bytes]:
        return (gzip.decompress(self.body) if self.headers.get("content-encoding") == "gzip" else self.body).split(b"\n")


def answer(status: int, document: Any = None, *, body: bytes | None = None, **headers: str) -> bytes:
    """The bytes of an answer with Content-Length."""
    raw = orjson.dumps(document) if body is None else body
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(raw)}", *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode() + raw


def taken(request: SentRequest, *results: Mapping[str, Any], status: int = 202, **more: Any) -> bytes:
    """All batches of the request were taken, but for those of `results`."""
    count = len(request.batches)
    return answer(status, {"accepted": count - len(results), "rejected": 0, "unknown": 0, "results": list(results), "partitions": 4, **more})


def result(index: int, status: str, reason: str) -> dict[str, Any]:
    return {"index": index, "id": None, "status": status, "reason": reason, "field": "", "detail": "why"}


@dataclass(slots=True)
class ScriptedGateway:
    """`post` makes the answer to a POST; None closes the connection instead, and `closes` after it. `about` is the answer to a GET."""

    url: str = ""
    post: Callable[[SentRequest], bytes | None] = taken
    about: bytes = answer(200, ABOUT)
    delay_seconds: float = 0.0
    closes: bool = False
    requests: list[SentRequest] = field(default_factory=list)
    connections: int = 0

    @property
    def posted(self) -> list[SentRequest]:
        return [request for request in self.requests if request.line.startswith("POST")]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                line, *rest = head.split("\r\n")
                headers = {name.lower(): value for name, _, value in (entry.partition(": ") for entry in rest if entry)}
                body = await reader.readexactly(int(headers.get("content-length", "0")))
                request = SentRequest(line, headers, body)
                self.requests.append(request)
                if line.startswith("CONNECT"):
                    said: bytes | None = b"HTTP/1.1 200 Connection established\r\n\r\n"
                elif line.startswith("POST"):
                    await asyncio.sleep(self.delay_seconds)
                    said = self.post(request)
                else:
                    said = self.about
                if said is None:
                    return
                writer.write(said)
                await writer.drain()
                if self.closes and line.startswith("POST"):
                    return
        except (asyncio.IncompleteReadError, ConnectionError, asyncio.CancelledError):
            return
        finally:
            writer.close()


@asynccontextmanager
async def scripted_gateway(**options: Any) -> AsyncIterator[ScriptedGateway]:
    """Serve on a free port; `ssl`: a context for TLS."""
    context = options.pop("ssl", None)
    gateway = ScriptedGateway(**options)
    server = await asyncio.start_server(gateway.serve, "127.0.0.1", 0, ssl=context)
    gateway.url = f"{'https' if context else 'http'}://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield gateway
    finally:
        server.close()
