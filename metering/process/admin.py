"""The admin port of a service: metrics and probes, apart from the port that customers reach."""

import asyncio
from pathlib import Path
from typing import Final

import orjson
from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

from metering.process.health import Health, ProbeAnswer

SHUTDOWN_SECONDS: Final = 1.0
REQUEST_BYTES_MAX: Final = 1024


class AdminServer:
    """Serves GET /metrics, /livez, /readyz and /startupz. Owns its listening socket and the file that names its port."""

    def __init__(self, *, registry: CollectorRegistry, health: Health, host: str, port: int, port_file: Path | None = None) -> None:
        self._registry = registry
        self._health = health
        self._host = host
        self._port = port
        self._port_file = port_file
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port it listens on; known after `start`, also when 0 was asked for."""
        return self._port

    async def start(self) -> None:
        """Listen, then write the port file. Raises OSError when the port is taken or the file cannot be written."""
        app = web.Application(client_max_size=REQUEST_BYTES_MAX)
        app.router.add_get("/metrics", self._metrics)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/startupz", self._startupz)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=SHUTDOWN_SECONDS)
        await runner.setup()
        self._runner = runner
        try:
            await web.TCPSite(runner, self._host, self._port).start()
            self._port = runner.addresses[0][1]
            if self._port_file is not None:
                await asyncio.to_thread(_write_whole, self._port_file, f"{self._port}\n")
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Close the socket and remove the port file. Blocks at most SHUTDOWN_SECONDS for requests in flight."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
            if self._port_file is not None:
                await asyncio.to_thread(self._port_file.unlink, missing_ok=True)

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
    """200 or 503, with every condition and the names of those that fail."""
    failing = [name for name, problem in verdict.conditions.items() if problem is not None]
    conditions = {name: problem or "ok" for name, problem in verdict.conditions.items()}
    body = orjson.dumps({"ok": verdict.ok, "failing": failing, "conditions": conditions})
    headers = {"Content-Type": "application/json", "Cache-Control": "no-store"}
    return web.Response(body=body, status=200 if verdict.ok else 503, headers=headers)


def _write_whole(path: Path, text: str) -> None:
    """A reader that polls for the file never sees half of it."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.write_text(text)
    unfinished.replace(path)
