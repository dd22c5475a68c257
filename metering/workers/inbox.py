"""Records between the poll loop and a partition's worker, in the lists in which they came: no work for each of them on the way."""

from bisect import bisect_left
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate, pairwise
from operator import attrgetter
from typing import Final

from metering.records.record import LogRecord, RecordColumns
from metering.workers.known_holes import KnownHoles

# A turn costs as much for one record as for some hundreds. So shorter lists are joined up to about this, and this much is worth a turn of its own.
TURN_WORTH_RECORDS: Final = 1_000
TURN_WORTH_BYTES: Final = 256 * 1024
_value = attrgetter("value")
_offset = attrgetter("offset")


def value_bytes(records: Sequence[LogRecord]) -> int:
    """Bytes of their values."""
    if isinstance(records, RecordColumns):
        return records.value_bytes
    return sum(map(len, filter(None, map(_value, records))))


def _within(records: Sequence[LogRecord], bytes_max: int) -> int:
    """How many records from the first on have values of `bytes_max` together, or less."""
    if isinstance(records, RecordColumns):
        return records.within(bytes_max)
    sizes = accumulate(len(record.value or b"") for record in records)
    return sum(1 for size in sizes if size <= bytes_max)


def _offset_at(records: Sequence[LogRecord], place: int) -> int:
    return records.offset_at(place) if isinstance(records, RecordColumns) else records[place].offset


def _offsets(records: Sequence[LogRecord]) -> list[int]:
    return records.offset_list() if isinstance(records, RecordColumns) else list(map(_offset, records))


class Inbox:
    """Lists of records, each in log order; one may go back behind the end of the last. Those taken out one by one stay in memory until the
    list in which they came is through.
    """

    def __init__(self) -> None:
        self.bytes = 0  # of the values
        self.holes = KnownHoles()
        self._lists: deque[tuple[Sequence[LogRecord], int]] = deque()  # each with the bytes of what is left of it
        self._at = 0  # what is taken of the first

    def __len__(self) -> int:
        return sum(len(records) for records, _ in self._lists) - self._at

    def __bool__(self) -> bool:
        return bool(self._lists)

    @property
    def is_worth_a_turn(self) -> bool:
        """Whether there is so much that waiting for more would save nothing."""
        return self.bytes >= TURN_WORTH_BYTES or len(self) >= TURN_WORTH_RECORDS

    def add(self, records: Sequence[LogRecord], holes: Iterable[tuple[int, int]] = ()) -> None:
        """Append records, which must not change any more; and ranges of offsets around them that are proved to hold nothing to read."""
        self.holes.add(holes)
        if len(records):
            size = value_bytes(records)
            self._lists.append((records, size))
            self.bytes += size

    @property
    def first(self) -> LogRecord:
        """The first record; there must be one."""
        return self._lists[0][0][self._at]

    @property
    def first_offset(self) -> int:
        """The offset of the first record; there must be one."""
        return _offset_at(self._lists[0][0], self._at)

    def take(self) -> LogRecord:
        """The first record, taken out."""
        record = self.first
        self._drop_part(1, len(record.value or b""))
        return record

    def run(self, records_max: int, bytes_max: int, is_hole: Callable[[int, int], bool]) -> Sequence[LogRecord]:
        """The first records that follow each other, within both bounds but at least one; they stay here.

        `is_hole`: whether it is known from elsewhere that these offsets, from the first to the one before the second, hold no record.
        """
        self._join(min(records_max, TURN_WORTH_RECORDS))
        records, size = self._lists[0]
        run = records if not self._at and len(records) <= records_max else records[self._at : self._at + records_max]
        if _offset_at(run, -1) - _offset_at(run, 0) != len(run) - 1:
            gaps = (at for at, (offset, following) in enumerate(pairwise(_offsets(run)), 1) if not self._follows(offset + 1, following, is_hole))
            run = run[: next(gaps, len(run))]
        if size > bytes_max and value_bytes(run) > bytes_max:
            run = run[: max(1, _within(run, bytes_max))]
        return run

    def _follows(self, expected: int, following: int, is_hole: Callable[[int, int], bool]) -> bool:
        """Whether no record is missing before this offset."""
        if following <= expected:
            return following == expected
        return self.holes.end_from(expected) >= following or is_hole(expected, following)

    def drop(self, count: int) -> None:
        """Remove the first `count` of the records that `run` gave."""
        records, size = self._lists[0]
        if count < len(records) - self._at:
            size = value_bytes(records[self._at : self._at + count])
        self._drop_part(count, size)

    def drop_before(self, offset: int) -> None:
        """Remove what is before this offset, as far as it comes first; and forget what is known of offsets before it."""
        self.holes.forget_before(offset)
        while self._lists and self.first_offset < offset:
            records, _ = self._lists[0]
            self.drop(bisect_left(_offsets(records), offset, self._at) - self._at)

    def clear(self) -> None:
        """Remove all."""
        self.holes.clear()
        self._lists.clear()
        self._at = self.bytes = 0

    def _drop_part(self, count: int, size: int) -> None:
        """Remove the first `count` records of the first list; they have `size` bytes."""
        records, left = self._lists[0]
        self.bytes -= size
        self._at += count
        if self._at == len(records):
            self._lists.popleft()
            self._at = 0
        else:
            self._lists[0] = records, left - size

    def _join(self, wanted: int) -> None:
        """Join the first lists up to `wanted` records, while the next one goes on from them and is of the same kind."""
        if len(self._lists) < 2 or len(self._lists[0][0]) - self._at >= wanted:
            return
        records, size = self._lists.popleft()
        parts = [records[self._at :]]
        count = len(parts[0])
        while self._lists and count < wanted and self._goes_on(parts[-1]):
            more, more_size = self._lists.popleft()
            parts.append(more)
            count += len(more)
            size += more_size
        self._lists.appendleft((_joined(parts), size))
        self._at = 0

    def _goes_on(self, records: Sequence[LogRecord]) -> bool:
        following = self._lists[0][0]
        return isinstance(following, RecordColumns) == isinstance(records, RecordColumns) and _offset_at(following, 0) > _offset_at(records, -1)


def _joined(parts: Sequence[Sequence[LogRecord]]) -> Sequence[LogRecord]:
    """Of one kind."""
    columns = [part for part in parts if isinstance(part, RecordColumns)]
    return columns[0].joined_with(columns[1:]) if columns else [record for part in parts for record in part]
