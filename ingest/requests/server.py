"""The gateway's HTTP server. Every request gets a JSON answer and is counted.

It uses aiohttp's low-level server: the application layer (router, middleware, a match for each request) costs a third of a small request.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final

from aiohttp import HttpVersion11, hdrs, web
from prometheus_client import Counter
from taximeter_emitter.clock import Clock

from ingest.metrics import GatewayMetrics
from ingest.refusals import Refusal, RequestRefused
from ingest.requests.answers import RETRY_AFTER_SECONDS, refused
from ingest.requests.request_ids import RequestId, RequestIds
from ingest.tracing.request_spans import RequestSpans
from metering.process.connections import Fault
from metering.process.listener import HttpListener, ListenAddress, ListenerHooks, ListenerLimits
from metering.process.logs import RateLimited, get_log

RequestHandler = Callable[[web.BaseRequest, RequestId], Awaitable[web.Response]]
"""Answers a request, given the request's id."""

Routes = Mapping[str, Mapping[str, RequestHandler]]
"""What answers, by path and method."""

EVENTS_PATH: Final = "/v1/events"
BATCHES_PATH: Final = "/v1/batches"
_REFUSALS: Final = {fault: next(refusal for refusal in Refusal if refusal.reason == fault.reason) for fault in Fault}
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class GatewayServer:
    """Passes requests to what answers them. Once `is_stopping` is set, each answer closes its connection: clients go elsewhere."""

    def __init__(
        self,
        routes: Routes,
        address: ListenAddress,
        limits: ListenerLimits,
        *,
        metrics: GatewayMetrics,
        clock: Clock,
        spans: RequestSpans | None = None,
    ) -> None:
        self.is_stopping = False
        self._routes = routes
        hooks = ListenerHooks(closed=lambda reason: metrics.connections_closed.labels(reason).inc(), answer=self._fault)
        self._listener = HttpListener(self._handle, address, limits, hooks)
        self._metrics = metrics
        self._clock = clock
        self._log = get_log(__name__)
        self._warnings = RateLimited(clock)
        self._ids = RequestIds()
        self._spans = spans
        self._in_flight = 0
        self._by_code: dict[int, Counter] = {}
        metrics.requests_in_flight.set_function(lambda: self._in_flight)
        metrics.connections.set_function(lambda: self._listener.connections)

    @property
    def port(self) -> int:
        """The port it listens on; known after `start`, even when 0 was asked for."""
        return self._listener.port

    async def start(self) -> None:
        """Listen, then write the port file. Raises CannotListen."""
        await self._listener.start()

    async def stop(self) -> None:
        """Take no more requests. Waits for those that are being answered, as long as the limits allow."""
        await self._listener.stop()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, and count it."""
        started = self._clock.monotonic()
        self._in_flight += 1
        request_id = self._ids.of(request.headers)
        code: int | None = None
        try:
            answering = self._answer(request, request_id)
            response = await (answering if self._spans is None else self._spans.around(request, request_id.text, request_id.trace, answering))
            if self.is_stopping:
                response.force_close()
            code = response.status
            return response
        finally:
            self._in_flight -= 1
            self._count(code)
            self._metrics.request_seconds.observe(self._clock.monotonic() - started)

    async def _answer(self, request: web.BaseRequest, request_id: RequestId) -> web.Response:
        try:
            handler = self._handler_of(request)
            if hdrs.EXPECT in request.headers:
                await _expect(request)
            return await handler(request, request_id)
        except RequestRefused as refusal:
            return self._refuse(refusal, request_id)
        except Exception as error:  # the client has to learn that nobody knows what became of its events
            if self._warnings.admit(type(error).__name__) is not None:
                self._log.failed("request crashed", error, **request_id.fields())
            crash = RequestRefused(Refusal.INTERNAL_ERROR, "the events may or may not have arrived; send them again with the same ids")
            return self._refuse(crash, request_id)

    def _handler_of(self, request: web.BaseRequest) -> RequestHandler:
        # Almost every client sends the path exactly like this. Splitting off a query and decoding percent signs costs more.
        methods = self._routes.get(request.raw_path) or self._routes.get(request.path)
        if methods is None:
            raise RequestRefused(Refusal.NOT_FOUND, f"the gateway takes {_listed(self._routes)}")
        handler = methods.get(request.method)
        if handler is None:
            raise RequestRefused(Refusal.METHOD_NOT_ALLOWED, f"the gateway takes {_listed(self._routes)}", allowed=tuple(methods))
        return handler

    def _refuse(self, refusal: RequestRefused, request_id: RequestId) -> web.Response:
        self._log.debug("request was refused", reason=refusal.refusal.reason, **request_id.fields())
        self._metrics.refused.labels(refusal.refusal.reason).inc()
        return refused(refusal, request_id)

    def _fault(self, fault: Fault, detail: str) -> web.Response:
        """Answer what is not HTTP, or not in time, in the same form as everything else."""
        retry_after = RETRY_AFTER_SECONDS if fault is Fault.TOO_MANY_CONNECTIONS else None
        response = self._refuse(RequestRefused(_REFUSALS[fault], detail, retry_after=retry_after), self._ids.of({}))
        self._count(response.status)
        return response

    def _count(self, code: int | None) -> None:
        if code is None:
            self._metrics.requests.labels("cancelled").inc()
            return
        counter = self._by_code.get(code)
        if counter is None:
            counter = self._by_code[code] = self._metrics.requests.labels(str(code))
        counter.inc()


def _listed(routes: Routes) -> str:
    return ", ".join(f"{method} {path}" for path, methods in routes.items() for method in methods)


async def _expect(request: web.BaseRequest) -> None:
    """Tell a client that asks first to send its body."""
    if request.version == HttpVersion11 and request.headers[hdrs.EXPECT].lower() == "100-continue":
        await request.writer.write(_CONTINUE)
        # These bytes are not part of the answer.
        request.writer.output_size = 0
