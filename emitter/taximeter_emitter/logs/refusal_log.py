"""Say that `emit` does not take events, and why: at most once a minute for each reason, in the message itself, and never what was in the event.

A text that may come from an event is cut, and no character in it can begin a new line.
"""

import logging
from typing import Any, Final

from taximeter_emitter.clock import Clock
from taximeter_emitter.wire.errors import EventRejected

SAID_AGAIN_SECONDS: Final = 60.0

_LOG: Final = logging.getLogger("taximeter.emitter")
_TEXT_CHARS_MAX: Final = 300
_FULL: Final = (
    "memory_bytes_max is reached, and events are dropped; Kafka is away or too slow, and a spool_dir, if there is one, is full too"
    " (see stats().last_error)"
)
_CLOSED: Final = "the emitter is closed, and events that come later are dropped"


class RefusalLog:
    """Takes no lock and never raises, because the calling thread is the caller's own. Two threads at once may both say the same."""

    def __init__(self, source: str, clock: Clock) -> None:
        self._source = source
        self._clock = clock
        # By reason: when it was last said, and how many there had been then.
        self._said: dict[str, tuple[float, int]] = {}

    def refused(self, refusal: EventRejected, total: int) -> None:
        """An event is invalid; `total` were refused for this reason so far."""
        self._say(refusal.reason, f"emit refused an event ({refusal.reason}): {_clean(str(refusal))}", total)

    def not_readable(self, error: Exception, arguments: dict[str, Any], reason: str, total: int) -> None:
        """The arguments raised an error when they were read. Only types are named: the error may quote what was in them."""
        types = ", ".join(f"{name} is {type(value).__name__}" for name, value in arguments.items() if value is not None)
        self._say(reason, f"emit refused an event ({reason}): {type(error).__name__} when its arguments were read; {_clean(types)}", total)

    def dropped(self, total: int, *, is_closed: bool) -> None:
        """A valid event was dropped; `total` so far."""
        self._say("closed" if is_closed else "full", _CLOSED if is_closed else _FULL, total)

    def unknown_usage(self, fields: dict[str, int]) -> None:
        """`fields`: how many events had each unknown field so far. Says nothing if there is no news."""
        total = sum(fields.values())
        if total > self._said.get("unknown_usage", (0.0, 0))[1]:
            names = _clean(", ".join(list(fields)[:10]))
            self._say("unknown_usage", f"usage_fields does not name these fields, and no meter sums them; their events are taken: {names}", total)

    def _say(self, reason: str, text: str, total: int) -> None:
        now = self._clock.monotonic()
        at, before = self._said.get(reason, (None, 0))
        if at is not None and now - at < SAID_AGAIN_SECONDS:
            return
        self._said[reason] = (now, total)
        try:
            _LOG.warning("%s (source %s; %d since the last such message)", text, self._source, total - before)
        except Exception:  # a broken filter of the host must not break its request; there is nobody to tell
            return


def _clean(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:_TEXT_CHARS_MAX])
