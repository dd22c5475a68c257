"""The real clients of OpenAI and Anthropic, metered, against an API on this host. Skipped, by name, where a client is not installed."""

import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import orjson
import pytest
from taximeter_emitter.integrations import ModelCalls

from tests.support.emitter_model_api import CallSink, call_event, chat_response, chat_stream, server_events

MESSAGES: list[dict[str, str]] = [{"role": "user", "content": "x"}]
WHOLE = call_event(input_tokens=9, output_tokens=2)
ANTHROPIC_USAGE = {"input_tokens": 5, "cache_read_input_tokens": 4, "output_tokens": 1}


class ApiServer(ThreadingHTTPServer):
    daemon_threads = True
    requests = 0
    failures_left = 0
    slow = False


class Handler(BaseHTTPRequestHandler):
    server: ApiServer
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        asked = orjson.loads(body) if self.headers["content-type"].startswith("application/json") else {}
        self.server.requests += 1
        assert "taximeter-customer" not in self.headers
        if self.server.failures_left:
            self.server.failures_left -= 1
            self.answer(500, [orjson.dumps({"error": {"message": "later"}})])
        elif self.path.endswith("/messages"):
            self.messages(asked)
        elif self.path.endswith("/responses"):
            self.model_responses(asked)
        elif self.path.endswith("/embeddings"):
            data = [{"object": "embedding", "index": 0, "embedding": [0.5]}]
            self.answer(200, [orjson.dumps({"object": "list", "model": "m-2", "data": data, "usage": {"prompt_tokens": 9, "total_tokens": 9}})])
        elif self.path.endswith("/transcriptions"):
            self.answer(200, [orjson.dumps({"text": "x", "usage": {"type": "duration", "seconds": 1.5}})])
        elif asked.get("stream"):
            self.answer(200, chat_stream(asked, "ab" * 50 if self.server.slow else "ab"), kind="text/event-stream")
        else:
            self.answer(200, [orjson.dumps(chat_response())])

    def messages(self, asked: dict[str, Any]) -> None:
        message: dict[str, Any] = {
            "id": "msg_1",
            "type": "message",
            "role": "assistant",
            "model": "m-2",
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }
        if not asked.get("stream"):
            self.answer(200, [orjson.dumps({**message, "stop_reason": "end_turn", "usage": {**ANTHROPIC_USAGE, "output_tokens": 2}})])
            return
        events: list[dict[str, Any]] = [
            {"type": "message_start", "message": {**message, "usage": ANTHROPIC_USAGE}},
            {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
            *(
                {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}}
                for text in "ab" * (50 if self.server.slow else 1)
            ),
            {"type": "content_block_stop", "index": 0},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": {"output_tokens": 2}},
            {"type": "message_stop"},
        ]
        self.answer(200, [f"event: {event['type']}\n".encode() + server_events(event)[0] for event in events], kind="text/event-stream")

    def model_responses(self, asked: dict[str, Any]) -> None:
        details = {"input_tokens_details": {"cached_tokens": 0}, "output_tokens_details": {"reasoning_tokens": 0}}
        usage = {"input_tokens": 9, "output_tokens": 2, "total_tokens": 11, **details}
        response = {"id": "resp_1", "object": "response", "created_at": 1, "model": "m-2", "status": "completed", "output": [], "tools": []}
        if not asked.get("stream"):
            self.answer(200, [orjson.dumps({**response, "usage": usage})])
            return
        delta = {"item_id": "i", "output_index": 0, "content_index": 0, "delta": "a", "logprobs": []}
        item = {"id": "i", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
        done = {**item, "status": "completed", "content": [{"type": "output_text", "text": "a", "annotations": []}]}
        part = {"type": "output_text", "text": "", "annotations": []}
        events = [
            {"type": "response.created", "sequence_number": 0, "response": {**response, "status": "in_progress", "usage": None}},
            {"type": "response.output_item.added", "sequence_number": 1, "output_index": 0, "item": item},
            {"type": "response.content_part.added", "sequence_number": 2, "item_id": "i", "output_index": 0, "content_index": 0, "part": part},
            {"type": "response.output_text.delta", "sequence_number": 3, **delta},
            {"type": "response.completed", "sequence_number": 4, "response": {**response, "output": [done], "usage": usage}},
        ]
        self.answer(200, server_events(*events), kind="text/event-stream")

    def answer(self, status: int, pieces: list[bytes], *, kind: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("transfer-encoding", "chunked")
        self.end_headers()
        for piece in [*pieces, b""]:
            if self.server.slow:
                time.sleep(0.01)
            try:
                self.wfile.write(b"%x\r\n%s\r\n" % (len(piece), piece))
                self.wfile.flush()
            except OSError:
                self.close_connection = True
                return

    def log_message(self, *_: Any) -> None:
        """Nothing of it on the screen."""


@pytest.fixture
def api() -> Iterator[ApiServer]:
    server = ApiServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def url(api: ApiServer) -> str:
    return f"http://127.0.0.1:{api.server_address[1]}/v1"


@pytest.fixture
def sink() -> CallSink:
    return CallSink()


@pytest.fixture
def openai(api: ApiServer, sink: CallSink) -> Iterator[Any]:
    package = pytest.importorskip("openai")
    from taximeter_emitter.integrations.openai import wrap_openai

    with wrap_openai(package.OpenAI(base_url=url(api), api_key="sk-x"), ModelCalls(sink), customer="cus_1") as client:
        assert isinstance(client, package.OpenAI)
        yield client


@pytest.fixture
def anthropic(api: ApiServer, sink: CallSink) -> Iterator[Any]:
    package = pytest.importorskip("anthropic")
    from taximeter_emitter.integrations.anthropic import wrap_anthropic

    with wrap_anthropic(package.Anthropic(base_url=url(api).removesuffix("/v1"), api_key="sk-x"), ModelCalls(sink), customer="cus_1") as client:
        assert isinstance(client, package.Anthropic)
        yield client


def test_every_door_of_chat_is_one_event(openai: Any, sink: CallSink) -> None:
    completions = openai.chat.completions
    assert completions.create(model="m", messages=MESSAGES).usage.total_tokens == 11
    assert completions.with_raw_response.create(model="m", messages=MESSAGES).parse().usage.total_tokens == 11
    assert completions.parse(model="m", messages=MESSAGES).usage.total_tokens == 11
    with completions.with_streaming_response.create(model="m", messages=MESSAGES) as response:
        assert response.parse().usage.total_tokens == 11
    with completions.stream(model="m", messages=MESSAGES) as stream:
        assert stream.get_final_completion().choices[0].message.content == "ab"
    chunks = list(completions.create(model="m", messages=MESSAGES, stream=True))
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["a", "b", ""]
    assert sink.events == [WHOLE] * 6


def test_who_asks_for_usage_has_the_chunk_with_it(openai: Any, sink: CallSink) -> None:
    chunks = list(openai.chat.completions.create(model="m", messages=MESSAGES, stream=True, stream_options={"include_usage": True}))
    assert (chunks[-1].choices, chunks[-1].usage.total_tokens) == ([], 11)
    assert sink.events == [WHOLE]


def test_other_calls_of_openai(openai: Any, sink: CallSink) -> None:
    openai.embeddings.create(model="m", input="x")
    openai.audio.transcriptions.create(model="whisper", file=("x.wav", b"RIFF"))
    openai.responses.create(model="m", input="x")
    assert [event.type for event in openai.responses.create(model="m", input="x", stream=True)][-1] == "response.completed"
    with openai.responses.stream(model="m", input="x") as stream:
        stream.until_done()
    assert [event["usage"] for event in sink.events] == [{"input_tokens": 9}, {"audio_input_ms": 1500}, *[WHOLE["usage"]] * 3]


def test_a_retry_is_one_event(openai: Any, api: ApiServer, sink: CallSink) -> None:
    api.failures_left = 1
    openai.chat.completions.create(model="m", messages=MESSAGES)
    assert (api.requests, sink.events) == (2, [WHOLE])


def test_who_pays_can_be_said_with_each_request(openai: Any, sink: CallSink) -> None:
    openai.chat.completions.create(model="m", messages=MESSAGES, extra_headers={"taximeter-customer": "cus_9"})
    assert [event["customer"] for event in sink.events] == ["cus_9"]


def test_a_stream_that_is_broken_off_pays_what_was_delivered(openai: Any, api: ApiServer, sink: CallSink) -> None:
    api.slow = True
    stream = openai.chat.completions.create(model="m", messages=MESSAGES, stream=True)
    for _ in stream:
        break
    assert sink.events == []  # a break does not close the stream, and it may be read further
    stream.close()
    (event,) = sink.events
    assert (event["outcome"], event["usage_from"]) == ("aborted", "estimate")
    assert 1 <= event["usage"]["output_tokens"] < 100


async def test_an_async_client_alike(api: ApiServer, sink: CallSink) -> None:
    package = pytest.importorskip("openai")
    from taximeter_emitter.integrations.openai import wrap_openai

    async with wrap_openai(package.AsyncOpenAI(base_url=url(api), api_key="sk-x"), ModelCalls(sink), customer="cus_1") as client:
        await client.chat.completions.create(model="m", messages=MESSAGES)
        stream = await client.chat.completions.create(model="m", messages=MESSAGES, stream=True)
        assert len([chunk async for chunk in stream]) == 3
    assert sink.events == [WHOLE] * 2


def test_anthropic_whole_and_streamed(anthropic: Any, sink: CallSink) -> None:
    options: dict[str, Any] = {"model": "m", "max_tokens": 9, "messages": MESSAGES}
    anthropic.messages.create(**options)
    assert [event.type for event in anthropic.messages.create(**options, stream=True)][-1] == "message_stop"
    with anthropic.messages.stream(**options) as stream:
        assert stream.get_final_message().usage.output_tokens == 2
    assert sink.events == [WHOLE] * 3


def test_an_anthropic_stream_that_is_broken_off_pays_its_input_and_what_was_delivered(anthropic: Any, api: ApiServer, sink: CallSink) -> None:
    api.slow = True
    with anthropic.messages.create(model="m", max_tokens=9, messages=MESSAGES, stream=True) as stream:
        for event in stream:
            if event.type == "content_block_delta":
                break
    (emitted,) = sink.events
    assert (emitted["usage"]["input_tokens"], emitted["outcome"]) == (9, "aborted")
    assert 1 <= emitted["usage"]["output_tokens"] < 100
