"""The span of a request whose caller records its trace. Only where a collector is configured."""

from collections.abc import Awaitable, Collection
from typing import Final

from aiohttp import web

from ingest.tracing.append_spans import REQUEST_SPAN
from metering.tracing.span_maker import SpanMaker
from metering.tracing.spans import AttributeValue, SpanKind, TraceSpan
from metering.tracing.trace_context import TraceContext

_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"})
_CANCELLED: Final = 499


class RequestSpans:
    """`routes`: the paths that there are. Of others a span does not say which it was: it could say anything."""

    def __init__(self, span_maker: SpanMaker, routes: Collection[str]) -> None:
        self._span_maker = span_maker
        self._routes = frozenset(routes)

    async def around(
        self, request: web.BaseRequest, request_id: str, parent: TraceContext | None, answering: Awaitable[web.Response]
    ) -> web.Response:
        """Wait for the answer. `parent`: what the caller says of its own span. What is done for it meanwhile, by this task, is below this span."""
        span_maker = self._span_maker
        context = span_maker.child_of(parent)
        if context is None or parent is None:
            return await answering
        began_ns, token = span_maker.now_ns(), REQUEST_SPAN.set(context)
        status = _CANCELLED
        try:
            response = await answering
            status = response.status
            return response
        finally:
            REQUEST_SPAN.reset(token)
            attributes = self._attributes(request, status) | {"taximeter.request_id": request_id}
            error = f"HTTP {status}" if status >= 500 or status == _CANCELLED else ""
            name = " ".join(str(attributes[part]) for part in ("http.request.method", "http.route") if part in attributes)
            span_maker.end(
                TraceSpan(
                    name=name.replace("_OTHER", "HTTP"),
                    kind=SpanKind.SERVER,
                    context=context,
                    start_ns=began_ns,
                    end_ns=span_maker.now_ns(),
                    attributes=attributes | ({"error.type": str(status)} if error else {}),
                    parent=parent.span_id,
                    error=error,
                )
            )

    def _attributes(self, request: web.BaseRequest, status: int) -> dict[str, AttributeValue]:
        found: dict[str, AttributeValue] = {
            "http.request.method": request.method if request.method in _METHODS else "_OTHER",
            "url.scheme": request.scheme,
            "http.response.status_code": status,
        }
        return found | {"url.path": request.path, "http.route": request.path} if request.path in self._routes else found
