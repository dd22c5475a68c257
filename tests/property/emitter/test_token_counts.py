"""Whatever is split off, the token fields of an event add up to what the provider billed."""

from itertools import chain, combinations
from typing import Any, get_args

from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.integrations.usage.provider_shapes import counts_of
from taximeter_emitter.integrations.usage.token_counts import Split, check_split, split_usage

counts = st.integers(0, 5000)
maybe = st.none() | counts


def possible_splits() -> list[tuple[Split, ...]]:
    names = get_args(Split)
    found = []
    for split in chain.from_iterable(combinations(names, size) for size in range(len(names) + 1)):
        if not ({"audio", "image"} & set(split) and set(split) & {"cached", "cache_write", "cache_write_1h"}):
            found.append(check_split(split))
    return found


@st.composite
def usages(draw: st.DrawFn) -> tuple[dict[str, Any], int, bool]:
    """Usage, the provider's total, and whether the shape is Anthropic's."""
    given_tokens, made = draw(counts), draw(counts)
    details = {name: draw(maybe) for name in ("cached_tokens", "cache_write_tokens", "audio_tokens", "image_tokens")}
    of_output = {name: draw(maybe) for name in ("reasoning_tokens", "audio_tokens")}
    shape = draw(st.sampled_from(["chat", "responses", "anthropic", "gemini"]))
    total = given_tokens + made
    usage: dict[str, Any]
    if shape == "chat":
        usage = {"prompt_tokens": given_tokens, "completion_tokens": made, "total_tokens": total}
        return {**usage, "prompt_tokens_details": draw(st.none() | st.just(details)), "completion_tokens_details": of_output}, total, False
    if shape == "responses":
        usage = {"input_tokens": given_tokens, "output_tokens": made, "total_tokens": total}
        return {**usage, "input_tokens_details": details, "output_tokens_details": of_output}, total, False
    if shape == "anthropic":
        read, short, long = draw(maybe), draw(counts), draw(counts)
        created = {"ephemeral_5m_input_tokens": short, "ephemeral_1h_input_tokens": long}
        usage = {"input_tokens": given_tokens, "cache_read_input_tokens": read, "cache_creation": created, "output_tokens": made}
        if draw(st.booleans()):
            usage["cache_creation_input_tokens"] = short + long
        return usage, total + (read or 0) + short + long, True
    thoughts, tools = draw(maybe), draw(maybe)
    total += (thoughts or 0) + (tools or 0)
    usage = {"promptTokenCount": given_tokens, "candidatesTokenCount": made, "thoughtsTokenCount": thoughts, "toolUsePromptTokenCount": tools}
    return {**usage, "cachedContentTokenCount": details["cached_tokens"], "totalTokenCount": total}, total, False


@given(usages(), st.sampled_from(possible_splits()))
def test_fields_add_up_to_the_providers_total(drawn: tuple[dict[str, Any], int, bool], split: tuple[Split, ...]) -> None:
    usage, total, is_anthropic = drawn
    fields = split_usage(counts_of(usage, is_anthropic=is_anthropic), split)
    assert sum(fields.values()) == total
    assert all(quantity >= 0 for quantity in fields.values())


@given(st.dictionaries(st.text(), st.none() | st.booleans() | st.floats() | st.text() | st.lists(st.integers())) | st.lists(st.integers()))
def test_no_json_breaks_the_reading(usage: Any) -> None:
    counts_of(usage)
