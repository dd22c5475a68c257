"""What one call has used so far, from its response or from the chunks of its stream. Pure.

Numbers in a stream are cumulative with every provider that sends some: later ones replace earlier ones, and are never added.
"""

from collections.abc import Mapping
from typing import Any, Final, Literal

from taximeter_emitter.integrations.usage.provider_shapes import ANTHROPIC_NAMES, counts_of, get, items
from taximeter_emitter.integrations.usage.token_counts import TokenCounts

UsageFrom = Literal["provider", "partial", "estimate"]
CHOICES_MAX: Final = 128  # of a stream whose choices are counted apart

_ENDS: Final = ("response.completed", "response.incomplete", "response.failed", "response.done")
_FAILURES: Final = ("response.failed", "error")
_OTHER_ENDS: Final = ("transcript.text.done", "speech.audio.done", "image_generation.completed", "image_edit.completed")


class RunningUsage:
    """One call. `delivered`: chunks that brought something; one may hold several tokens, so they are an estimate from below.

    `model`: the response's, "" if it names none. `is_stream`: whether chunks were seen. `has_ended`: whether the provider said that all was
    sent. `has_failed`: whether it said that it failed. `is_final`: whether `counts` are of the whole call. `is_estimate`: whether somebody else
    estimated them.
    """

    def __init__(self) -> None:
        self.model = ""
        self.delivered = 0
        self.is_stream = False
        self.has_ended = False
        self.has_failed = False
        self.is_final = False
        self.is_estimate = False
        self._counts = TokenCounts()
        self._of_choices: dict[int, TokenCounts] = {}
        self._open_choices: set[int] = set()
        self._anthropic: dict[str, Any] = {}

    @property
    def counts(self) -> TokenCounts:
        """The latest that the provider said."""
        if self.is_final or not self._of_choices:
            return self._counts
        latest = list(self._of_choices.values())
        if len(latest) == 1:
            return latest[0]
        # Each choice has the whole input, and its own output; the parts of a side cannot be told apart.
        inputs = [counts.input for counts in latest if counts.input is not None]
        return TokenCounts(
            input=max(inputs, default=None),
            output=sum(counts.output or 0 for counts in latest),
            problems=tuple(name for counts in latest for name in counts.problems),
        )

    def saw(self, seen: object) -> None:
        """Take in a response, a chunk or an event: a client's object, or JSON as Python reads it. What is unknown changes nothing."""
        kind = get(seen, "type")
        if get(seen, "error") and not get(seen, "object"):
            self.has_failed = True
        if isinstance(kind, str) and (kind.startswith(("message", "content_block")) or kind in {"ping", "error"}):
            self._saw_anthropic(kind, seen)
        elif isinstance(kind, str) and (kind.startswith("response.") or kind.endswith((".delta", ".done", ".completed", ".partial_image"))):
            self._saw_event(kind, seen)
        elif get(seen, "choices") is not None:
            self._saw_choices(seen)
        elif get(seen, "usageMetadata") is not None or get(seen, "usage_metadata") is not None or get(seen, "candidates") is not None:
            self._saw_gemini(seen)
        else:
            self._saw_whole(seen)

    def _saw_whole(self, seen: object, *, is_anthropic: bool = False) -> None:
        self._name(get(seen, "model"))
        usage = get(seen, "usage")
        if usage is None and (get(seen, "input_tokens") is not None or get(seen, "prompt_tokens") is not None):
            usage = seen  # the usage itself
        if usage is not None:
            self.take(counts_of(usage, is_anthropic=is_anthropic), is_final=True)
            self.has_ended = True
        if get(seen, "status") == "failed":
            self.has_failed = True

    def _saw_choices(self, seen: object) -> None:
        self._name(get(seen, "model"))
        choices, usage = items(get(seen, "choices")), get(seen, "usage")
        is_whole = get(seen, "object") == "chat.completion" or any(get(choice, "message") is not None for choice in choices)
        if not is_whole:
            self.is_stream = True
            for choice in choices:
                self._saw_choice(choice)
        if usage is not None:
            counts = counts_of(usage)
            if is_whole or not choices:
                self.take(counts, is_final=True)
            elif not self.is_final and len(self._of_choices) < CHOICES_MAX:
                self._of_choices[_index(choices[0])] = counts
        if is_whole or (usage is not None and not choices):
            self.has_ended = True

    def _saw_choice(self, choice: object) -> None:
        index = _index(choice)
        if len(self._open_choices) < CHOICES_MAX:
            self._open_choices.add(index)
        if _brings_something(choice):
            self.delivered += 1
        if get(choice, "finish_reason") is not None:
            self._open_choices.discard(index)
            self.has_ended = not self._open_choices

    def _saw_anthropic(self, kind: str, seen: object) -> None:
        if kind == "message":
            self._saw_whole(seen, is_anthropic=True)
            return
        if kind == "error":
            self.has_failed = True
            return
        self.is_stream = True
        message = get(seen, "message") if kind == "message_start" else None
        self._name(get(message, "model"))
        usage = get(message, "usage") if kind == "message_start" else get(seen, "usage")
        if usage is not None:
            self._anthropic |= {name: value for name in ANTHROPIC_NAMES if (value := get(usage, name)) is not None}
            self.take(counts_of(self._anthropic, is_anthropic=True), is_final=kind == "message_delta")
        if kind == "content_block_delta":
            self.delivered += 1
        if kind == "message_stop" or (kind == "message_delta" and get(get(seen, "delta"), "stop_reason") is not None):
            self.has_ended = True

    def _saw_event(self, kind: str, seen: object) -> None:
        self.is_stream = True
        response = get(seen, "response")
        self._name(get(response, "model"))
        if kind.endswith((".delta", ".partial_image")):
            self.delivered += 1
        if kind in _FAILURES:
            self.has_failed = True
        if kind in _ENDS or kind in _OTHER_ENDS:
            self.has_ended = True
            usage = get(response, "usage") if kind in _ENDS else get(seen, "usage")
            if usage is not None:
                self.take(counts_of(usage), is_final=True)

    def _saw_gemini(self, seen: object) -> None:
        self._name(get(seen, "modelVersion") or get(seen, "model_version"))
        usage = get(seen, "usageMetadata") or get(seen, "usage_metadata")
        candidates = items(get(seen, "candidates"))
        finished = any((get(each, "finishReason") or get(each, "finish_reason")) is not None for each in candidates)
        self.is_stream = True
        self.delivered += bool(candidates)
        self.has_ended = self.has_ended or finished
        if usage is not None:
            self.take(counts_of(usage), is_final=finished or self.is_final)

    def take(self, counts: TokenCounts, *, is_final: bool) -> None:
        """Take in counts that were read already; they replace earlier ones."""
        if counts.are_known or counts.problems:
            self._counts = counts
            self.is_final = is_final

    def _name(self, model: object) -> None:
        if isinstance(model, str) and model:
            self.model = model


def _index(choice: object) -> int:
    index = get(choice, "index")
    return index if isinstance(index, int) else 0


def _brings_something(choice: object) -> bool:
    """Whether this chunk of a choice has text, a part of a tool's call, or anything else but its role."""
    if get(choice, "text"):
        return True
    delta = get(choice, "delta")
    if delta is None:
        return False
    if isinstance(delta, Mapping):
        return any(value for name, value in delta.items() if name != "role")
    dump = getattr(delta, "model_dump", None)
    return _brings_something({"delta": dump()}) if callable(dump) else bool(get(delta, "content"))
