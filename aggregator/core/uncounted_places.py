"""Which events of the records that accepted tallies cover did not count, so that their ids are not learnt from there."""

from bisect import bisect_right
from collections.abc import Collection
from typing import Final

from metering.records.tally import Tally

_NONE: Final[Collection[int]] = frozenset[int]()


class UncountedPlaces:
    """Filled with tallies in the order of the chain. Records in a row that did not count at all cost two integers together."""

    def __init__(self) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._places: dict[int, list[int]] = {}

    def add(self, tally: Tally) -> None:
        """Take in what an accepted tally says."""
        for offset, indexes in tally.set_aside:
            if indexes:
                self._places.setdefault(offset, []).extend(indexes)
        whole = [(offset, 1) for offset, indexes in tally.set_aside if not indexes]
        for offset, offsets, first, events, _ in tally.not_counted:
            if events:
                for place in range(offset, offset + offsets):
                    self._places.setdefault(place, []).extend(range(first, first + events))
            else:
                whole.append((offset, offsets))
        if tally.stepped_over is not None:
            whole.append((tally.link.start, tally.records.stepped_over))
        for offset, offsets in sorted(whole):
            self._starts.append(offset)
            self._ends.append(offset + offsets)

    def of(self, offset: int) -> Collection[int] | None:
        """The places of the events of this record that did not count; None: all of them."""
        run = bisect_right(self._starts, offset) - 1
        if run >= 0 and offset < self._ends[run]:
            return None
        return self._places.get(offset, _NONE)
