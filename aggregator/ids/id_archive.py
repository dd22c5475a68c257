"""Ids that were counted a while ago: in segments that follow each other in log time and are forgotten whole."""

import os
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final

from aggregator.ids.fingerprints import Asked, AskedOne, Fingerprints, Words, asked
from aggregator.ids.id_table import ABSENT, IdTable, Indexes, Storage
from aggregator.ids.identities import KEY_BYTES

# A table that grows is rebuilt in one go, which takes about 60 ns an id. The bound keeps that pause to a second.
IDS_PER_SEGMENT_MAX: Final = 1 << 24


class IdSegment(IdTable):
    """Ids of one stretch of log time, [`since_ms`, `until_ms`]."""

    def __init__(self, storage: Storage, *, since_ms: int, until_ms: int, expected: int = 0) -> None:
        super().__init__(storage, expected=expected, crowded=True)
        self.since_ms = since_ms
        self.until_ms = until_ms


class IdArchive:
    """Segments in order of log time. `storage` makes the next one's; each spans at most `span_ms`, so that memory is given back in time.

    `key`: under which its identities are; a new one, if None.
    """

    def __init__(
        self, storage: Callable[[], Storage], *, span_ms: int, ids_per_segment_max: int = IDS_PER_SEGMENT_MAX, key: bytes | None = None
    ) -> None:
        self.key = os.urandom(KEY_BYTES) if key is None else key
        self._storage = storage
        self._span_ms = span_ms
        self._ids_max = ids_per_segment_max
        self._segments: deque[IdSegment] = deque()

    @property
    def segments(self) -> Sequence[IdSegment]:
        """The segments, oldest first."""
        return self._segments

    def __len__(self) -> int:
        return sum(map(len, self._segments))

    @property
    def resident_bytes(self) -> int:
        """Memory that it takes with any storage."""
        return sum(segment.resident_bytes for segment in self._segments)

    def add(self, fingerprints: Fingerprints, contents: Words, log_time_ms: int) -> None:
        """Take in ids that are not here; `log_time_ms` is not before that of earlier calls. Raises OSError when the storage is full."""
        newest = self._segments[-1] if self._segments else None
        if newest is None or log_time_ms - newest.since_ms > self._span_ms or len(newest) + len(fingerprints) > self._ids_max:
            # As many as the last one held: a table that grows must be rebuilt.
            expected = len(newest) if newest is not None else 0
            newest = IdSegment(self._storage(), since_ms=log_time_ms, until_ms=log_time_ms, expected=expected)
            self._segments.append(newest)
        newest.insert(asked(fingerprints), contents)
        newest.until_ms = max(newest.until_ms, log_time_ms)

    def restore(self, segment: IdSegment) -> None:
        """Append a segment of an earlier process."""
        self._segments.append(segment)

    def forget_before(self, log_time_ms: int) -> None:
        """Drop the segments whose every id is older."""
        while self._segments and self._segments[0].until_ms < log_time_ms:
            self._segments.popleft().storage.dispose()

    def look_up(self, wanted: AskedOne) -> int | None:
        """The content number of an id, or None."""
        for segment in self._segments:
            number = segment.find_one(wanted)
            if number != ABSENT:
                return segment.content(number)
        return None

    def known(self, wanted: Asked) -> Sequence[Indexes]:
        """The positions of those that are here, as an array for each segment."""
        return [segment.find(wanted).positions for segment in self._segments]
