"""Keeps a loop of failures from drowning the log."""

from collections import OrderedDict
from typing import Final

from taximeter_emitter.clock import Clock

KEYS_MAX: Final = 1_000


class MessageLimiter:
    """Lets one message per key and interval through, and counts the others."""

    def __init__(self, clock: Clock, *, interval_seconds: float = 10.0) -> None:
        self._clock = clock
        self._interval_seconds = interval_seconds
        self._seen: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def admit(self, key: str) -> int | None:
        """How many were left out since the last admitted one, or None to leave this one out. Remembers the last KEYS_MAX keys."""
        now = self._clock.monotonic()
        last, left_out = self._seen.get(key, (None, 0))
        if last is not None and now - last < self._interval_seconds:
            self._seen[key] = (last, left_out + 1)
            return None
        self._seen[key] = (now, 0)
        self._seen.move_to_end(key)
        if len(self._seen) > KEYS_MAX:
            self._seen.popitem(last=False)
        return left_out
