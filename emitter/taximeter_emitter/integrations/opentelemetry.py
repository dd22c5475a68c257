"""A span processor that meters the spans of model calls, as the GenAI conventions and their forerunners name them.

provider.add_span_processor(usage_spans(calls, customer="enduser.id"))

It sees recorded spans only: the sampler has to record all, ahead of any that drops some. A span may cover the retries of a call.
"""

from collections.abc import Collection, Mapping
from typing import Any, Final

from taximeter_emitter.integrations.libraries import library
from taximeter_emitter.integrations.model_calls import ModelCalls
from taximeter_emitter.integrations.usage.token_counts import TokenCounts, is_count

# Spans of agents and tools repeat what these have.
OPERATIONS: Final = frozenset({"chat", "text_completion", "generate_content", "embeddings"})
_USAGE: Final = "gen_ai.usage."
# The newest name first.
_WHOLES: Final = {"input": ("input_tokens", "prompt_tokens"), "output": ("output_tokens", "completion_tokens")}
_PARTS: Final = {
    "cached": ("cache_read.input_tokens", "input_tokens.cached"),
    "cache_write": ("cache_write.input_tokens", "cache_creation.input_tokens"),
    "reasoning": ("reasoning.output_tokens", "output_tokens.reasoning", "reasoning_tokens"),
    "audio_input": ("audio.input_tokens",),
    "audio_output": ("audio.output_tokens",),
    "image_input": ("image.input_tokens",),
    "image_output": ("image.output_tokens",),
}


def usage_spans(calls: ModelCalls, *, customer: str, scopes: Collection[str] = ()) -> Any:
    """A SpanProcessor that meters.

    `customer`: the attribute, of the span or else of its resource, that says who pays. A surrounding `calls.customer(...)` does, too, where spans
    end within it.
    `scopes`: names of the instrumentations that count, all if none is given. Two for one library make two spans of each call: name one of them.

    Raises ModuleNotFoundError without opentelemetry-sdk.
    """
    base = library("opentelemetry.sdk.trace", "opentelemetry").SpanProcessor
    return type("UsageSpans", (_EndedSpans, base), {})(calls, customer, frozenset(scopes))


def counts_of_span(attributes: Mapping[str, Any]) -> TokenCounts:
    """What these attributes say. Wholes include their parts, by the conventions."""
    problems: list[str] = []

    def count(names: tuple[str, ...]) -> int | None:
        for name in names:
            value = attributes.get(_USAGE + name)
            if value is not None:
                if is_count(value):
                    return int(value)
                problems.append(_USAGE + name)
                return None
        return None

    parts = {part: value for part, names in _PARTS.items() if (value := count(names)) is not None}
    return TokenCounts(input=count(_WHOLES["input"]), output=count(_WHOLES["output"]), parts=parts, problems=tuple(problems))


class _EndedSpans:
    def __init__(self, calls: ModelCalls, customer: str, scopes: frozenset[str]) -> None:
        self._calls = calls
        self._customer = customer
        self._scopes = scopes

    def on_end(self, span: Any) -> None:
        attributes = span.attributes or {}
        scope = span.instrumentation_scope
        if attributes.get("gen_ai.operation.name") not in OPERATIONS or (self._scopes and (scope is None or scope.name not in self._scopes)):
            return
        customer = attributes.get(self._customer) or span.resource.attributes.get(self._customer)
        model = attributes.get("gen_ai.response.model") or attributes.get("gen_ai.request.model")
        context = span.context
        call = self._calls.call(
            customer if isinstance(customer, str) else None,
            model=model if isinstance(model, str) else "",
            # The trace may be the client's choice; the span is ours.
            event_id=f"{context.trace_id:032x}-{context.span_id:016x}",
        )
        call.running.take(counts_of_span(attributes), is_final=True)
        call.settle("error" if span.status.status_code.name == "ERROR" else "ok")
