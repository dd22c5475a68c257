"""A model's API as it looks from outside, and where the events of its calls go."""

from collections.abc import Mapping
from typing import Any

import orjson


class CallSink:
    """Takes events as an emitter does, and keeps them."""

    def __init__(self) -> None:
        self.events: list[dict[str, Any]] = []
        self.ids: list[str | None] = []

    def emit(self, *, customer: str, usage: Mapping[str, int], dimensions: Mapping[str, str] | None = None, event_id: str | None = None) -> bool:
        self.ids.append(event_id)
        self.events.append({"customer": customer, "usage": dict(usage), **(dimensions or {})})
        return True


def call_event(customer: str = "cus_1", outcome: str = "ok", usage_from: str = "provider", **usage: int) -> dict[str, Any]:
    return {"customer": customer, "usage": usage, "model": "m-2", "outcome": outcome, "usage_from": usage_from}


def chat_response(prompt: int = 9, completion: int = 2) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": "ab"}, "finish_reason": "stop"}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "m-2",
        "choices": [choice],
        "usage": chat_usage(prompt, completion),
    }


def chat_usage(prompt: int = 9, completion: int = 2) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


def chat_chunk(text: str, *, finish: str | None = None) -> dict[str, Any]:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-2", "choices": [choice]}


def usage_chunk() -> dict[str, Any]:
    return {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "m-2", "choices": [], "usage": chat_usage()}


def server_events(*chunks: dict[str, Any], end: bytes = b"\n") -> list[bytes]:
    return [b"data: " + orjson.dumps(chunk) + end + end for chunk in chunks]


def chat_stream(request: Mapping[str, Any], texts: str = "ab") -> list[bytes]:
    """The events of a stream as OpenAI sends them: with usage only if the request asks for it."""
    chunks = [*(chat_chunk(text) for text in texts), chat_chunk("", finish="stop")]
    asked = (request.get("stream_options") or {}).get("include_usage") is True
    return [*server_events(*chunks, *([usage_chunk()] if asked else [])), b"data: [DONE]\n\n"]
