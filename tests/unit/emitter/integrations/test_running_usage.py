"""Streams: later numbers replace earlier ones, whatever order a provider says them in."""

from collections.abc import Sequence
from typing import Any

from taximeter_emitter.integrations.usage.running_usage import RunningUsage


def run(chunks: Sequence[Any]) -> RunningUsage:
    running = RunningUsage()
    for chunk in chunks:
        running.saw(chunk)
    return running


def chunk(text: str | None = None, *, index: int = 0, finish: str | None = None, usage: dict[str, int] | None = None) -> dict[str, Any]:
    delta = {"role": "assistant"} if text is None else {"content": text}
    choice = {"index": index, "delta": delta, "finish_reason": finish}
    return {"object": "chat.completion.chunk", "model": "m", "choices": [choice], "usage": usage}


def last(prompt: int, completion: int) -> dict[str, Any]:
    usage = {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
    return {"object": "chat.completion.chunk", "model": "m", "choices": [], "usage": usage}


def running_tokens(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion}


def test_an_openai_stream_has_its_usage_in_the_last_chunk() -> None:
    running = run([chunk(), chunk("a"), chunk("b"), chunk("", finish="stop"), last(9, 2)])
    assert (running.counts.input, running.counts.output, running.is_final, running.has_ended, running.delivered) == (9, 2, True, True, 2)


def test_a_cut_openai_stream_has_delivered_chunks_only() -> None:
    running = run([chunk(), chunk("a"), chunk("b")])
    assert (running.counts.are_known, running.has_ended, running.delivered) == (False, False, 2)


def test_three_choices_with_running_usage_count_the_input_once_and_each_output() -> None:
    chunks = [chunk("a", index=index, usage=running_tokens(9, number)) for number in (1, 2) for index in range(3)]
    running = run(chunks)
    assert (running.counts.input, running.counts.output, running.is_final, running.has_ended) == (9, 6, False, False)
    for index in range(3):
        running.saw(chunk("", index=index, finish="stop", usage=running_tokens(9, 2)))
    assert running.has_ended
    running.saw(last(9, 7))
    assert (running.counts.output, running.is_final) == (7, True)


ANTHROPIC_START = {
    "type": "message_start",
    "message": {"model": "claude", "usage": {"input_tokens": 5, "cache_read_input_tokens": 90, "output_tokens": 1}},
}
ANTHROPIC_TEXT = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "x"}}


def test_anthropic_deltas_are_cumulative_and_what_they_leave_out_stays() -> None:
    first = {"type": "message_delta", "delta": {}, "usage": {"output_tokens": 20}}
    second = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"input_tokens": 6, "output_tokens": 41}}
    running = run([ANTHROPIC_START, ANTHROPIC_TEXT, first, second, {"type": "message_stop"}])
    assert (running.counts.input, running.counts.output, running.counts.parts["cached"]) == (96, 41, 90)
    assert (running.is_final, running.has_ended, running.model) == (True, True, "claude")


def test_a_cut_anthropic_stream_has_its_exact_input() -> None:
    running = run([ANTHROPIC_START, ANTHROPIC_TEXT, ANTHROPIC_TEXT, ANTHROPIC_TEXT])
    assert (running.counts.input, running.counts.output, running.delivered, running.is_final) == (95, 1, 3, False)


def test_responses_say_their_usage_when_they_end() -> None:
    usage = {"input_tokens": 4, "output_tokens": 3, "total_tokens": 7}
    running = run([{"type": "response.created", "response": {"model": "o5", "usage": None}}, {"type": "response.output_text.delta", "delta": "a"}])
    assert (running.is_final, running.has_ended, running.delivered) == (False, False, 1)
    running.saw({"type": "response.failed", "response": {"model": "o5", "usage": usage}})
    assert (running.counts.total, running.is_final, running.has_failed) == (7, True, True)


def test_gemini_chunks_are_cumulative_and_the_last_one_wins() -> None:
    def part(made: int, finish: str | None) -> dict[str, Any]:
        metadata = {"promptTokenCount": 8, "candidatesTokenCount": made, "totalTokenCount": 8 + made}
        return {"candidates": [{"finishReason": finish}], "usageMetadata": metadata}

    running = run([part(1, None), part(4, None)])
    assert (running.counts.output, running.is_final) == (4, False)
    running.saw(part(6, "STOP"))
    assert (running.counts.output, running.is_final) == (6, True)


def test_a_transcription_stream_says_its_usage_in_its_last_event() -> None:
    usage = {"type": "tokens", "input_tokens": 14, "output_tokens": 5, "total_tokens": 19}
    running = run([{"type": "transcript.text.delta", "delta": "x"}, {"type": "transcript.text.done", "usage": usage}])
    assert (running.counts.total, running.is_final, running.has_ended) == (19, True, True)


def test_what_is_unknown_changes_nothing() -> None:
    running = run([{}, [], "text", 7, None, {"type": "ping"}, {"choices": "x"}])
    assert (running.counts.are_known, running.delivered, running.is_final) == (False, 0, False)
