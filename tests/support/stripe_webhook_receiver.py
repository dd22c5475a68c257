"""A webhook receiver: a real HTTP server that keeps what it gets and gives scripted answers."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web

PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    body: bytes
    signature: str
    headers: dict[str, str]

    @property
    def document(self) -> dict[str, Any]:
        parsed: dict[str, Any] = orjson.loads(self.body)
        return parsed


@dataclass(slots=True)
class Receiver:
    """`answer` gives the status for each request; None is silence until the other side gives up."""

    url: str = ""
    answer: Callable[[Received], int | None] = lambda _: 200
    received: list[Received] = field(default_factory=list)

    async def handle(self, request: web.Request) -> web.Response:
        received = Received(await request.read(), request.headers.get("Stripe-Signature", ""), dict(request.headers))
        self.received.append(received)
        status = self.answer(received)
        if status is None:
            await asyncio.Event().wait()
        return web.Response(status=status or 500, headers={"Location": self.url} if status == 302 else {})

    def of(self, kind: str) -> list[Received]:
        """What arrived of one type of event, in order."""
        return [one for one in self.received if one.document["type"] == kind]

    async def until(self, reached: Callable[[], bool]) -> None:
        """Wait for a condition."""
        deadline = time.monotonic() + PATIENCE_S
        while not reached():
            assert time.monotonic() < deadline, f"not reached; got {[one.document['type'] for one in self.received]}"
            await asyncio.sleep(0.02)


@asynccontextmanager
async def receiving(port: int = 0) -> AsyncIterator[Receiver]:
    """A receiver on this machine; port 0 takes a free one."""
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/webhook", receiver.handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        receiver.url = f"http://127.0.0.1:{runner.addresses[0][1]}/webhook"
        yield receiver
    finally:
        await runner.cleanup()
