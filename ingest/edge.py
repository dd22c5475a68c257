"""The edge of the HTTP server: whatever happens, a JSON answer that is counted."""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Middleware

from ingest.answers import refused
from ingest.metrics import GatewayMetrics
from ingest.refusals import Refusal, RequestRefused
from metering.clock import Clock
from metering.logs import RateLimited, get_log

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_BY_STATUS: Final = {refusal.status: refusal for refusal in (Refusal.NOT_FOUND, Refusal.METHOD_NOT_ALLOWED)}


class Edge:
    """Middleware. Once `is_stopping` is set, each answer asks its client to connect anew, elsewhere."""

    def __init__(self, metrics: GatewayMetrics, clock: Clock) -> None:
        self.is_stopping = False
        self._metrics = metrics
        self._clock = clock
        self._log = get_log(__name__)
        self._warnings = RateLimited(clock)

    def middleware(self) -> Middleware:
        """This, in the form that aiohttp takes."""

        @web.middleware
        async def edge(request: web.Request, handler: Handler) -> web.StreamResponse:
            return await self._handle(request, handler)

        return edge

    async def _handle(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        started = self._clock.monotonic()
        self._metrics.requests_in_flight.inc()
        code = "cancelled"
        try:
            response = await self._answer(request, handler)
            if self.is_stopping:
                response.force_close()
            code = str(response.status)
            return response
        finally:
            self._metrics.requests_in_flight.dec()
            self._metrics.requests.labels(code).inc()
            self._metrics.request_seconds.observe(self._clock.monotonic() - started)

    async def _answer(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            return await handler(request)
        except RequestRefused as refusal:
            return self._refuse(refusal)
        except web.HTTPException as error:
            # The router's: there is nothing else here that raises them.
            response = self._refuse(RequestRefused(_BY_STATUS.get(error.status, Refusal.NOT_FOUND), "POST /v1/events is what there is"))
            if "Allow" in error.headers:
                response.headers["Allow"] = error.headers["Allow"]
            return response
        except Exception as error:  # the client must hear that nobody knows what became of its events
            if self._warnings.admit(type(error).__name__) is not None:
                self._log.failed("request crashed", error)
            return self._refuse(RequestRefused(Refusal.INTERNAL_ERROR, "the events may or may not have arrived; send them again with the same ids"))

    def _refuse(self, refusal: RequestRefused) -> web.Response:
        self._metrics.refused.labels(refusal.refusal.reason).inc()
        return refused(refusal)
