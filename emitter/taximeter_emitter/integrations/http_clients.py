"""HTTP clients of httpx and httpx2 that meter the calls of models that pass through them.

The clients of OpenAI and Anthropic are built on one. Metering below them sees what really passes: every attempt of a retry, raw and parsed
responses, helpers for streams; and the client and all that it returns keep their types.
"""

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from functools import cache
from types import ModuleType
from typing import Any, Final, TypeVar

from taximeter_emitter.integrations.http_exchange import AnsweredCall, AskedCall, is_metered
from taximeter_emitter.integrations.model_calls import CallOutcome, ModelCall, ModelCalls

CUSTOMER_HEADER: Final = "taximeter-customer"
_LIBRARIES: Final = ("httpx2", "httpx")
_METERED: Final = "taximeter_calls"

HttpClient = TypeVar("HttpClient")


def metered_http_client(http_client: HttpClient, calls: ModelCalls, *, customer: str | None = None, inject: bool = True) -> HttpClient:
    """The same client, of httpx or httpx2, sync or async; from now on the calls of models that it sends are metered.

    `customer`: pays if neither the request's header `taximeter-customer` nor a surrounding `calls.customer(...)` says who does. The header is not
    sent on.
    `inject`: ask OpenAI's chat streams for their usage. The chunk with it is kept from a caller who did not ask for it.

    Raises TypeError for another object, ValueError for a client that is metered already.
    """
    name = next((root for kind in type(http_client).__mro__ for root in [kind.__module__.partition(".")[0]] if root in _LIBRARIES), "")
    if not name:
        raise TypeError(f"an http client is one of httpx or httpx2, and not {type(http_client).__name__}")
    if _METERED in vars(http_client):
        raise ValueError("this http client is metered already; each call would count twice")
    library = sys.modules[name]
    meter = _HttpMeter(library, calls, customer=customer, inject=inject)
    send = http_client.send  # type: ignore[attr-defined]  # the classes of two libraries, which need not be installed
    setattr(http_client, _METERED, calls)
    is_async = isinstance(http_client, library.AsyncClient)
    http_client.send = meter.async_send(send) if is_async else meter.sync_send(send)  # type: ignore[attr-defined]  # the same
    return http_client


class _HttpMeter:
    def __init__(self, library: ModuleType, calls: ModelCalls, *, customer: str | None, inject: bool) -> None:
        self._library = library
        self._calls = calls
        self._customer = customer
        self._inject = inject

    def sync_send(self, send: Any) -> Any:
        def metered_send(request: Any, *, stream: bool = False, **options: Any) -> Any:
            if not is_metered(request.method, request.url.path):
                return send(request, stream=stream, **options)
            prepared, asked, call = self._prepare(request)
            try:
                response = send(prepared, stream=True, **options)
            except BaseException as error:
                call.settle(_outcome_of(error))
                raise
            self._watch(response, asked, call, _stream_class(self._library.SyncByteStream, _SyncBytes))
            if not stream:
                try:
                    response.read()
                except BaseException:
                    response.close()
                    raise
            return response

        return metered_send

    def async_send(self, send: Any) -> Any:
        async def metered_send(request: Any, *, stream: bool = False, **options: Any) -> Any:
            if not is_metered(request.method, request.url.path):
                return await send(request, stream=stream, **options)
            prepared, asked, call = self._prepare(request)
            try:
                response = await send(prepared, stream=True, **options)
            except BaseException as error:
                call.settle(_outcome_of(error))
                raise
            self._watch(response, asked, call, _stream_class(self._library.AsyncByteStream, _AsyncBytes))
            if not stream:
                try:
                    await response.aread()
                except BaseException:
                    await response.aclose()
                    raise
            return response

        return metered_send

    def _prepare(self, request: Any) -> tuple[Any, AskedCall, ModelCall]:
        """The request to send: without the customer, with usage asked for, and for an answer that can be read as it passes."""
        headers = request.headers
        customer = headers.pop(CUSTOMER_HEADER, None)
        headers["accept-encoding"] = "identity"
        is_json = headers.get("content-type", "").startswith("application/json")
        asked = AskedCall(request.url.path, request.content if is_json else b"", inject=self._inject)
        if asked.body is not None:
            headers = headers.copy()
            headers["content-length"] = str(len(asked.body))
            request = self._library.Request(request.method, request.url, headers=headers, content=asked.body, extensions=request.extensions)
        return request, asked, self._calls.call(customer or None, model=asked.model, otherwise=self._customer)

    def _watch(self, response: Any, asked: AskedCall, call: ModelCall, stream_class: Any) -> None:
        headers = {name.lower(): value for name, value in response.headers.items()}
        answered = AnsweredCall(self._calls, call, status=response.status_code, headers=headers, hides_usage=asked.hides_usage)
        try:
            body = response.content
        except self._library.ResponseNotRead:
            response.stream = stream_class(response.stream, answered)
            return
        # A transport that caches or mocks gives a response that was read before.
        answered.saw_body(body)
        answered.saw_end()
        answered.settle()


class _SyncBytes:
    def __init__(self, stream: Any, answered: AnsweredCall) -> None:
        self._stream = stream
        self._answered = answered

    def __iter__(self) -> Iterator[bytes]:
        try:
            for data in self._stream:
                yield self._answered.saw_body(data)
            yield self._answered.saw_end()
        except Exception:
            self._answered.settle("error")
            raise
        self._answered.settle()

    def close(self) -> None:
        self._answered.settle()
        self._stream.close()


class _AsyncBytes:
    def __init__(self, stream: Any, answered: AnsweredCall) -> None:
        self._stream = stream
        self._answered = answered

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for data in self._stream:
                yield self._answered.saw_body(data)
            yield self._answered.saw_end()
        except Exception:
            self._answered.settle("error")
            raise
        self._answered.settle()

    async def aclose(self) -> None:
        self._answered.settle()
        await self._stream.aclose()


@cache
def _stream_class(base: type, own: type) -> Any:
    """httpx takes only streams of its own class, which is not known before it is imported."""
    return type(own.__name__, (own, base), {})


def _outcome_of(error: BaseException) -> CallOutcome:
    return "error" if isinstance(error, Exception) and not isinstance(error, asyncio.CancelledError) else "aborted"
