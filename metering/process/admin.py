"""The admin port of a service: metrics and probes, apart from the port that customers reach."""

from typing import Final

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from metering.process.health import Health, ProbeAnswer
from metering.process.listener import HttpListener, ListenAddress, ListenerLimits
from metering.process.status_page import StatusPage

ADMIN_STOP_SECONDS: Final = 1.0
REQUEST_BYTES_MAX: Final = 1024
_JSON_HEADERS: Final = {"Content-Type": "application/json", "Cache-Control": "no-store"}


class AdminServer:
    """Serves GET /metrics, /livez, /readyz, /startupz and /status."""

    def __init__(self, address: ListenAddress, *, registry: CollectorRegistry, health: Health, status: StatusPage) -> None:
        self._registry = registry
        self._health = health
        self._status = status
        app = web.Application(client_max_size=REQUEST_BYTES_MAX)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/startupz", self._startupz)
        app.router.add_get("/status", self._status_page)
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

    async def _status_page(self, _: web.Request) -> web.Response:
        return web.Response(body=orjson.dumps(self._status.as_json()), headers=_JSON_HEADERS)


def _answer(verdict: ProbeAnswer) -> web.Response:
    """200 or 503, with every condition, the names of those that fail, and what is mentioned besides."""
    failing = [name for name, problem in verdict.conditions.items() if problem is not None]
    conditions = {name: problem or "ok" for name, problem in verdict.conditions.items()}
    said = {"ok": verdict.ok, "failing": failing, "conditions": conditions} | ({"mentions": verdict.mentions} if verdict.mentions else {})
    body = orjson.dumps(said)
    return web.Response(body=body, status=200 if verdict.ok else 503, headers=_JSON_HEADERS)
