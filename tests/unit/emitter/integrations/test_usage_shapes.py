"""Usage of every known provider becomes fields in which each token is once."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from taximeter_emitter.integrations.usage.provider_shapes import counts_of
from taximeter_emitter.integrations.usage.running_usage import RunningUsage
from taximeter_emitter.integrations.usage.token_counts import check_split, fields_of_split, split_usage

GOLDEN: dict[str, dict[str, Any]] = json.loads((Path(__file__).parent / "golden_usage.json").read_text())
SPLIT = check_split(("cached", "cache_write", "reasoning"))


def as_object(value: Any) -> Any:
    """JSON as a client's models hold it."""
    if isinstance(value, dict):
        return SimpleNamespace(**{name: as_object(each) for name, each in value.items()})
    return [as_object(each) for each in value] if isinstance(value, list) else value


def seen(response: Any) -> RunningUsage:
    running = RunningUsage()
    running.saw(response)
    return running


@pytest.mark.parametrize("name", GOLDEN)
@pytest.mark.parametrize("as_read", [lambda response: response, as_object], ids=["json", "object"])
def test_golden_shapes(name: str, as_read: Any) -> None:
    golden = GOLDEN[name]
    running = seen(as_read(golden["response"]))
    assert running.model == golden["model"]
    assert running.is_final
    assert running.counts.are_consistent
    assert split_usage(running.counts, ()) == golden["folded"]
    assert split_usage(running.counts, SPLIT) == golden["split"]


def test_a_ttl_that_is_priced_apart_is_split_off_what_was_written() -> None:
    counts = seen(GOLDEN["Anthropic, read from and written to the cache"]["response"]).counts
    fields = split_usage(counts, check_split(["cache_write_1h", "cached", "cache_write"]))
    assert (fields["cache_write_tokens"], fields["cache_write_1h_tokens"]) == (1000, 253)
    assert split_usage(counts, check_split(["cache_write_1h"]))["input_tokens"] == 130213 - 253


@pytest.mark.parametrize(
    "usage",
    [
        {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 11}},
        {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": 6, "cache_write_tokens": 6}},
        {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": -1}},
        {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 12, "prompt_tokens_details": {"cached_tokens": True}},
        {"prompt_tokens": 10, "completion_tokens": 2, "total_tokens": 13, "prompt_tokens_details": {"cached_tokens": 4}},
        {"prompt_tokens": 10, "completion_tokens": 2, "completion_tokens_details": {"reasoning_tokens": 3}},
    ],
)
def test_parts_that_do_not_fit_stay_in_their_whole(usage: dict[str, Any]) -> None:
    counts = counts_of(usage)
    assert not counts.are_consistent
    assert split_usage(counts, SPLIT) == {"input_tokens": 10, "output_tokens": 2}


def test_what_was_not_said_has_no_field_and_what_is_no_count_is_named() -> None:
    assert not counts_of({"input_tokens": None, "output_tokens": None}).are_known
    assert counts_of({"prompt_tokens": -5, "completion_tokens": 2.5}).problems == ("prompt_tokens", "completion_tokens")
    assert counts_of({"type": "duration", "seconds": float("nan")}).problems == ("seconds",)


@pytest.mark.parametrize("split", [("cached", "audio"), ("image", "cache_write_1h"), ("cachd",), "cached"])
def test_a_split_that_cannot_be_right_is_refused(split: Any) -> None:
    with pytest.raises(ValueError, match="split: "):
        check_split(split)


def test_a_split_says_which_fields_meters_have_to_sum() -> None:
    assert fields_of_split(check_split(("audio", "reasoning"))) == {"audio_input_tokens", "audio_output_tokens", "reasoning_tokens"}
