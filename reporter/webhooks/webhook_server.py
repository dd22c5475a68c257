"""The HTTP side of webhooks: a listener of its own with one address, POST /webhooks/stripe, that the internet may reach."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Final

import orjson
from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError
from taximeter_emitter.clock import Clock

from metering.process.logs import RateLimited, get_log
from metering.process.secrets import Secret
from metering.stripe.signatures import WebhookEvent, WebhookRefused, parse_webhook, verify_signature
from reporter.webhooks.webhook_intake import Admission

PATH: Final = "/webhooks/stripe"
SIGNATURE_HEADER: Final = "Stripe-Signature"
RETRY_SECONDS: Final = 30
STOP_SECONDS: Final = 5.0
_HEAD_BYTES_MAX: Final = 16 * 1024
_IDLE_SECONDS: Final = 75.0  # load balancers keep connections for 60 s

_STATUSES: Final = {
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "slow_body": HTTPStatus.REQUEST_TIMEOUT,
    "not_found": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "failed": HTTPStatus.INTERNAL_SERVER_ERROR,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """Where to listen, and what may come in. `secrets` may grow after the start."""

    host: str
    port: int
    port_file: Path | None
    secrets: Sequence[Secret]
    tolerance_s: int
    body_bytes_max: int
    read_seconds: float
    connections_max: int


class WebhookServer:
    """Verifies, parses and hands over. Owns its listening socket and the file that names its port.

    `receive` decides at once on a genuine event. `count` is told an Admission's value or a refusal's reason, once a request.
    """

    def __init__(self, door: Door, *, receive: Callable[[WebhookEvent], Admission], count: Callable[[str], None], clock: Clock) -> None:
        self._door = door
        self._receive = receive
        self._count = count
        self._clock = clock
        self._log = get_log(__name__)
        self._warnings = RateLimited(clock)
        self._runner: web.AppRunner | None = None
        self._socket: asyncio.Server | None = None
        self._port = door.port

    @property
    def port(self) -> int:
        """The port it listens on; known after `start`, also when 0 was asked for."""
        return self._port

    async def start(self) -> None:
        """Listen, then write the port file. Raises OSError when the port is taken or the file cannot be written."""
        app = web.Application(middlewares=[self._edge], client_max_size=self._door.body_bytes_max)
        app.router.add_post(PATH, self._post)
        self._runner = runner = web.AppRunner(
            app,
            access_log=None,
            handle_signals=False,
            auto_decompress=False,
            keepalive_timeout=_IDLE_SECONDS,
            max_line_size=_HEAD_BYTES_MAX,
            max_field_size=_HEAD_BYTES_MAX,
            shutdown_timeout=STOP_SECONDS,
        )
        await runner.setup()
        server = runner.server
        assert server is not None, "the runner is set up"

        def protocol() -> asyncio.Protocol:
            return server() if len(server.connections) < self._door.connections_max else _Full()

        try:
            self._socket = await asyncio.get_running_loop().create_server(protocol, self._door.host, self._door.port)
            self._port = self._socket.sockets[0].getsockname()[1]
            if self._door.port_file is not None:
                await asyncio.to_thread(_write_whole, self._door.port_file, f"{self._port}\n")
        except OSError:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Take no more, and remove the port file. Blocks at most STOP_SECONDS for requests in flight."""
        listening, self._socket = self._socket, None
        if listening is not None:
            listening.close()
            if self._door.port_file is not None:
                await asyncio.to_thread(self._door.port_file.unlink, missing_ok=True)
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    @web.middleware
    async def _edge(self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        try:
            return await handler(request)
        except WebhookRefused as refusal:
            return self._refuse(refusal)
        except web.HTTPException as error:
            # The router's: there is nothing else here that raises them.
            reason = "method_not_allowed" if error.status == HTTPStatus.METHOD_NOT_ALLOWED else "not_found"
            response = self._refuse(WebhookRefused(reason, f"POST {PATH} is what there is"))
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response
        except Exception as error:  # Stripe must hear of it, because then it sends the event again
            if self._warnings.admit(type(error).__name__) is not None:
                self._log.failed("webhook request crashed", error)
            return self._refuse(WebhookRefused("failed", "the event was not taken; send it again"))

    async def _post(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        header = ",".join(request.headers.getall(SIGNATURE_HEADER, ()))
        verify_signature(body, header, self._door.secrets, self._clock.now_ms() // 1000, self._door.tolerance_s)
        admission = self._receive(parse_webhook(body))
        self._count(admission.value)
        if admission is Admission.QUEUE_FULL:
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": admission.value}, {"Retry-After": str(RETRY_SECONDS)})
        return _answer(HTTPStatus.OK, {"received": True, "outcome": admission.value})

    async def _body(self, request: web.Request) -> bytes:
        """The raw body, whose bytes are signed."""
        limit = self._door.body_bytes_max
        if (request.content_length or 0) > limit:
            raise WebhookRefused("too_large", f"a body has at most {limit} bytes")
        body = bytearray()
        try:
            async with asyncio.timeout(self._door.read_seconds):
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > limit:
                        raise WebhookRefused("too_large", f"a body has at most {limit} bytes")
        except TimeoutError:
            raise WebhookRefused("slow_body", f"the body did not arrive within {math.ceil(self._door.read_seconds)} s") from None
        except (ConnectionError, PayloadEncodingError, web.RequestPayloadError) as error:
            raise WebhookRefused("broken_body", f"the body broke off: {type(error).__name__}") from None
        return bytes(body)

    def _refuse(self, refusal: WebhookRefused) -> web.Response:
        self._count(refusal.reason)
        self._warnings.warning(self._log, "a webhook request was refused", key=refusal.reason, reason=refusal.reason, detail=str(refusal))
        response = _answer(_STATUSES.get(refusal.reason, HTTPStatus.BAD_REQUEST), {"error": refusal.reason, "message": str(refusal)})
        if refusal.reason in {"too_large", "slow_body", "broken_body"}:
            # What is left of the body must not be taken for the next request.
            response.force_close()
        return response


class _Full(asyncio.Protocol):
    """Turns a connection away at once: there are as many as there may be."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()


def _answer(status: HTTPStatus, document: object, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json", headers=headers)


def _write_whole(path: Path, text: str) -> None:
    """A reader that polls for the file never sees half of it."""
    unfinished = path.with_name(f"{path.name}.new")
    unfinished.write_text(text)
    unfinished.replace(path)
