"""The HTTP side of webhooks: a port of its own, which the internet may reach and which takes POST /webhooks/stripe only."""

import asyncio
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import orjson
from aiohttp import web
from aiohttp.http_exceptions import PayloadEncodingError
from taximeter_emitter.clock import Clock

from metering.configuration.secrets import Secret
from metering.process.connections import Fault
from metering.process.listener import HttpListener, ListenAddress, ListenerHooks, ListenerLimits
from metering.process.logs import RateLimited, get_log
from metering.stripe.signatures import WebhookEvent, WebhookRefused, parse_webhook, verify_signature
from reporter.webhooks.webhook_intake import IntakeVerdict

WEBHOOKS_PATH: Final = "/webhooks/stripe"
SIGNATURE_HEADER: Final = "Stripe-Signature"
RETRY_SECONDS: Final = 30
WEBHOOK_STOP_SECONDS: Final = 5.0

_STATUSES: Final = {
    "too_large": HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    "slow_body": HTTPStatus.REQUEST_TIMEOUT,
    "not_found": HTTPStatus.NOT_FOUND,
    "method_not_allowed": HTTPStatus.METHOD_NOT_ALLOWED,
    "failed": HTTPStatus.INTERNAL_SERVER_ERROR,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookRules:
    """What the endpoint takes. `secrets` may grow after the start."""

    secrets: Sequence[Secret]
    tolerance_s: int
    body_bytes_max: int
    read_seconds: float
    connections_max: int
    per_address_max: int = 0


class WebhookServer:
    """Verifies and parses events, and hands them over.

    `receive` decides at once on a genuine event. `count` gets the value of its verdict, or the reason of a refusal, once a request. `closed`
    gets the reason for each connection that the listener closes.
    """

    def __init__(
        self,
        address: ListenAddress,
        rules: WebhookRules,
        *,
        receive: Callable[[WebhookEvent], IntakeVerdict],
        count: Callable[[str], None],
        clock: Clock,
        closed: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._rules = rules
        self._receive = receive
        self._count = count
        self._clock = clock
        self._log = get_log(__name__)
        self._warnings = RateLimited(clock)
        app = web.Application(middlewares=[self._answer_all], client_max_size=rules.body_bytes_max)
        app.router.add_post(WEBHOOKS_PATH, self._post)
        limits = ListenerLimits(
            connections_max=rules.connections_max,
            per_address_max=rules.per_address_max,
            head_seconds=rules.read_seconds,
            finish_seconds=WEBHOOK_STOP_SECONDS,
        )
        self._listener = HttpListener(app, address, limits, ListenerHooks(closed=closed, answer=self._fault))

    @property
    def port(self) -> int:
        """The port it listens on; known after `start`, even when 0 was asked for."""
        return self._listener.port

    async def start(self) -> None:
        """Listen, then write the port file. Raises CannotListen."""
        await self._listener.start()

    async def stop(self) -> None:
        """Take no more requests. Blocks at most WEBHOOK_STOP_SECONDS for those that are being answered."""
        await self._listener.stop()

    @web.middleware
    async def _answer_all(self, request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> web.StreamResponse:
        try:
            return await handler(request)
        except WebhookRefused as refusal:
            return self._refuse(refusal)
        except web.HTTPException as error:
            # Only the router raises these.
            reason = "method_not_allowed" if error.status == HTTPStatus.METHOD_NOT_ALLOWED else "not_found"
            response = self._refuse(WebhookRefused(reason, f"this port takes POST {WEBHOOKS_PATH} only"))
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response
        except Exception as error:  # Stripe has to get an error, because then it sends the event again
            if self._warnings.admit(type(error).__name__) is not None:
                self._log.failed("webhook request crashed", error)
            return self._refuse(WebhookRefused("failed", "the event was not taken; send it again"))

    async def _post(self, request: web.Request) -> web.Response:
        body = await self._body(request)
        header = ",".join(request.headers.getall(SIGNATURE_HEADER, ()))
        verify_signature(body, header, self._rules.secrets, self._clock.now_ms() // 1000, self._rules.tolerance_s)
        verdict = self._receive(parse_webhook(body))
        self._count(verdict.value)
        if verdict is IntakeVerdict.QUEUE_FULL:
            return _answer(HTTPStatus.SERVICE_UNAVAILABLE, {"error": verdict.value}, {"Retry-After": str(RETRY_SECONDS)})
        return _answer(HTTPStatus.OK, {"received": True, "outcome": verdict.value})

    async def _body(self, request: web.Request) -> bytes:
        """The raw body, whose bytes are signed."""
        limit = self._rules.body_bytes_max
        if (request.content_length or 0) > limit:
            raise WebhookRefused("too_large", f"a body has at most {limit} bytes")
        body = bytearray()
        try:
            async with asyncio.timeout(self._rules.read_seconds):
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > limit:
                        raise WebhookRefused("too_large", f"a body has at most {limit} bytes")
        except TimeoutError:
            raise WebhookRefused("slow_body", f"the body did not arrive within {math.ceil(self._rules.read_seconds)} s") from None
        except (ConnectionError, PayloadEncodingError, web.RequestPayloadError) as error:
            raise WebhookRefused("broken_body", f"the body broke off: {type(error).__name__}") from None
        return bytes(body)

    def _fault(self, fault: Fault, detail: str) -> web.Response:
        """Answer what is not HTTP, or not in time. The listener logs it."""
        reason = "failed" if fault is Fault.CRASHED else fault.reason
        self._count(reason)
        headers = {"Retry-After": str(RETRY_SECONDS)} if fault is Fault.TOO_MANY_CONNECTIONS else None
        return _answer(HTTPStatus(fault.status), {"error": reason, "message": detail}, headers)

    def _refuse(self, refusal: WebhookRefused) -> web.Response:
        self._count(refusal.reason)
        self._warnings.warning(self._log, "a webhook request was refused", key=refusal.reason, reason=refusal.reason, detail=str(refusal))
        response = _answer(_STATUSES.get(refusal.reason, HTTPStatus.BAD_REQUEST), {"error": refusal.reason, "message": str(refusal)})
        if refusal.reason in {"too_large", "slow_body", "broken_body"}:
            # The rest of the body must not be read as the next request.
            response.force_close()
        return response


def _answer(status: HTTPStatus, document: object, headers: dict[str, str] | None = None) -> web.Response:
    return web.Response(body=orjson.dumps(document), status=status, content_type="application/json", headers=headers)
