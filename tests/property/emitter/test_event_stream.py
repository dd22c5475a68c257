"""Where a stream is cut changes nothing: not what is handed on, and not what is counted."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.integrations import ModelCalls
from taximeter_emitter.integrations.event_stream import EVENT_BYTES_MAX, EventCutter, data_of
from taximeter_emitter.integrations.http_exchange import AnsweredCall

from tests.support.emitter_model_api import CallSink, call_event, chat_chunk, server_events, usage_chunk

ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])
CHUNKS = (chat_chunk("ä"), chat_chunk("b\n\nc"), chat_chunk("", finish="stop"), usage_chunk())


def stream_of(end: bytes) -> tuple[bytes, bytes]:
    """A whole stream, and the same without its usage."""
    events = [b": keep-alive" + end + end, *server_events(*CHUNKS, end=end), b"data: [DONE]" + end + end]
    return b"".join(events), b"".join(event for event in events if b'"usage"' not in event)


def answered(sink: CallSink, *, hides_usage: bool) -> AnsweredCall:
    calls = ModelCalls(sink)
    return AnsweredCall(calls, calls.call("cus_1"), status=200, headers={"content-type": "text/event-stream"}, hides_usage=hides_usage)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    places = [0, *sorted({cut % (len(data) + 1) for cut in cuts}), len(data)]
    return [data[start:end] for start, end in pairwise(places)]


@given(ENDS, st.lists(st.integers(0, 10_000), max_size=30), st.booleans())
def test_any_cuts_give_the_same_bytes_and_the_same_event(end: bytes, cuts: list[int], hides_usage: bool) -> None:
    whole, without_usage = stream_of(end)
    sink = CallSink()
    call = answered(sink, hides_usage=hides_usage)
    shown = b"".join([*(call.saw_body(piece) for piece in pieces(whole, cuts)), call.saw_end()])
    call.settle()
    assert shown == (without_usage if hides_usage else whole)
    assert sink.events == [call_event(input_tokens=9, output_tokens=2)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_cut_at_every_byte_gives_the_same(end: bytes) -> None:
    whole, without_usage = stream_of(end)
    for place in range(len(whole)):
        sink = CallSink()
        call = answered(sink, hides_usage=True)
        assert call.saw_body(whole[:place]) + call.saw_body(whole[place:]) + call.saw_end() == without_usage
        call.settle()
        assert sink.events == [call_event(input_tokens=9, output_tokens=2)]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_that_ends_at_any_byte_counts_what_came(end: bytes) -> None:
    whole, _ = stream_of(end)
    for length in range(len(whole)):
        sink = CallSink()
        call = answered(sink, hides_usage=False)
        call.saw_body(whole[:length])
        call.settle()
        (event,) = sink.events or [{"usage": {}, "outcome": "aborted"}]
        assert event["usage"] in ({}, {"output_tokens": 1}, {"output_tokens": 2}, {"input_tokens": 9, "output_tokens": 2})
        assert event["outcome"] == ("ok" if call.has_ended else "aborted")


@given(st.lists(st.sampled_from([b"data: x", b"\r", b"\n", b"\r\n", b": c", b"data:{}", b"\xc3"]), max_size=40), st.lists(st.integers(0, 1000)))
def test_events_of_any_bytes_are_the_same_wherever_they_are_cut(parts: list[bytes], cuts: list[int]) -> None:
    data = b"".join(parts)
    cut, whole = EventCutter(), EventCutter()
    events = [event for piece in pieces(data, cuts) for event in cut.feed(piece)]
    assert b"".join([*events, cut.rest()]) == data
    assert [data_of(event) for event in events if data_of(event)] == [data_of(event) for event in whole.feed(data) if data_of(event)]


def test_an_event_without_end_is_given_out_and_never_held_beyond_the_bound() -> None:
    cutter = EventCutter()
    given_out = b"".join(event for _ in range(3) for event in cutter.feed(b"x" * EVENT_BYTES_MAX))
    assert cutter.too_long
    assert len(given_out) + len(cutter.rest()) == 3 * EVENT_BYTES_MAX
