"""Calls that pass through an HTTP client are metered once, and reach the caller as they would without it."""

import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import httpx
import orjson
import pytest
from taximeter_emitter.integrations import ModelCalls
from taximeter_emitter.integrations.http_clients import metered_http_client

from tests.support.emitter_model_api import CallSink, call_event, chat_response, chat_stream

URL = "https://api.test/v1/chat/completions"


class Chunks(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in pieces, which may break."""

    def __init__(self, pieces: list[bytes], breaks: bool = False) -> None:
        self.pieces = pieces
        self.breaks = breaks
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        yield from self.pieces
        if self.breaks:
            raise httpx.ReadError("cut")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in self.pieces:
            yield piece

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


class Api:
    def __init__(self, breaks: bool = False) -> None:
        self.requests: list[httpx.Request] = []
        self.bodies: list[Chunks] = []
        self.breaks = breaks

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        asked = orjson.loads(request.content or b"{}")
        if not asked.get("stream"):
            return httpx.Response(asked.get("status", 200), json=chat_response())
        pieces = chat_stream(asked)
        self.bodies.append(Chunks(pieces[:1] if self.breaks else pieces, self.breaks))
        return httpx.Response(200, headers={"content-type": "text/event-stream; charset=utf-8"}, stream=self.bodies[-1])


def client_of(api: Api, sink: CallSink, **options: Any) -> httpx.Client:
    return metered_http_client(httpx.Client(transport=httpx.MockTransport(api)), ModelCalls(sink), **{"customer": "cus_1", **options})


def test_a_whole_response_is_one_event_and_is_handed_on_as_it_is() -> None:
    sink, api = CallSink(), Api()
    with client_of(api, sink) as client:
        assert client.post(URL, json={"model": "m"}).json() == chat_response()
    assert sink.events == [call_event(input_tokens=9, output_tokens=2)]


def test_a_stream_is_asked_for_its_usage_and_the_caller_does_not_see_it() -> None:
    sink, api = CallSink(), Api()
    with client_of(api, sink) as client, client.stream("POST", URL, json={"model": "m", "stream": True}) as response:
        shown = b"".join(response.iter_bytes())
    assert shown == b"".join(chat_stream({}))
    assert orjson.loads(api.requests[0].content)["stream_options"] == {"include_usage": True}
    assert sink.events == [call_event(input_tokens=9, output_tokens=2)]


@pytest.mark.parametrize(("options", "asked"), [({}, {"include_usage": True}), ({"inject": False}, {"include_usage": True})])
def test_who_asks_for_usage_sees_it(options: dict[str, Any], asked: dict[str, Any]) -> None:
    sink, api = CallSink(), Api()
    request = {"model": "m", "stream": True, "stream_options": asked}
    with client_of(api, sink, **options) as client, client.stream("POST", URL, json=request) as response:
        assert b"".join(response.iter_bytes()) == b"".join(chat_stream(request))
    assert sink.events == [call_event(input_tokens=9, output_tokens=2)]


def test_without_injection_the_request_is_left_alone_and_the_stream_is_an_estimate() -> None:
    sink, api = CallSink(), Api()
    with client_of(api, sink, inject=False) as client, client.stream("POST", URL, json={"model": "m", "stream": True}) as response:
        response.read()
    assert "stream_options" not in orjson.loads(api.requests[0].content)
    assert sink.events == [call_event(usage_from="estimate", output_tokens=2)]


def test_a_stream_that_is_left_counts_what_was_delivered_and_is_closed() -> None:
    sink, api = CallSink(), Api()
    with client_of(api, sink) as client, client.stream("POST", URL, json={"model": "m", "stream": True}) as response:
        next(response.iter_bytes())
    assert sink.events == [call_event(outcome="aborted", usage_from="estimate", output_tokens=1)]
    assert api.bodies[0].closed


def test_a_stream_that_breaks_counts_what_was_delivered_as_an_error() -> None:
    sink, api = CallSink(), Api(breaks=True)
    with client_of(api, sink) as client, pytest.raises(httpx.ReadError):
        client.post(URL, json={"model": "m", "stream": True})
    assert sink.events == [call_event(outcome="error", usage_from="estimate", output_tokens=1)]


def test_a_stream_that_is_forgotten_is_emitted_when_it_is_collected() -> None:
    sink, api = CallSink(), Api()
    client = client_of(api, sink)
    response = client.send(client.build_request("POST", URL, json={"model": "m", "stream": True}), stream=True)
    next(response.iter_bytes())
    del response
    gc.collect()
    assert sink.events == [call_event(outcome="aborted", usage_from="estimate", output_tokens=1)]
    client.close()


async def test_async_clients_are_metered_alike() -> None:
    sink, api = CallSink(), Api()
    async with metered_http_client(httpx.AsyncClient(transport=httpx.MockTransport(api)), ModelCalls(sink), customer="cus_1") as client:
        assert (await client.post(URL, json={"model": "m"})).json() == chat_response()
        async with client.stream("POST", URL, json={"model": "m", "stream": True}) as response:
            assert b"".join([piece async for piece in response.aiter_bytes()]) == b"".join(chat_stream({}))
        async with client.stream("POST", URL, json={"model": "m", "stream": True}) as response:
            async for _ in response.aiter_bytes():
                break
    whole, aborted = call_event(input_tokens=9, output_tokens=2), call_event(outcome="aborted", usage_from="estimate", output_tokens=1)
    assert sink.events == [whole, whole, aborted]


def test_the_request_says_who_pays_before_the_block_and_the_block_before_the_client() -> None:
    sink, api = CallSink(), Api()
    calls = ModelCalls(sink)
    with metered_http_client(httpx.Client(transport=httpx.MockTransport(api)), calls, customer="cus_3") as client:
        with calls.customer("cus_2"):
            client.post(URL, json={"model": "m"}, headers={"Taximeter-Customer": "cus_1"})
            client.post(URL, json={"model": "m"})
        client.post(URL, json={"model": "m"})
    assert [event["customer"] for event in sink.events] == ["cus_1", "cus_2", "cus_3"]
    assert all("taximeter-customer" not in request.headers for request in api.requests)


def test_refusals_and_requests_that_are_no_calls_of_models_are_no_events() -> None:
    sink, api = CallSink(), Api()
    with client_of(api, sink) as client:
        client.post(URL, json={"model": "m", "status": 429})
        client.get("https://api.test/v1/responses/resp_1")
        client.post("https://api.test/v1/files", json={})
    assert sink.events == []


def test_a_body_that_is_compressed_nevertheless_is_counted_as_unreadable() -> None:
    sink = CallSink()
    calls = ModelCalls(sink)

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "identity"
        return httpx.Response(200, headers={"content-type": "application/json", "content-encoding": "deflate"}, content=b"x\x9cK\x04\x00\x00b\x00b")

    with metered_http_client(httpx.Client(transport=httpx.MockTransport(answer)), calls, customer="cus_1") as client:
        assert client.post(URL, json={}).text == "a"
    assert calls.counts.unreadable == 1


def test_one_client_is_metered_once_and_other_objects_never() -> None:
    calls = ModelCalls(CallSink())
    with metered_http_client(httpx.Client(), calls) as client, pytest.raises(ValueError, match="count twice"):
        metered_http_client(client, calls)
    with pytest.raises(TypeError, match="httpx"):
        metered_http_client(object(), calls)
