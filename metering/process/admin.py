"""The admin port of a service: metrics and probes, apart from the port that customers reach."""

from typing import Final

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from metering.process.health import Health, ProbeAnswer
from metering.process.listener import HttpListener, ListenAddress, ListenerLimits

ADMIN_STOP_SECONDS: Final = 1.0
REQUEST_BYTES_MAX: Final = 1024


class AdminServer:
    """Serves GET /metrics, /livez, /readyz and /startupz."""

    def __init__(self, address: ListenAddress, *, registry: CollectorRegistry, health: Health) -> None:
        self._registry = registry
        self._health = health
        app = web.Application(client_max_size=REQUEST_BYTES_MAX)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/startupz", self._startupz)
        self._listener = HttpListener(app, address, ListenerLimits(finish_seconds=ADMIN_STOP_SECONDS))

    @property
    def port(self) -> int:
        """The port it listens on; known after `start`, even when 0 was asked for."""
        return self._listener.port

    async def start(self) -> None:
        """Listen, then write the port file. Raises CannotListen."""
        await self._listener.start()

    async def stop(self) -> None:
        """Close the port. Blocks at most ADMIN_STOP_SECONDS for requests that are being answered."""
        await self._listener.stop()

    async def _metrics(self, request: web.Request) -> web.Response:
        encode, content_type = choose_encoder(request.headers.get("Accept", ""))
        return web.Response(body=encode(self._registry), headers={"Content-Type": content_type})

    async def _livez(self, _: web.Request) -> web.Response:
        return _answer(self._health.liveness())

    async def _readyz(self, _: web.Request) -> web.Response:
        return _answer(self._health.readiness())

    async def _startupz(self, _: web.Request) -> web.Response:
        return _answer(self._health.startup())


def _answer(verdict: ProbeAnswer) -> web.Response:
    """200 or 503, with every condition, the names of those that fail, and what is mentioned besides."""
    failing = [name for name, problem in verdict.conditions.items() if problem is not None]
    conditions = {name: problem or "ok" for name, problem in verdict.conditions.items()}
    said = {"ok": verdict.ok, "failing": failing, "conditions": conditions} | ({"mentions": verdict.mentions} if verdict.mentions else {})
    body = orjson.dumps(said)
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return web.Response(body=body, status=200 if verdict.ok else 503, headers=headers)
