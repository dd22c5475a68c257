"""A sparse, in-memory map of one log file: from offset, file position or time to a batch boundary near it."""

from array import array
from bisect import bisect_left, bisect_right

#: One entry for about this many bytes of log: 24 bytes of memory for each.
INTERVAL_BYTES = 4096


class SparseIndex:
    """Entries (first offset, file position, highest timestamp before it), one at least INTERVAL_BYTES after the other.

    Every entry is the start of a batch. All three columns never decrease, so each can be searched.
    """

    def __init__(self) -> None:
        self._offsets = array("q")
        self._positions = array("q")
        self._max_timestamps_before = array("q")
        self._max_timestamp = -(2**63)

    def add_batch(self, base_offset: int, position: int, max_timestamp: int) -> None:
        """Take note of the batch just appended at ``position``."""
        if not self._positions or position - self._positions[-1] >= INTERVAL_BYTES:
            self._offsets.append(base_offset)
            self._positions.append(position)
            self._max_timestamps_before.append(self._max_timestamp)
        self._max_timestamp = max(self._max_timestamp, max_timestamp)

    @property
    def max_timestamp(self) -> int:
        """The highest timestamp of any batch."""
        return self._max_timestamp

    def position_at_or_before(self, offset: int) -> int:
        """A batch start from which walking forward meets the batch that holds ``offset``; 0 in an empty log."""
        entry = bisect_right(self._offsets, offset) - 1
        return self._positions[entry] if entry >= 0 else 0

    def last_boundary(self, position: int) -> int:
        """The last known batch start at or before ``position``."""
        entry = bisect_right(self._positions, position) - 1
        return self._positions[entry] if entry >= 0 else 0

    def position_before_time(self, timestamp_ms: int) -> int:
        """A batch start with no batch before it that reaches ``timestamp_ms``."""
        entry = bisect_left(self._max_timestamps_before, timestamp_ms) - 1
        return self._positions[entry] if entry >= 0 else 0
