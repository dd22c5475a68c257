"""A call is emitted once, however it ends."""

import asyncio
import gc
import os
from collections.abc import Generator, Iterable
from typing import Any

import pytest
from taximeter_emitter.integrations import ModelCalls

from tests.support.emitter_model_api import CallSink
from tests.support.emitter_model_api import call_event as event

RESPONSE = {
    "object": "chat.completion",
    "model": "m-2",
    "choices": [{"message": {}}],
    "usage": {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11},
}


def delta(text: str) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "model": "m-2", "choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}


def break_off(calls: ModelCalls, chunks: Iterable[Any], error: type[BaseException] = RuntimeError) -> None:
    """A call that raises after these chunks."""
    with calls.call("cus_1", model="m-2") as call:
        for chunk in chunks:
            call.saw(chunk)
        raise error


def test_a_recorded_response_is_one_event() -> None:
    sink = CallSink()
    assert ModelCalls(sink).record(RESPONSE, customer="cus_1")
    assert sink.events == [event(input_tokens=9, output_tokens=2)]


def test_a_call_that_ends_is_one_event_and_settling_it_again_is_none() -> None:
    sink = CallSink()
    with ModelCalls(sink).call("cus_1", model="asked") as call:
        call.saw(RESPONSE)
        call.settle()
    assert not call.settle()
    assert sink.events == [event(input_tokens=9, output_tokens=2)]


@pytest.mark.parametrize(("error", "outcome"), [(RuntimeError, "error"), (asyncio.CancelledError, "aborted"), (KeyboardInterrupt, "aborted")])
def test_a_call_that_an_exception_ends_counts_what_was_delivered(error: type[BaseException], outcome: str) -> None:
    sink = CallSink()
    with pytest.raises(error):
        break_off(ModelCalls(sink), [delta("a"), delta("b")], error)
    assert sink.events == [event(outcome=outcome, usage_from="estimate", output_tokens=2)]


def test_a_generator_that_is_closed_or_forgotten_is_an_aborted_call() -> None:
    sink = CallSink()
    calls = ModelCalls(sink)

    def stream() -> Generator[str, None, None]:
        with calls.call("cus_1") as call:
            for text in "abc":
                call.saw(delta(text))
                yield text

    for chunks in (stream(), stream()):
        next(chunks)
        if not sink.events:
            chunks.close()
    del chunks
    gc.collect()
    assert sink.events == [event(outcome="aborted", usage_from="estimate", output_tokens=1)] * 2


def test_a_call_that_nobody_settles_is_emitted_when_nothing_refers_to_it() -> None:
    sink = CallSink()
    call = ModelCalls(sink).call("cus_1")
    call.saw(delta("a"))
    assert not sink.events
    del call
    gc.collect()
    assert sink.events == [event(outcome="aborted", usage_from="estimate", output_tokens=1)]


def test_leaving_a_stream_in_the_middle_is_aborted_though_no_exception_says_so() -> None:
    sink = CallSink()
    with ModelCalls(sink).call("cus_1") as call:
        call.saw(delta("a"))
    assert sink.events == [event(outcome="aborted", usage_from="estimate", output_tokens=1)]


def test_aborted_calls_can_be_left_out_and_finished_ones_never_are() -> None:
    sink = CallSink()
    calls = ModelCalls(sink, aborted="ignore")
    for chunks in ([delta("a")], [delta("a"), RESPONSE]):
        with pytest.raises(RuntimeError):
            break_off(calls, chunks)
    assert sink.events == [event(input_tokens=9, output_tokens=2)]


def test_running_usage_of_an_aborted_call_counts_as_it_is() -> None:
    sink = CallSink()
    with pytest.raises(RuntimeError):
        break_off(ModelCalls(sink), [{**delta("a b"), "usage": {"prompt_tokens": 9, "completion_tokens": 3}}])
    assert sink.events == [event(outcome="error", usage_from="partial", input_tokens=9, output_tokens=3)]


def test_a_call_that_failed_before_any_token_is_nothing_unless_requests_count() -> None:
    sink = CallSink()
    for count_requests in (False, True):
        with pytest.raises(RuntimeError):
            break_off(ModelCalls(sink, count_requests=count_requests), [])
    assert sink.events == [{"customer": "cus_1", "usage": {"requests": 1}, "model": "m-2", "outcome": "error"}]


def test_a_call_that_ends_without_usage_is_an_estimate_and_is_counted() -> None:
    sink = CallSink()
    calls = ModelCalls(sink)
    finish = {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    with calls.call("cus_1") as call:
        call.saw(delta("a"))
        call.saw(finish)
    assert sink.events == [event(usage_from="estimate", output_tokens=1)]
    assert calls.counts.without_usage == 1


def test_without_a_customer_nothing_is_emitted_and_that_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    sink = CallSink()
    calls = ModelCalls(sink)
    assert not calls.record(RESPONSE)
    assert (sink.events, calls.counts.without_customer) == ([], 1)
    assert "has no customer" in caplog.text


def test_the_surrounding_block_says_who_pays_in_each_task() -> None:
    sink = CallSink()
    calls = ModelCalls(sink)

    async def ask(customer: str) -> None:
        with calls.customer(customer):
            await asyncio.sleep(0)
            calls.record(RESPONSE)

    async def both() -> None:
        await asyncio.gather(ask("cus_1"), ask("cus_2"))

    asyncio.run(both())
    assert sorted(each["customer"] for each in sink.events) == ["cus_1", "cus_2"]


def test_a_strange_object_does_not_break_the_stream() -> None:
    class Strange:
        def __getattr__(self, name: str) -> Any:
            raise RuntimeError(name)

    calls = ModelCalls(CallSink())
    with calls.call("cus_1") as call:
        call.saw(Strange())
    assert calls.counts.unreadable == 1


def test_a_forked_child_does_not_emit_what_its_parent_will() -> None:
    sink = CallSink()
    call = ModelCalls(sink).call("cus_1")
    call.saw(delta("a"))
    child = os.fork()
    if not child:
        call.settle()
        os._exit(len(sink.events))
    assert os.waitpid(child, 0)[1] == 0
    assert call.settle()
    assert len(sink.events) == 1
