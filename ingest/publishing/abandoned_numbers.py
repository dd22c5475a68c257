"""Numbers of events that may not have arrived, as their senders know. Heartbeats name them, so that readers can explain a gap. Pure."""

from typing import Final

from taximeter_emitter.wire.batch import ABANDONED_RANGES_MAX

# Failures come in runs, so ranges join. Ranges beyond this many wait for the next heartbeat.
_RANGES_MAX: Final = ABANDONED_RANGES_MAX


class AbandonedNumbers:
    """For each partition, the ranges of numbers (first, last) that no heartbeat has named yet."""

    def __init__(self) -> None:
        self._ranges: dict[int, list[tuple[int, int]]] = {}
        self._offered: dict[int, int] = {}

    def add(self, partition: int, first: int, last: int) -> None:
        """Add a range. It joins the last one if it continues it."""
        ranges = self._ranges.setdefault(partition, [])
        if ranges and ranges[-1][1] + 1 == first and self._offered.get(partition, 0) < len(ranges):
            ranges[-1] = (ranges[-1][0], last)
        else:
            ranges.append((first, last))

    def has(self, partition: int) -> bool:
        """Whether a heartbeat has ranges to name."""
        return bool(self._ranges.get(partition))

    def of(self, partition: int) -> tuple[tuple[int, int], ...]:
        """The ranges for the next heartbeat of the partition."""
        offered = tuple(self._ranges.get(partition, ())[:_RANGES_MAX])
        self._offered[partition] = len(offered)
        return offered

    def told(self, partition: int) -> None:
        """Forget the ranges that `of` returned: Kafka has acknowledged their heartbeat."""
        del self._ranges.get(partition, [])[: self._offered.pop(partition, 0)]
