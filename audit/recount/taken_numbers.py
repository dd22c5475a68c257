"""The numbers that batches took, and those that were taken before. Pure.

Memory: an entry for each emitter, with one more for each gap in its numbers.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from metering.records.tally import EmitterState, Range


class TakenNumbers:
    """Of all emitters of one partition, as disjoint ranges in order."""

    def __init__(self, states: Iterable[EmitterState] = ()) -> None:
        self._ranges: dict[str, list[Range]] = {state.emitter: sorted(state.seen) for state in states}

    def take(self, emitter: str, first: int, last: int) -> None:
        """These numbers are taken from now on."""
        ranges = self._ranges.setdefault(emitter, [])
        if ranges and ranges[-1][0] <= first <= ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], max(ranges[-1][1], last))
        elif not ranges or first > ranges[-1][1]:
            ranges.append((first, last))
        else:
            ranges[:] = joined([*ranges, (first, last)])

    def are_new(self, emitter: str, first: int, last: int) -> bool:
        """Whether none of these numbers was taken."""
        ranges = self._ranges.get(emitter, [])
        place = bisect_right(ranges, last, key=lambda each: each[0]) - 1
        return place < 0 or ranges[place][1] < first

    def has(self, emitter: str, number: int) -> bool:
        """Whether this number was taken."""
        ranges = self._ranges.get(emitter, [])
        place = bisect_right(ranges, number, key=lambda each: each[0]) - 1
        return place >= 0 and number <= ranges[place][1]


def joined(ranges: Iterable[Range]) -> list[Range]:
    """The same numbers, in as few ranges as hold them."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(found[-1][1], last))
        else:
            found.append((first, last))
    return found


def ranges_of(first: int, places: Sequence[int]) -> list[Range]:
    """The numbers of a batch that begins at `first`, at these places, which ascend."""
    found: list[Range] = []
    for place in places:
        number = first + place
        if found and found[-1][1] + 1 == number:
            found[-1] = (found[-1][0], number)
        else:
            found.append((number, number))
    return found
