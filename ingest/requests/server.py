"""The edge of the HTTP server: one path, one method, and whatever happens, a JSON answer that is counted.

Stands directly on aiohttp's low-level server: its application layer (router, middleware, per-request match) costs a third of a small request.
"""

from collections.abc import Awaitable, Callable
from typing import Final

from aiohttp import HttpVersion11, hdrs, web
from prometheus_client import Counter
from taximeter_emitter.clock import Clock

from ingest.metrics import GatewayMetrics
from ingest.refusals import Refusal, RequestRefused
from ingest.requests.answers import refused
from metering.process.logs import RateLimited, get_log

Handler = Callable[[web.BaseRequest], Awaitable[web.Response]]

PATH: Final = "/v1/events"
_CONTINUE: Final = b"HTTP/1.1 100 Continue\r\n\r\n"


class Edge:
    """Passes POST requests for the path on to `handler`. Once `is_stopping` is set, each answer asks its client to connect anew, elsewhere."""

    def __init__(self, handler: Handler, metrics: GatewayMetrics, clock: Clock) -> None:
        self.is_stopping = False
        self._handler = handler
        self._metrics = metrics
        self._clock = clock
        self._log = get_log(__name__)
        self._warnings = RateLimited(clock)
        self._in_flight = 0
        self._by_code: dict[int, Counter] = {}
        metrics.requests_in_flight.set_function(lambda: self._in_flight)

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request, and count it."""
        started = self._clock.monotonic()
        self._in_flight += 1
        code: int | None = None
        try:
            response = await self._answer(request)
            if self.is_stopping:
                response.force_close()
            code = response.status
            return response
        finally:
            self._in_flight -= 1
            self._count(code)
            self._metrics.request_seconds.observe(self._clock.monotonic() - started)

    async def _answer(self, request: web.BaseRequest) -> web.Response:
        try:
            _check_route(request)
            if hdrs.EXPECT in request.headers:
                await _expect(request)
            return await self._handler(request)
        except RequestRefused as refusal:
            return self._refuse(refusal)
        except Exception as error:  # the client must hear that nobody knows what became of its events
            if self._warnings.admit(type(error).__name__) is not None:
                self._log.failed("request crashed", error)
            return self._refuse(RequestRefused(Refusal.INTERNAL_ERROR, "the events may or may not have arrived; send them again with the same ids"))

    def _refuse(self, refusal: RequestRefused) -> web.Response:
        self._metrics.refused.labels(refusal.refusal.reason).inc()
        return refused(refusal)

    def _count(self, code: int | None) -> None:
        if code is None:
            self._metrics.requests.labels("cancelled").inc()
            return
        counter = self._by_code.get(code)
        if counter is None:
            counter = self._by_code[code] = self._metrics.requests.labels(str(code))
        counter.inc()


def _check_route(request: web.BaseRequest) -> None:
    # As it was sent is what nearly everybody sends; taking a query or percent signs apart costs more.
    sent = request.raw_path
    path = sent if sent == PATH else request.path
    if path != PATH:
        raise RequestRefused(Refusal.NOT_FOUND, f"POST {PATH} is what there is")
    if request.method != hdrs.METH_POST:
        raise RequestRefused(Refusal.METHOD_NOT_ALLOWED, f"POST {PATH} is what there is")


async def _expect(request: web.BaseRequest) -> None:
    """A client with a large body may ask whether to send it."""
    if request.version == HttpVersion11 and request.headers[hdrs.EXPECT].lower() == "100-continue":
        await request.writer.write(_CONTINUE)
        # What was written is no part of the answer.
        request.writer.output_size = 0
