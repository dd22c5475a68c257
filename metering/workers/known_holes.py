"""Offsets of one partition that are known to hold nothing to read, because the batches at them came with the records."""

from bisect import bisect_right
from collections.abc import Iterable


class KnownHoles:
    """Ranges of offsets, [start, end) each; neighbours are one. Two integers a range."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []

    def __len__(self) -> int:
        return len(self._starts)

    def add(self, holes: Iterable[tuple[int, int]]) -> None:
        """In log order, behind those that are known. What is not is forgotten: it is proved again where that matters."""
        for start, end in holes:
            if self._ends and start <= self._ends[-1]:
                if start >= self._starts[-1]:
                    self._ends[-1] = max(self._ends[-1], end)
                continue
            self._starts.append(start)
            self._ends.append(end)

    def end_from(self, offset: int) -> int:
        """Where the hole ends that this offset is in; the offset itself if it is in none."""
        place = bisect_right(self._starts, offset) - 1
        return max(offset, self._ends[place]) if place >= 0 else offset

    def forget_before(self, offset: int) -> None:
        """Of holes that end there or before."""
        count = bisect_right(self._ends, offset)
        del self._starts[:count], self._ends[:count]

    def clear(self) -> None:
        """Of all."""
        self._starts.clear()
        self._ends.clear()
