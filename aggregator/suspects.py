"""Finds the one record over which code fails, among many that are counted at once. Pure."""

from bisect import bisect_left
from collections.abc import Sequence
from operator import attrgetter

from metering.records.record import LogRecord


class Suspects:
    """The records of the run over which code failed last. They are counted one at a time, each after a tally of what was before it."""

    def __init__(self) -> None:
        self._offsets = range(0)

    def failed(self, run: Sequence[LogRecord]) -> int | None:
        """Code failed over these records, in log order. Returns the offset if it is one."""
        self._offsets = range(run[0].offset, run[-1].offset + 1)
        return run[0].offset if len(run) == 1 else None

    def narrowed(self, run: Sequence[LogRecord]) -> Sequence[LogRecord]:
        """The first of these records that may be counted at once."""
        if not self._offsets or run[0].offset >= self._offsets.stop:
            return run
        return run[: max(1, bisect_left(run, self._offsets.start, key=attrgetter("offset")))]

    def __contains__(self, offset: int) -> bool:
        return offset in self._offsets
