"""How long what waits for Stripe will take. Pure: the caller says what happened, and when."""

from collections import deque
from typing import Final

BUSY_SECONDS: Final = 60.0
BUSY_SECONDS_MIN: Final = 10.0


class CatchUp:
    """The pace of the last busy minute: of the time in which something waited for Stripe, and not of the time between.

    A reporter sends now and then, so the pace of the last minute by the clock says nothing of an idle one.
    """

    __slots__ = ("_answered", "_busy_s", "_looked_at", "_settled", "_spans")

    def __init__(self) -> None:
        self._looked_at: float | None = None
        self._answered = 0
        self._spans: deque[tuple[float, int]] = deque()
        self._busy_s = 0.0
        self._settled = 0

    def look(self, now: float, *, answered: int, waiting: int) -> None:
        """At `now` (monotonic seconds) `answered` meter events had a final answer since the start, and `waiting` are without one."""
        before, answered_before = self._looked_at, self._answered
        self._looked_at, self._answered = now, answered
        if before is None or not (waiting or answered > answered_before):
            return
        span = (now - before, answered - answered_before)
        self._spans.append(span)
        self._busy_s += span[0]
        self._settled += span[1]
        while self._busy_s - self._spans[0][0] >= BUSY_SECONDS:
            seconds, settled = self._spans.popleft()
            self._busy_s -= seconds
            self._settled -= settled

    def seconds(self, waiting: int, *, allowed_per_s: float) -> float:
        """For this many meter events. Before ten busy seconds have been seen, at the rate that is allowed; infinite if none gets through."""
        if waiting <= 0:
            return 0.0
        if self._busy_s < BUSY_SECONDS_MIN:
            return waiting / allowed_per_s
        return waiting * self._busy_s / self._settled if self._settled else float("inf")
