"""The middleware reads what a server answers, and changes and delays none of it."""

import asyncio
import hashlib
from typing import Any

import orjson
import pytest
from taximeter_emitter.integrations import ModelCalls
from taximeter_emitter.integrations.asgi import Message, Receive, Scope, Send, UsageMiddleware, by_header, by_key

from tests.support.emitter_model_api import CallSink, call_event, chat_response, chat_stream

STREAM = {"model": "m", "stream": True}


class Server:
    """An API of a model as an ASGI application; it stops when the client is gone, as vLLM does."""

    def __init__(self, *, fails_after: int | None = None) -> None:
        self.asked: dict[str, Any] = {}
        self.fails_after = fails_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = b""
        while True:
            message = await receive()
            body += message.get("body", b"")
            if not message.get("more_body", False):
                break
        length = dict(scope["headers"]).get(b"content-length")
        assert length is None or int(length) == len(body)
        self.asked = orjson.loads(body)
        is_stream = self.asked.get("stream", False)
        pieces = chat_stream(self.asked) if is_stream else [orjson.dumps(chat_response())]
        kind = b"text/event-stream; charset=utf-8" if is_stream else b"application/json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"Content-Type", kind)]})
        gone = asyncio.ensure_future(receive())
        for number, piece in enumerate(pieces):
            await asyncio.sleep(0)
            if gone.done():
                return
            if number == self.fails_after:
                gone.cancel()
                raise RuntimeError("engine")
            await send({"type": "http.response.body", "body": piece, "more_body": True})
        gone.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class DeafServer:
    """Hears after so many pieces that its client left, and sends the others nevertheless."""

    def __init__(self, hears_after: int) -> None:
        self.hears_after = hears_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["type"] == "http"
        message = await receive()
        body = message["body"] + ((await receive())["body"] if message.get("more_body") else b"")
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]})
        for number, piece in enumerate(chat_stream(orjson.loads(body)), 1):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            if number == self.hears_after:
                assert await receive() == {"type": "http.disconnect"}
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class Client:
    """One request, by a client that may leave after so many pieces of the body."""

    def __init__(self, asked: dict[str, Any], *, leaves_after: int | None = None) -> None:
        self.body = orjson.dumps(asked)
        self.headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(self.body)), (b"x-customer", b"cus_1")]
        self.path = "/v1/chat/completions"
        self.received = b""
        self.pieces = 0
        self.leaves_after = leaves_after
        self._left = asyncio.Event()
        self._asked: list[Message] = [
            {"type": "http.request", "body": self.body[:5], "more_body": True},
            {"type": "http.request", "body": self.body[5:]},
        ]

    async def call(self, app: Any) -> None:
        await app({"type": "http", "method": "POST", "path": self.path, "headers": self.headers}, self.receive, self.send)

    async def receive(self) -> Message:
        if self._asked:
            return self._asked.pop(0)
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.body" and not self._left.is_set():
            self.received += message["body"]
            self.pieces += 1
            if self.pieces == self.leaves_after:
                self._left.set()


def metered(sink: CallSink, server: Server | DeafServer, **options: Any) -> UsageMiddleware:
    return UsageMiddleware(server, ModelCalls(sink), **{"customer": by_header("X-Customer"), **options})


async def test_a_whole_answer_is_one_event() -> None:
    sink, client = CallSink(), Client({"model": "m"})
    await client.call(metered(sink, Server()))
    assert orjson.loads(client.received) == chat_response()
    assert sink.events == [call_event(input_tokens=9, output_tokens=2)]


@pytest.mark.parametrize("inject", [True, False])
@pytest.mark.parametrize("options", [None, {"include_usage": True}, {"include_usage": False}])
async def test_a_client_sees_of_a_stream_what_it_asked_for(options: dict[str, Any] | None, inject: bool) -> None:
    sink = CallSink()
    asked = STREAM if options is None else {**STREAM, "stream_options": options}
    client = Client(asked)
    await client.call(metered(sink, Server(), inject=inject))
    assert client.received == b"".join(chat_stream(asked))
    is_told = inject or options == {"include_usage": True}
    assert sink.events == [call_event(input_tokens=9, output_tokens=2) if is_told else call_event(usage_from="estimate", output_tokens=2)]


async def test_a_client_that_leaves_pays_what_was_delivered() -> None:
    for leaves_after, output in ((1, 1), (2, 2)):
        sink = CallSink()
        await Client(STREAM, leaves_after=leaves_after).call(metered(sink, Server()))
        assert sink.events == [call_event(outcome="aborted", usage_from="estimate", output_tokens=output)]


async def test_what_a_server_sends_after_its_client_left_is_not_delivered_unless_the_answer_was_complete() -> None:
    """The client leaves after so many pieces: two of text, the end, usage and the mark. The server hears of it and goes on."""
    whole, first = call_event(input_tokens=9, output_tokens=2), call_event(outcome="aborted", usage_from="estimate", output_tokens=1)
    for inject in (True, False):
        for leaves_after, expected in ((1, first), (3, whole)):
            sink = CallSink()
            client = Client({**STREAM, "stream_options": {"include_usage": not inject}}, leaves_after=leaves_after)
            await client.call(metered(sink, DeafServer(leaves_after), inject=inject))
            assert sink.events == [expected], (inject, leaves_after)


async def test_a_server_that_fails_in_the_middle_is_an_error_and_its_exception_passes() -> None:
    sink = CallSink()
    with pytest.raises(RuntimeError, match="engine"):
        await Client(STREAM).call(metered(sink, Server(fails_after=1)))
    assert sink.events == [call_event(outcome="error", usage_from="estimate", output_tokens=1)]


async def test_the_key_says_who_pays_and_an_unknown_one_nobody() -> None:
    sink = CallSink()
    app = metered(sink, Server(), customer=by_key({hashlib.sha256(b"sk-1").hexdigest(): "cus_1"}))
    for header in ((b"authorization", b"Bearer sk-1"), (b"x-api-key", b"sk-1"), (b"authorization", b"Bearer sk-2")):
        client = Client({"model": "m"})
        client.headers.append(header)
        await client.call(app)
    assert sink.events == [call_event(input_tokens=9, output_tokens=2)] * 2


async def test_a_client_that_repeats_its_request_id_pays_each_time() -> None:
    sink = CallSink()
    app = metered(sink, Server())
    for _ in range(2):
        client = Client({"model": "m"})
        client.headers.append((b"x-request-id", b"the-same"))
        await client.call(app)
    assert len(sink.events) == 2


async def test_a_customer_that_cannot_be_told_breaks_no_answer() -> None:
    def customer(scope: Scope) -> str:
        return str(scope["state"]["nobody"])

    sink, client = CallSink(), Client({"model": "m"})
    app = metered(sink, Server(), customer=customer)
    await client.call(app)
    assert orjson.loads(client.received) == chat_response()
    assert sink.events == []


async def test_what_is_no_call_of_a_model_passes_untouched() -> None:
    seen: list[Any] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope, receive, send))

    client = Client({})
    middleware = UsageMiddleware(app, ModelCalls(CallSink()), customer=by_header("x"))
    for scope in ({"type": "lifespan"}, {"type": "websocket", "path": "/v1/realtime"}, {"type": "http", "method": "GET", "path": "/v1/models"}):
        await middleware(scope, client.receive, client.send)
        assert seen.pop() == (scope, client.receive, client.send)
