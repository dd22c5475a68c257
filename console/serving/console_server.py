"""What the console answers. Each answer says that nothing may be cached, framed or run but what is here."""

import time
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from typing import Any, Final, NamedTuple

import orjson
from aiohttp import web
from taximeter_emitter.clock import Clock

from console import pages
from console.answering.usage_answer import answer_usage, row_json
from console.answering.usage_question import BadQuestion, hour_text, usage_asked
from console.metrics import ConsoleMetrics
from console.pages.elements import element
from console.pages.page_frame import PageAbout, page
from console.serving.page_answers import CUSTOMER_PATH, PageAnswers
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

STATIC: Final = {"console.css": "text/css", "htmx.min.js": "text/javascript", "icon.svg": "image/svg+xml"}

Answer = Callable[[web.Request, Reader], Awaitable[web.Response]]


class Sources(NamedTuple):
    """What answers are made of. `revision`: that of the store, now."""

    reading: StoreReading
    pages: PageAnswers
    revision: Callable[[], int]


class ConsoleServer:
    """Owns the listener. The store's reading stays its owner's."""

    def __init__(self, address: ListenAddress, access: Access, sources: Sources, *, metrics: ConsoleMetrics, clock: Clock) -> None:
        self.access = access
        self._reading = sources.reading
        self._revision = sources.revision
        self._pages = sources.pages
        self._metrics = metrics
        self._clock = clock
        self._log = get_log(__name__)
        app = web.Application(client_max_size=_QUERY_BYTES_MAX)
        app.router.add_get(USAGE_PATH, self._answered(self._usage))
        for path in self._pages.by_path:
            app.router.add_get(path, self._answered(self._page))
        for name, content_type in STATIC.items():
            app.router.add_get(f"/static/{name}", _static(files(pages).joinpath("static", name).read_bytes(), content_type))
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
            refused = fault(400, "bad_parameter", str(error), parameter=error.parameter)
        except AnswerTooLong as error:
            refused = fault(503, "too_long", str(error))
        except Exception as error:
            self._log.failed("a question could not be answered", error)
            refused = fault(500, "failed", "the question could not be answered; the log says why")
        return refused if request.path == USAGE_PATH else _refused_page(request, refused)

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
            "complete": self._pages.unread() is None,
        }
        return web.Response(body=orjson.dumps(about), content_type="application/json")

    async def _page(self, request: web.Request, reader: Reader) -> web.Response:
        query, revision = parameters_of(request), self._revision()
        if reader.customers is not None and (request.path != CUSTOMER_PATH or query.get("id") not in reader.customers):
            return _refused_page(request, fault(403, "not_yours", "this key may read only customers that it names: /customer?id=..."))
        # The first page shows the ends of the logs too, which are not in the store.
        if "HX-Request" in request.headers and request.path != "/" and query.get("seen") == str(revision):
            return web.Response(status=204)
        return web.Response(text=await self._pages.answer(request.path, query, revision), content_type="text/html")


def parameters_of(request: web.Request) -> Mapping[str, str]:
    """The parameters of a query. Raises BadQuestion for one that comes twice."""
    found: dict[str, str] = {}
    for name, value in request.query.items():
        if name in found:
            raise BadQuestion(name[:40], "comes twice")
        found[name] = value
    return found


def _static(content: bytes, content_type: str) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handler(_request: web.Request) -> web.Response:
        return web.Response(body=content, content_type=content_type, headers={**_HEADERS, "Cache-Control": "max-age=3600"})

    return handler


def _refused_page(request: web.Request, refused: web.Response) -> web.Response:
    """The same refusal for people. What is on the page stays there while it is renewed."""
    said = refused.text or ""
    about = PageAbout("This cannot be shown", request.path, {}, 0, live=False)
    text = page(about, element("p", str(orjson.loads(said)["message"]), class_="notice"))
    return web.Response(status=refused.status, text=text, content_type="text/html")


def fault(status: int, error: str, message: str, **more: Any) -> web.Response:
    """A refusal as JSON, for programs."""
    return web.Response(status=status, body=orjson.dumps({"error": error, "message": message, **more}), content_type="application/json")
