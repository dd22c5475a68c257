"""Numbers of events whose sender was told that they may not have arrived: readers are told, so that a gap has a name. Pure."""

from typing import Final

from taximeter_emitter.wire.batch import ABANDONED_RANGES_MAX

# Failures come in runs, so ranges join; what goes beyond waits for the next heartbeat.
_RANGES_MAX: Final = ABANDONED_RANGES_MAX


class AbandonedNumbers:
    """Per partition, ranges of numbers (first, last) that no heartbeat has told yet."""

    def __init__(self) -> None:
        self._ranges: dict[int, list[tuple[int, int]]] = {}
        self._offered: dict[int, int] = {}

    def add(self, partition: int, first: int, last: int) -> None:
        """Note a range; it joins the last one when it continues it."""
        ranges = self._ranges.setdefault(partition, [])
        if ranges and ranges[-1][1] + 1 == first and self._offered.get(partition, 0) < len(ranges):
            ranges[-1] = (ranges[-1][0], last)
        else:
            ranges.append((first, last))

    def has(self, partition: int) -> bool:
        """Whether there is something to tell."""
        return bool(self._ranges.get(partition))

    def of(self, partition: int) -> tuple[tuple[int, int], ...]:
        """What the next heartbeat of the partition says."""
        offered = tuple(self._ranges.get(partition, ())[:_RANGES_MAX])
        self._offered[partition] = len(offered)
        return offered

    def told(self, partition: int) -> None:
        """Kafka has the heartbeat that said what `of` gave."""
        del self._ranges.get(partition, [])[: self._offered.pop(partition, 0)]
