"""Gather events by partition into numbered, columnar batches. Pure: the caller decides when time is up.

Events come as columns, many at a time where a request has many, and are kept as such.
"""

from collections.abc import Sequence
from itertools import chain, repeat
from operator import itemgetter
from typing import Any, Final, NamedTuple

from taximeter_emitter.wire.batch import Batch, encode_batch
from taximeter_emitter.wire.event import Dimensions
from taximeter_emitter.wire.kept_ids import KEPT_CHAR_BYTES, KEPT_EVENT_CHARS, pack_kept_ids
from taximeter_emitter.wire.limits import (
    BATCH_EVENTS_MAX,
    CUSTOMER_CHARS_MAX,
    DIMENSION_VALUE_CHARS_MAX,
    DIMENSIONS_MAX,
    EVENT_ID_CHARS_MAX,
    EVENT_RECORD_BYTES_MAX,
    NAME_CHARS_MAX,
    SOURCE_CHARS_MAX,
    USAGE_FIELDS_MAX,
)
from taximeter_emitter.wire.packed import CHARS_MAX

BATCH_EVENTS_DEFAULT: Final = 500
BATCH_BYTES_DEFAULT: Final = 256 * 1024

EventRow = tuple[str, Dimensions, int, bool, bytes, tuple[int, ...]]
"""Customer, dimensions, event time in ms, whether the writer of the batch set that by its own clock, fingerprint (16 bytes; NO_ID for an event
that its number alone identifies), and quantities.

Which usage fields the quantities are of is said once for many rows. A plain tuple, because `zip` makes many of them at once.
"""


class EventColumns(NamedTuple):
    """At least one event with quantities of the same usage fields, as columns of equal length; see EventRow for what is in them.

    `quantities` has a column for each of `fields`. `row_bytes` is what each event adds to a batch at most. `kept_ids` has the lines of
    `wire.kept_ids`, or is empty where ids are not kept as texts.
    A named tuple and not a dataclass, because one is made of every request.
    """

    fields: tuple[str, ...]
    customers: Sequence[str]
    dimensions: Sequence[Dimensions]
    times: Sequence[int]
    stamped: Sequence[bool]
    fingerprints: Sequence[bytes]
    quantities: Sequence[Sequence[int]]
    row_bytes: int
    kept_ids: Sequence[str] = ()

    @classmethod
    def of_rows(cls, fields: tuple[str, ...], rows: Sequence[EventRow], row_bytes: int) -> "EventColumns":
        """The columns of at least one row."""
        customers, dimensions, times, stamped, fingerprints, quantities = zip(*rows, strict=True)
        return cls(fields, customers, dimensions, times, stamped, fingerprints, tuple(zip(*quantities, strict=True)), row_bytes)

    @classmethod
    def joined(cls, parts: "Sequence[EventColumns]") -> "EventColumns":
        """The events of all parts, at least one, which have the same usage fields."""
        if len(parts) == 1:
            return parts[0]
        fields, customers, dimensions, times, stamped, fingerprints, quantities, row_bytes, _ = zip(*parts, strict=True)
        every = chain.from_iterable
        keeps = any(part.kept_ids for part in parts)
        return cls(
            fields[0],
            list(every(customers)),
            list(every(dimensions)),
            list(every(times)),
            list(every(stamped)),
            list(every(fingerprints)),
            [list(every(columns)) for columns in zip(*quantities, strict=True)],
            max(row_bytes),
            list(every(part.kept_ids or repeat("", len(part.customers)) for part in parts)) if keeps else (),
        )

    def at(self, places: Sequence[int]) -> "EventColumns":
        """The events at these places, at least one."""
        pick = itemgetter(*places) if len(places) > 1 else itemgetter(slice(places[0], places[0] + 1))
        return self._each(pick)

    def part(self, start: int, end: int | None) -> "EventColumns":
        """The events from one place to another."""
        return self._each(itemgetter(slice(start, end)))

    def _each(self, pick: Any) -> "EventColumns":
        fields, customers, dimensions, times, stamped, fingerprints, quantities, row_bytes, kept = self
        picked = [pick(column) for column in quantities]
        texts = pick(kept) if kept else ()
        return EventColumns(fields, pick(customers), pick(dimensions), pick(times), pick(stamped), pick(fingerprints), picked, row_bytes, texts)


# Upper bounds of what one more event adds to the JSON of a batch: three places in columns of places, a time offset, whether it is stamped, and a
# fingerprint; and a number in the column of each field that it has, which takes more in a small batch, where it is written in digits. What it
# adds to the columns of other fields its batch knows: a zero, which takes more in a large batch.
_EVENT_BYTES: Final = 50
_NUMBER_BYTES: Final = 14
_ZERO_BYTES: Final = CHARS_MAX
_QUOTES_BYTES: Final = 8
_CHAR_BYTES: Final = 4  # the longest UTF-8 character; an escaped quote takes two
_EVENT_BYTES_MAX: Final = (
    _EVENT_BYTES
    + USAGE_FIELDS_MAX * _NUMBER_BYTES
    + CUSTOMER_CHARS_MAX * _CHAR_BYTES
    + _QUOTES_BYTES
    + DIMENSIONS_MAX * ((NAME_CHARS_MAX + DIMENSION_VALUE_CHARS_MAX) * _CHAR_BYTES + _QUOTES_BYTES)
    + USAGE_FIELDS_MAX * (NAME_CHARS_MAX * _CHAR_BYTES + _QUOTES_BYTES)
    + (SOURCE_CHARS_MAX + EVENT_ID_CHARS_MAX + KEPT_EVENT_CHARS) * KEPT_CHAR_BYTES
)
_BATCH_FRAME_BYTES: Final = 1_024
BATCH_BYTES_MAX: Final = EVENT_RECORD_BYTES_MAX - _BATCH_FRAME_BYTES - _EVENT_BYTES_MAX


def dimension_bytes(dimensions: Dimensions) -> int:
    """The most bytes that these dimensions take in the JSON of a batch, which has them once."""
    return sum(_CHAR_BYTES * (len(key) + len(text)) + _QUOTES_BYTES for key, text in dimensions) + _QUOTES_BYTES


def event_bytes(*, fields: int, customer_chars: int, dimensions: int, kept_chars: int = 0) -> int:
    """At most how many bytes an event adds to a batch that has no other fields; `dimensions` in bytes, `kept_chars` of a kept id.

    It counts as the first of its customer and dimensions there.
    """
    kept = (kept_chars + KEPT_EVENT_CHARS) * KEPT_CHAR_BYTES if kept_chars else 0
    return kept + _EVENT_BYTES + _NUMBER_BYTES * fields + _CHAR_BYTES * customer_chars + _QUOTES_BYTES + dimensions


class PartitionBatch:
    """Events of one partition. Open until it is closed; then `value` holds its bytes and `first_seq` the number of its first event."""

    __slots__ = (
        "_columns",
        "_customers",
        "_dimensions",
        "_fingerprints",
        "_kept_ids",
        "_stamped",
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
        # Columns and not rows: waiting events should be few objects for Python's garbage collector.
        self._customers: list[str] = []
        self._dimensions: list[Dimensions] = []
        self._times: list[int] = []
        self._stamped: list[bool] = []
        self._fingerprints: list[bytes] = []
        self._kept_ids: list[str] = []
        self._columns: dict[str, list[int]] = {}

    def takes(self, fields: tuple[str, ...], bytes_max: int) -> bool:
        """Whether columns for the usage fields of one more event fit: by their number, and with a zero for each event that is here."""
        known = self._columns
        more = len(fields) - sum(map(known.__contains__, fields))
        return not more or (len(known) + more <= USAGE_FIELDS_MAX and self.size + more * self.count * _ZERO_BYTES < bytes_max)

    def name(self, fields: tuple[str, ...]) -> int:
        """Have a column for each of these usage fields. Returns what an event that has these alone adds to the other columns, in bytes."""
        for field in fields:
            if field not in self._columns:
                self._columns[field] = []
                self.size += _CHAR_BYTES * len(field) + _QUOTES_BYTES + self.count * _ZERO_BYTES
        return (len(self._columns) - len(fields)) * _ZERO_BYTES

    def add(self, events: EventColumns, each: int) -> None:
        """Append events whose usage fields are named; each adds at most `each` bytes."""
        self._customers += events.customers
        self._dimensions += events.dimensions
        self._times += events.times
        self._stamped += events.stamped
        self._fingerprints += events.fingerprints
        count = self.count
        if events.kept_ids:
            self._kept_ids.extend(repeat("", count - len(self._kept_ids)))
            self._kept_ids += events.kept_ids
        for name, numbers in zip(events.fields, events.quantities, strict=True):
            column = self._columns[name]
            if len(column) < count:
                column.extend(repeat(0, count - len(column)))
            column += numbers
        added = len(events.customers)
        self.count = count + added
        self.size += added * each

    def close(self, emitter: str, first_seq: int) -> None:
        """Give the batch its number and its bytes; nothing may be added after."""
        series: dict[tuple[str, Dimensions], int] = {}
        at = [series.setdefault(pair, len(series)) for pair in zip(self._customers, self._dimensions, strict=True)]
        places: dict[Dimensions, int] = {}
        series_dimensions = [places.setdefault(found, len(places)) for _, found in series]
        base = min(self._times)
        ids = b"".join(self._fingerprints)
        for column in self._columns.values():
            column.extend(repeat(0, self.count - len(column)))
        batch = Batch(
            emitter=emitter,
            partition=self.partition,
            first_seq=first_seq,
            count=self.count,
            customers=[customer for customer, _ in series],
            dimensions=list(places),
            series_dimensions=series_dimensions,
            at=at,
            base_time_ms=base,
            time=[time_ms - base for time_ms in self._times],
            usage=self._columns,
            stamped=self._stamped[0] if self._stamped.count(self._stamped[0]) == self.count else list(map(int, self._stamped)),
            ids=ids if ids.count(0) < len(ids) else b"",
            kept_ids=pack_kept_ids([*self._kept_ids, *repeat("", self.count - len(self._kept_ids))]) if self._kept_ids else "",
        )
        self.first_seq = first_seq
        self.value = encode_batch(batch)
        self.size = len(self.value)
        # The columns are in the bytes; a closed batch may wait long for its acknowledgement.
        self._customers, self._dimensions, self._times, self._stamped, self._fingerprints, self._columns = [], [], [], [], [], {}
        self._kept_ids = []


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
        self,
        partition: int,
        *,
        customer: str,
        dimensions: Dimensions,
        time_ms: int,
        usage: tuple[tuple[str, int], ...],
        fingerprint: bytes,
        stamped: bool = False,
    ) -> PartitionBatch:
        """Put one event into the partition's batch, and say which batch that is; as `add_columns` does."""
        fields, quantities = tuple(name for name, _ in usage), [(quantity,) for _, quantity in usage]
        size = event_bytes(fields=len(usage), customer_chars=len(customer), dimensions=dimension_bytes(dimensions))
        event = EventColumns(fields, (customer,), (dimensions,), (time_ms,), (stamped,), (fingerprint,), quantities, size)
        ((batch, _),) = self.add_columns(partition, event)
        return batch

    def add_columns(self, partition: int, events: EventColumns) -> list[tuple[PartitionBatch, int]]:
        """Put events of one partition into batches; into which, and how many of them, in their order.

        A batch that is full is closed and waits for `take_full`.
        """
        placed: list[tuple[PartitionBatch, int]] = []
        fields, row_bytes, left = events.fields, events.row_bytes, len(events.customers)
        while left:
            batch = self._open.get(partition)
            if batch is not None and not batch.takes(fields, self._bytes_max):
                self._close(batch)
                batch = None
            if batch is None:
                batch = self._open[partition] = PartitionBatch(partition)
            each = row_bytes + batch.name(fields)
            # As many as there is room for, and the one that fills it.
            room = max(1, min(self._events_max - batch.count, 1 + (self._bytes_max - batch.size - 1) // each))
            taken = min(room, left)
            if taken < left:
                batch.add(events.part(0, taken), each)
                events = events.part(taken, None)
            else:
                batch.add(events, each)
            left -= taken
            if batch.count >= self._events_max or batch.size >= self._bytes_max:
                self._close(batch)
            placed.append((batch, taken))
        return placed

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
