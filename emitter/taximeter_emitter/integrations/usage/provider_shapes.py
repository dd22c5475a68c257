"""Usage of each provider as TokenCounts. The names in an object say which shape it has; its numbers never do.

OpenAI's inputs include what was cached; Anthropic's do not, and its cache numbers stand beside. Gemini's thoughts are beside its candidates.
What LiteLLM and others made of Anthropic's is OpenAI's shape, also where Anthropic's names are left beside.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from taximeter_emitter.integrations.usage.token_counts import TokenCounts, is_count
from taximeter_emitter.wire.limits import QUANTITY_MAX

ANTHROPIC_NAMES: Final = (
    "input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation", "output_tokens", "output_tokens_details",
    "server_tool_use", "iterations",
)  # fmt: skip


class CountReader:
    """Reads counts of one usage object by name, and keeps the names of numbers that are none."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def count(self, usage: object, *names: str) -> int | None:
        """The first of these that is there, or None."""
        for name in names:
            value = get(usage, name)
            if value is None:
                continue
            if is_count(value):
                return int(value)
            self.problems.append(name)
            return None
        return None


def get(seen: object, name: str) -> Any:
    """A field of a JSON object or of a client's model; None if it is not there."""
    return seen.get(name) if isinstance(seen, Mapping) else getattr(seen, name, None)


def items(seen: object) -> Sequence[Any]:
    """A list, or nothing if this is none."""
    return seen if isinstance(seen, (list, tuple)) else ()


def counts_of(usage: object, *, is_anthropic: bool = False) -> TokenCounts:
    """What this usage object says. One without any known name gives counts that are not known."""
    if get(usage, "promptTokenCount") is not None or get(usage, "prompt_token_count") is not None or get(usage, "totalTokenCount") is not None:
        return _gemini(usage)
    if get(usage, "total_token_count") is not None:
        return _gemini(usage)
    if get(usage, "type") == "duration":
        return _duration(usage)
    if get(usage, "prompt_tokens") is not None or get(usage, "completion_tokens") is not None:
        return _openai_chat(usage)
    if is_anthropic or any(get(usage, name) is not None for name in ("cache_read_input_tokens", "cache_creation_input_tokens", "cache_creation")):
        return _anthropic(usage)
    return _openai_responses(usage)


def _told(**values: int | None) -> dict[str, int]:
    return {name: value for name, value in values.items() if value is not None}


def _openai_chat(usage: object) -> TokenCounts:
    read = CountReader()
    given, made = get(usage, "prompt_tokens_details"), get(usage, "completion_tokens_details")
    cached = read.count(given, "cached_tokens")
    return TokenCounts(
        input=read.count(usage, "prompt_tokens"),
        output=read.count(usage, "completion_tokens"),
        total=read.count(usage, "total_tokens"),
        parts=_told(
            cached=read.count(usage, "prompt_cache_hit_tokens") if cached is None else cached,
            cache_write=read.count(given, "cache_write_tokens", "created_cache_tokens"),
            audio_input=read.count(given, "audio_tokens"),
            image_input=read.count(given, "image_tokens"),
            reasoning=read.count(made, "reasoning_tokens"),
            audio_output=read.count(made, "audio_tokens"),
            image_output=read.count(made, "image_tokens"),
        ),
        problems=tuple(read.problems),
    )


def _openai_responses(usage: object) -> TokenCounts:
    """Also transcriptions and Realtime, which write "token" in the names of details, and images."""
    read = CountReader()
    given = get(usage, "input_tokens_details") or get(usage, "input_token_details")
    made = get(usage, "output_tokens_details") or get(usage, "output_token_details")
    return TokenCounts(
        input=read.count(usage, "input_tokens"),
        output=read.count(usage, "output_tokens"),
        total=read.count(usage, "total_tokens"),
        parts=_told(
            cached=read.count(given, "cached_tokens"),
            cache_write=read.count(given, "cache_write_tokens"),
            audio_input=read.count(given, "audio_tokens"),
            image_input=read.count(given, "image_tokens"),
            reasoning=read.count(made, "reasoning_tokens"),
            audio_output=read.count(made, "audio_tokens"),
            image_output=read.count(made, "image_tokens"),
        ),
        problems=tuple(read.problems),
    )


def _duration(usage: object) -> TokenCounts:
    seconds = get(usage, "seconds")
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not 0 <= seconds <= QUANTITY_MAX / 1000:
        return TokenCounts(problems=("seconds",))
    return TokenCounts(others={"audio_input_ms": round(seconds * 1000)})


def _anthropic(usage: object) -> TokenCounts:
    """Iterations, where there are some, are all the attempts of one call: their sum is billed, and the numbers beside are the last one's."""
    read = CountReader()
    attempts = items(get(usage, "iterations")) or (usage,)
    sums: dict[str, int | None] = {}
    for attempt in attempts:
        created = get(attempt, "cache_creation")
        told = {
            "input": read.count(attempt, "input_tokens"),
            "cached": read.count(attempt, "cache_read_input_tokens"),
            "cache_write": read.count(attempt, "cache_creation_input_tokens"),
            "cache_write_1h": read.count(created, "ephemeral_1h_input_tokens"),
            "output": read.count(attempt, "output_tokens"),
            "reasoning": read.count(get(attempt, "output_tokens_details"), "thinking_tokens"),
        }
        if told["cache_write"] is None and created is not None:
            told["cache_write"] = (read.count(created, "ephemeral_5m_input_tokens") or 0) + (told["cache_write_1h"] or 0)
        for name, value in told.items():
            if value is not None:
                sums[name] = (sums.get(name) or 0) + value
    own, searches = sums.get("input"), get(usage, "server_tool_use")
    others = {name: read.count(searches, name) for name in ("web_search_requests", "web_fetch_requests")}
    return TokenCounts(
        input=None if own is None else own + (sums.get("cached") or 0) + (sums.get("cache_write") or 0),
        output=sums.get("output"),
        parts=_told(**{name: sums.get(name) for name in ("cached", "cache_write", "cache_write_1h", "reasoning")}),
        others={name: value for name, value in others.items() if value},
        problems=tuple(read.problems),
    )


def _gemini(usage: object) -> TokenCounts:
    """Tools' prompts are beside the prompt and thoughts beside the candidates, unless the total says that the candidates have the thoughts."""
    read = CountReader()
    prompt = read.count(usage, "promptTokenCount", "prompt_token_count")
    tools = read.count(usage, "toolUsePromptTokenCount", "tool_use_prompt_token_count") or 0
    candidates = read.count(usage, "candidatesTokenCount", "candidates_token_count")
    thoughts = read.count(usage, "thoughtsTokenCount", "thoughts_token_count")
    total = read.count(usage, "totalTokenCount", "total_token_count")
    given = None if prompt is None and not tools else (prompt or 0) + tools
    made = None if candidates is None and thoughts is None else (candidates or 0) + (thoughts or 0)
    if thoughts and candidates is not None and total == (given or 0) + candidates and thoughts <= candidates:
        made = candidates
    return TokenCounts(
        input=given,
        output=made,
        total=total,
        parts=_told(
            cached=read.count(usage, "cachedContentTokenCount", "cached_content_token_count"),
            reasoning=thoughts,
            audio_input=_modality(read, usage, "promptTokensDetails", "prompt_tokens_details", "AUDIO"),
            image_input=_modality(read, usage, "promptTokensDetails", "prompt_tokens_details", "IMAGE"),
            audio_output=_modality(read, usage, "candidatesTokensDetails", "candidates_tokens_details", "AUDIO"),
            image_output=_modality(read, usage, "candidatesTokensDetails", "candidates_tokens_details", "IMAGE"),
        ),
        problems=tuple(read.problems),
    )


def _modality(read: CountReader, usage: object, camel: str, snake: str, wanted: str) -> int | None:
    for detail in items(get(usage, camel) or get(usage, snake)):
        modality = get(detail, "modality")
        if getattr(modality, "value", modality) == wanted:
            return read.count(detail, "tokenCount", "token_count")
    return None
