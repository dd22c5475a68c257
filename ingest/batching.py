"""Gather events by partition into numbered, columnar batches. Pure: the caller decides when time is up."""

from collections.abc import Iterable
from itertools import repeat
from typing import Final

from metering.batch import NO_ID, Batch, encode_batch
from metering.event import Dimensions
from metering.limits import (
    BATCH_EVENTS_MAX,
    CUSTOMER_CHARS_MAX,
    DIMENSION_VALUE_CHARS_MAX,
    DIMENSIONS_MAX,
    EVENT_RECORD_BYTES_MAX,
    NAME_CHARS_MAX,
    USAGE_FIELDS_MAX,
)

BATCH_EVENTS_DEFAULT: Final = 500
BATCH_BYTES_DEFAULT: Final = 256 * 1024

# Upper bounds of what one more event adds to the JSON of a batch: an index, a time offset and a fingerprint; a number in each column.
_EVENT_BYTES: Final = 48
_NUMBER_BYTES: Final = 14
_QUOTES_BYTES: Final = 8
_CHAR_BYTES: Final = 4  # the longest UTF-8 character; an escaped quote takes two
_EVENT_BYTES_MAX: Final = (
    _EVENT_BYTES
    + USAGE_FIELDS_MAX * _NUMBER_BYTES
    + CUSTOMER_CHARS_MAX * _CHAR_BYTES
    + _QUOTES_BYTES
    + DIMENSIONS_MAX * ((NAME_CHARS_MAX + DIMENSION_VALUE_CHARS_MAX) * _CHAR_BYTES + _QUOTES_BYTES)
    + USAGE_FIELDS_MAX * (NAME_CHARS_MAX * _CHAR_BYTES + _QUOTES_BYTES)
)
_ENVELOPE_BYTES: Final = 1_024
BATCH_BYTES_MAX: Final = EVENT_RECORD_BYTES_MAX - _ENVELOPE_BYTES - _EVENT_BYTES_MAX - 2 * USAGE_FIELDS_MAX * BATCH_EVENTS_MAX


class PartitionBatch:
    """Events of one partition. Open until it is closed; then `value` holds its bytes and `first_seq` the number of its first event."""

    __slots__ = (
        "_at",
        "_columns",
        "_dimensions",
        "_has_ids",
        "_ids",
        "_series",
        "_series_dimensions",
        "_times",
        "count",
        "first_seq",
        "partition",
        "size",
        "value",
    )

    def __init__(self, partition: int) -> None:
        self.partition = partition
        self.count = 0
        self.size = 0  # bytes, estimated from above
        self.first_seq = -1
        self.value = b""
        self._series: dict[tuple[str, Dimensions], int] = {}
        self._dimensions: dict[Dimensions, int] = {}
        self._series_dimensions: list[int] = []
        self._at: list[int] = []
        self._times: list[int] = []
        self._columns: dict[str, list[int]] = {}
        self._ids: list[bytes] = []
        self._has_ids = False

    def takes(self, usage: tuple[tuple[str, int], ...]) -> bool:
        """Whether the usage fields of one more event leave no more columns than a batch may have."""
        columns = self._columns
        if len(columns) + len(usage) <= USAGE_FIELDS_MAX:
            return True
        new = [name for name, _ in usage if name not in columns]
        return len(columns) + len(new) <= USAGE_FIELDS_MAX

    def add(self, customer: str, dimensions: Dimensions, time_ms: int, usage: Iterable[tuple[str, int]], fingerprint: bytes) -> None:
        """Append one event; `fingerprint` is 16 bytes, NO_ID for an event that its number alone identifies."""
        series = (customer, dimensions)
        at = self._series.get(series)
        if at is None:
            at = self._new_series(series)
        count = self.count
        columns = self._columns
        for name, quantity in usage:
            column = columns.get(name)
            if column is None:
                column = self._new_column(name)
            if len(column) < count:
                column.extend(repeat(0, count - len(column)))
            column.append(quantity)
        self._at.append(at)
        self._times.append(time_ms)
        self._ids.append(fingerprint)
        if fingerprint is not NO_ID:
            self._has_ids = True
        self.count = count + 1
        self.size += _EVENT_BYTES + _NUMBER_BYTES * len(columns)

    def close(self, emitter: str, first_seq: int) -> None:
        """Give the batch its number and its bytes; nothing may be added after."""
        base = min(self._times)
        for column in self._columns.values():
            column.extend(repeat(0, self.count - len(column)))
        batch = Batch(
            emitter=emitter,
            partition=self.partition,
            first_seq=first_seq,
            count=self.count,
            customers=[customer for customer, _ in self._series],
            dimensions=list(self._dimensions),
            series_dimensions=self._series_dimensions,
            at=self._at,
            base_time_ms=base,
            time=[time_ms - base for time_ms in self._times],
            usage=self._columns,
            ids=b"".join(self._ids) if self._has_ids else b"",
        )
        self.first_seq = first_seq
        self.value = encode_batch(batch)
        self.size = len(self.value)
        # The columns are in the bytes now; a closed batch may wait long for its acknowledgement.
        self._series, self._dimensions, self._columns = {}, {}, {}
        self._series_dimensions, self._at, self._times, self._ids = [], [], [], []

    def _new_series(self, series: tuple[str, Dimensions]) -> int:
        customer, dimensions = series
        place = self._dimensions.get(dimensions)
        if place is None:
            place = self._dimensions[dimensions] = len(self._dimensions)
            self.size += sum(_CHAR_BYTES * (len(key) + len(text)) + _QUOTES_BYTES for key, text in dimensions) + _QUOTES_BYTES
        at = self._series[series] = len(self._series)
        self._series_dimensions.append(place)
        self.size += _CHAR_BYTES * len(customer) + _QUOTES_BYTES
        return at

    def _new_column(self, name: str) -> list[int]:
        column = self._columns[name] = []
        self.size += _CHAR_BYTES * len(name) + _QUOTES_BYTES + 2 * self.count
        return column


class Batcher:
    """The open batch of each partition, and the numbers given out: from 0, without gaps, per partition."""

    def __init__(self, emitter: str, *, events_max: int = BATCH_EVENTS_DEFAULT, bytes_max: int = BATCH_BYTES_DEFAULT) -> None:
        if not 0 < events_max <= BATCH_EVENTS_MAX or not 0 < bytes_max <= BATCH_BYTES_MAX:
            raise ValueError(f"a batch has 1 to {BATCH_EVENTS_MAX} events and at most {BATCH_BYTES_MAX} bytes")
        self.emitter = emitter
        self.next_seq: dict[int, int] = {}
        self._events_max = events_max
        self._bytes_max = bytes_max
        self._open: dict[int, PartitionBatch] = {}
        self._full: list[PartitionBatch] = []

    @property
    def is_empty(self) -> bool:
        """Whether no event waits in an open or a full batch."""
        return not self._open and not self._full

    @property
    def open_bytes(self) -> int:
        """Bytes of the open batches, estimated from above."""
        return sum(batch.size for batch in self._open.values())

    def add(
        self, partition: int, *, customer: str, dimensions: Dimensions, time_ms: int, usage: tuple[tuple[str, int], ...], fingerprint: bytes
    ) -> PartitionBatch:
        """Put one event into the partition's batch, and say which batch that is; one that is full is closed and waits for `take_full`."""
        batch = self._open.get(partition)
        if batch is not None and not batch.takes(usage):
            self._close(batch)
            batch = None
        if batch is None:
            batch = self._open[partition] = PartitionBatch(partition)
        batch.add(customer, dimensions, time_ms, usage, fingerprint)
        if batch.count >= self._events_max or batch.size >= self._bytes_max:
            self._close(batch)
        return batch

    def take_full(self) -> list[PartitionBatch]:
        """The batches that were closed because they were full, in the order of their numbers."""
        full, self._full = self._full, []
        return full

    def take_all(self) -> list[PartitionBatch]:
        """Close every open batch; all closed batches, in the order of their numbers."""
        for batch in list(self._open.values()):
            self._close(batch)
        return self.take_full()

    def heartbeat(self, partition: int, *, final: bool = False, abandoned: tuple[tuple[int, int], ...] = (), dropped: int = 0) -> bytes:
        """The bytes of a heartbeat that says how many events were numbered in this partition so far."""
        first_seq = self.next_seq.get(partition, 0)
        return encode_batch(
            Batch(emitter=self.emitter, partition=partition, first_seq=first_seq, count=0, final=final, abandoned=abandoned, dropped=dropped)
        )

    def _close(self, batch: PartitionBatch) -> None:
        first_seq = self.next_seq.get(batch.partition, 0)
        batch.close(self.emitter, first_seq)
        self.next_seq[batch.partition] = first_seq + batch.count
        del self._open[batch.partition]
        self._full.append(batch)


assert BATCH_BYTES_DEFAULT < BATCH_BYTES_MAX
