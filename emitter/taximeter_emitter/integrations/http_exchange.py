"""One HTTP call of a model's API, as its bytes pass: what is asked, what is added to it, and what comes back. No I/O.

Servers and clients share it. Bytes are handed on as they come, but for one thing: if usage was asked for that the caller did not ask for, the
chunk that has it is taken out again, and for that the end of each event is awaited.
"""

from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson

from taximeter_emitter.integrations.event_stream import EventCutter, data_of
from taximeter_emitter.integrations.model_calls import CallOutcome, ModelCall, ModelCalls

BODY_BYTES_MAX: Final = 8 * 1024 * 1024

METERED_PATHS: Final = (
    "/chat/completions", "/completions", "/responses", "/embeddings", "/audio/transcriptions", "/audio/translations", "/audio/speech",
    "/images/generations", "/images/edits", "/images/variations", "/v1/messages",
)  # fmt: skip
_USAGE_ON_REQUEST: Final = ("/chat/completions", "/completions")
_EVENTS: Final = "text/event-stream"
_JSON: Final = "application/json"
_DONE: Final = b"[DONE]"


def is_metered(method: str, path: str) -> bool:
    """Whether such a request makes a model work. Reading a stored response does not."""
    return method == "POST" and path.rstrip("/").endswith(METERED_PATHS)


class AskedCall:
    """What a request asks for. `body`: what to send instead, or None to leave it. `hides_usage`: whether usage was added to it."""

    def __init__(self, path: str, body: bytes, *, inject: bool) -> None:
        self.body: bytes | None = None
        self.model = ""
        asked = _parsed(body)
        if not isinstance(asked, dict):
            return
        model = asked.get("model")
        self.model = model if isinstance(model, str) else ""
        options = asked.get("stream_options")
        is_chat = path.rstrip("/").endswith(_USAGE_ON_REQUEST)
        if inject and is_chat and asked.get("stream") is True and (options is None or isinstance(options, dict)):
            options = options or {}
            if options.get("include_usage") is not True:
                self.body = orjson.dumps({**asked, "stream_options": {**options, "include_usage": True}})

    @property
    def hides_usage(self) -> bool:
        """Whether the chunk with usage is kept from the caller, who did not ask for it."""
        return self.body is not None


class AnsweredCall:
    """The answer to one call. `saw_body` takes the bytes and gives back those to hand on."""

    def __init__(self, calls: ModelCalls, call: ModelCall, *, status: int, headers: Mapping[str, str], hides_usage: bool) -> None:
        kind = headers.get("content-type", "").partition(";")[0].strip().lower()
        encoding = headers.get("content-encoding", "identity").strip().lower()
        self._calls = calls
        self._call = call
        self._is_refused = not 200 <= status < 300
        self._events = EventCutter() if kind == _EVENTS and encoding == "identity" else None
        self._whole: bytearray | None = bytearray() if kind == _JSON and encoding == "identity" else None
        self._hides = hides_usage
        self._is_complete = False
        if not self._is_refused and encoding != "identity":
            calls.note_unreadable(f"its content-encoding is {encoding}; put the meter inside of what compresses")

    @property
    def has_ended(self) -> bool:
        """Whether the model said that its answer is complete; what comes after it is usage and marks."""
        return self._call.running.has_ended

    def saw_body(self, data: bytes) -> bytes:
        """Read these bytes; which of them to hand on now."""
        if self._is_refused or not data:
            return data
        if self._whole is not None:
            self._whole += data
            if len(self._whole) > BODY_BYTES_MAX:
                self._whole = None
                self._calls.note_unreadable(f"its body is larger than {BODY_BYTES_MAX} bytes")
        elif self._events is not None:
            shown = self._read(self._events.feed(data))
            return shown if self._hides else data
        return data

    def saw_end(self) -> bytes:
        """The body is complete; what is left to hand on."""
        self._is_complete = True
        if self._events is None:
            return b""
        rest = self._events.rest()
        shown = self._read([rest] if rest else [])
        return shown if self._hides else b""

    def settle(self, outcome: CallOutcome | None = None) -> None:
        """The exchange is over, whether the body was complete or not. Emits the call's event, once."""
        if self._whole:
            response = _parsed(bytes(self._whole))
            if response is not None:
                self._call.saw(response)
            elif self._is_complete:
                self._calls.note_unreadable("its body is not JSON")
        self._whole = None
        running = self._call.running
        if self._is_refused:
            outcome = "error"
        elif outcome is None and not self._is_complete and not running.has_ended and not running.has_failed:
            outcome = "aborted"
        elif outcome is None and self._is_complete and self._events is not None and not running.has_failed:
            outcome = "ok"
        self._call.settle(outcome)

    def _read(self, events: Iterable[bytes]) -> bytes:
        shown = []
        for event in events:
            data = data_of(event)
            chunk = None if not data or data == _DONE else _parsed(data)
            if chunk is not None:
                self._call.saw(chunk)
            elif data == _DONE:
                self._is_complete = True
            elif data:
                self._calls.note_unreadable("an event of its stream is not JSON")
            if not (self._hides and _is_usage_alone(chunk)):
                shown.append(event)
        return b"".join(shown)


def _is_usage_alone(chunk: Any) -> bool:
    return isinstance(chunk, dict) and chunk.get("choices") == [] and chunk.get("usage") is not None


def _parsed(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except orjson.JSONDecodeError:
        return None
