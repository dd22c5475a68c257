"""Keeps what a client library logs while its server is away from filling the log. Put on a logger or a handler."""

import logging
from collections.abc import Callable
from typing import Final

from taximeter_emitter.clock import Clock

FLOOD_SECONDS: Final = 60.0
FIRST_LINES: Final = 5
"""How many lines a place in a library may write at once, after it was quiet for an interval: they tell how an outage began."""

_PLACES_MAX: Final = 1_000


class FloodFilter(logging.Filter):
    """Of each place that logs, the first lines pass, then one each interval, which says how many were left out since.

    `limits` says which records are limited; all others pass. May be used by many threads at once; a count may then miss a line.
    """

    def __init__(self, clock: Clock, limits: Callable[[logging.LogRecord], bool]) -> None:
        super().__init__()
        self._clock = clock
        self._limits = limits
        # By place: when its interval began, how many lines may still pass in it, and how many were left out.
        self._places: dict[tuple[str, int], tuple[float, int, int]] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the record may pass. One that does after others were left out says so."""
        if not self._limits(record):
            return True
        place, now = (record.pathname, record.lineno), self._clock.monotonic()
        began, may_pass, left_out = self._places.get(place, (now, FIRST_LINES, 0))
        if now - began >= FLOOD_SECONDS:
            began, may_pass = now, 1 if left_out else FIRST_LINES
        if may_pass == 0:
            self._places[place] = (began, 0, left_out + 1)
            return False
        if len(self._places) >= _PLACES_MAX:
            self._places.clear()
        self._places[place] = (began, may_pass - 1, 0)
        if left_out:
            record.msg, record.args = f"{record.getMessage()} ({left_out} such lines were left out)", ()
        return True
