"""What the console answers. Each answer says that nothing may be cached, framed or run but what is here."""

import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

import orjson
from aiohttp import web
from taximeter_emitter.clock import Clock

from console.answering.usage_answer import answer_usage, row_json
from console.answering.usage_question import BadQuestion, hour_text, usage_asked
from console.metrics import ConsoleMetrics
from console.serving.readers_access import Access, Reader
from console.store.store_reading import AnswerTooLong, StoreReading
from metering.process.listener import HttpListener, ListenAddress, ListenerLimits
from metering.process.logs import get_log

USAGE_PATH: Final = "/v1/usage"
_FINISH_SECONDS: Final = 5.0
_CONNECTIONS_MAX: Final = 256
_QUERY_BYTES_MAX: Final = 16 * 1024

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; form-action 'self';"
    " base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

Answer = Callable[[web.Request, Reader], Awaitable[web.Response]]


class ConsoleServer:
    """Owns the listener. The store's reading stays its owner's."""

    def __init__(self, address: ListenAddress, access: Access, reading: StoreReading, *, metrics: ConsoleMetrics, clock: Clock) -> None:
        self.access = access
        self._reading = reading
        self._metrics = metrics
        self._clock = clock
        self._log = get_log(__name__)
        app = web.Application(client_max_size=_QUERY_BYTES_MAX)
        app.router.add_get(USAGE_PATH, self._answered(self._usage))
        self._listener = HttpListener(app, address, ListenerLimits(finish_seconds=_FINISH_SECONDS, connections_max=_CONNECTIONS_MAX))

    @property
    def port(self) -> int:
        """The port it listens on."""
        return self._listener.port

    async def start(self) -> None:
        """Listen. Raises CannotListen."""
        await self._listener.start()

    async def stop(self) -> None:
        """Close the port. Blocks at most five seconds for requests that are being answered."""
        await self._listener.stop()

    def _answered(self, answer: Answer) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handler(request: web.Request) -> web.Response:
            began = time.perf_counter()
            response = await self._answer(answer, request)
            said = {200: "ok", 204: "ok", 400: "refused", 403: "unauthorized", 401: "unauthorized", 404: "not_found"}
            self._metrics.requests.labels(said.get(response.status, "failed")).inc()
            self._metrics.request_seconds.observe(time.perf_counter() - began)
            response.headers.update(_HEADERS)
            return response

        return handler

    async def _answer(self, answer: Answer, request: web.Request) -> web.Response:
        reader = self.access.reader(request.headers, request.remote)
        if reader is None:
            problem = fault(401, "unauthorized", "a key is needed: Authorization: Bearer tmk_..., or as the password in a browser")
            problem.headers["WWW-Authenticate"] = 'Basic realm="Taximeter console", charset="UTF-8"'
            return problem
        try:
            return await answer(request, reader)
        except BadQuestion as error:
            return fault(400, "bad_parameter", str(error), parameter=error.parameter)
        except AnswerTooLong as error:
            return fault(503, "too_long", str(error))
        except Exception as error:
            self._log.failed("a question could not be answered", error)
            return fault(500, "failed", "the question could not be answered; the log says why")

    async def _usage(self, request: web.Request, reader: Reader) -> web.Response:
        asked = usage_asked(parameters_of(request), self._clock.now_ms())
        if reader.customers is not None and asked.customer not in reader.customers:
            return fault(403, "not_yours", "customer: this key may read only customers that it names, one at a time", parameter="customer")
        answer = await self._reading.ask(lambda connection: answer_usage(connection, asked))
        about = {
            "from": hour_text(asked.from_hour),
            "to": hour_text(asked.to_hour),
            "group_by": list(asked.groups),
            "rows": [row_json(row, asked.groups) for row in answer.rows],
            "next": answer.next,
        }
        return web.Response(body=orjson.dumps(about), content_type="application/json")


def parameters_of(request: web.Request) -> Mapping[str, str]:
    """The parameters of a query. Raises BadQuestion for one that comes twice."""
    found: dict[str, str] = {}
    for name, value in request.query.items():
        if name in found:
            raise BadQuestion(name[:40], "comes twice")
        found[name] = value
    return found


def fault(status: int, error: str, message: str, **more: Any) -> web.Response:
    """A refusal as JSON, for programs."""
    return web.Response(status=status, body=orjson.dumps({"error": error, "message": message, **more}), content_type="application/json")
