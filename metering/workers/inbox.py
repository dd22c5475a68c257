"""Records between the poll loop and a partition's worker, in the lists in which they came: no work for each of them on the way."""

from collections import deque
from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise
from operator import attrgetter

from metering.records.record import LogRecord

_value = attrgetter("value")


def value_bytes(records: Sequence[LogRecord]) -> int:
    """Bytes of their values."""
    return sum(map(len, filter(None, map(_value, records))))


def _follows(offset: int, following: int, is_hole: Callable[[int, int], bool]) -> bool:
    """Whether no record is missing between these two."""
    return following == offset + 1 or (following > offset and is_hole(offset + 1, following))


class Inbox:
    """Lists of records, each in log order; one may go back behind the end of the last. Those taken out one by one stay in memory until the
    list in which they came is through.
    """

    def __init__(self) -> None:
        self.bytes = 0  # of the values
        self._lists: deque[tuple[Sequence[LogRecord], int]] = deque()  # each with the bytes of what is left of it
        self._at = 0  # what is taken of the first

    def __len__(self) -> int:
        return sum(len(records) for records, _ in self._lists) - self._at

    def __bool__(self) -> bool:
        return bool(self._lists)

    def add(self, records: Sequence[LogRecord]) -> None:
        """Append records, which must not change any more."""
        if records:
            size = value_bytes(records)
            self._lists.append((records, size))
            self.bytes += size

    @property
    def first(self) -> LogRecord:
        """The first record; there must be one."""
        return self._lists[0][0][self._at]

    def take(self) -> LogRecord:
        """The first record, taken out."""
        record = self.first
        self._drop_part(1, len(record.value or b""))
        return record

    def run(self, records_max: int, bytes_max: int, is_hole: Callable[[int, int], bool]) -> Sequence[LogRecord]:
        """The first records that follow each other, within both bounds but at least one; they stay here.

        `is_hole`: whether it is known that these offsets, from the first to the one before the second, hold no record.
        """
        self._join(records_max)
        records, size = self._lists[0]
        run = records if not self._at and len(records) <= records_max else records[self._at : self._at + records_max]
        first = run[0].offset
        if run[-1].offset - first != len(run) - 1:
            gaps = (at for at, (one, next_one) in enumerate(pairwise(run), 1) if not _follows(one.offset, next_one.offset, is_hole))
            run = run[: next(gaps, len(run))]
        if size > bytes_max and value_bytes(run) > bytes_max:
            sizes = accumulate(len(record.value or b"") for record in run)
            run = run[: max(1, sum(1 for size in sizes if size <= bytes_max))]
        return run

    def drop(self, count: int) -> None:
        """Remove the first `count` of the records that `run` gave."""
        records, size = self._lists[0]
        if count < len(records) - self._at:
            size = value_bytes(records[self._at : self._at + count])
        self._drop_part(count, size)

    def clear(self) -> None:
        """Remove all."""
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

    def _join(self, records_max: int) -> None:
        """Join the first lists until the joined one has `records_max` records, or all there are, or the next one goes back."""
        if len(self._lists) < 2 or len(self._lists[0][0]) - self._at >= records_max:
            return
        records, size = self._lists.popleft()
        joined = [*records[self._at :]]
        while self._lists and len(joined) < records_max and self._lists[0][0][0].offset > joined[-1].offset:
            more, more_size = self._lists.popleft()
            joined += more
            size += more_size
        self._lists.appendleft((joined, size))
        self._at = 0
