"""The real clients of OpenAI and Anthropic, metered, against an API on this host. Skipped, by name, where a client is not installed."""

from collections.abc import Iterator
from typing import Any

import pytest
from taximeter_emitter.integrations import ModelCalls

from tests.support.emitter_api_server import ApiServer, api_server, url
from tests.support.emitter_model_api import CallSink, call_event

MESSAGES: list[dict[str, str]] = [{"role": "user", "content": "x"}]
WHOLE = call_event(input_tokens=9, output_tokens=2)


@pytest.fixture
def api() -> Iterator[ApiServer]:
    with api_server() as server:
        yield server


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
