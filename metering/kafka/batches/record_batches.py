"""The headers of stored record batches: which offsets hold records, which hold nothing to read, and which nobody accounts for. Pure."""

import struct
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from enum import IntEnum
from typing import Final, NamedTuple

from metering.kafka.batches.aborted_data import AbortedData
from metering.kafka.batches.plain_batches import BatchUnreadable, header_of, marker_of, records_of
from metering.records.fail_closed import RecordCorrupt, RecordUnreadable

# Base offset, length after it, leader epoch, magic, CRC, attributes, last offset delta, first and largest time, producer id and epoch, first
# sequence number, records.
_HEADER: Final = struct.Struct(">qiibIhiqqqhii")
_LENGTH_FROM: Final = 12  # the length counts what follows it
_MAGIC: Final = 2
_TRANSACTIONAL, _CONTROL = 0x10, 0x20


class Holds(IntEnum):
    """What offsets of a batch hold."""

    RECORDS = 0  # each of them one
    NOTHING = 1  # a transaction marker, or data of a transaction that was aborted


class BatchSpan(NamedTuple):
    """The offsets [start, end) of one batch, or of one record of a batch that others were taken out of."""

    start: int
    end: int
    holds: Holds


def spans_of(data: bytes, aborted: Sequence[tuple[int, int]]) -> Iterator[BatchSpan]:
    """The batches of a fetched part of a log, in order; an incomplete one at its end is left out.

    `aborted`: producer id and first offset of the aborted transactions that the part touches, as the broker names them. Raises RecordCorrupt
    for a format that is not read, RecordUnreadable for damage where the records must be looked at.
    """
    aborted_data, at = AbortedData(aborted), 0
    while at + _HEADER.size <= len(data):
        base, length, _, magic, _, attributes, delta, _, _, producer, _, _, count = _HEADER.unpack_from(data, at)
        following = at + _LENGTH_FROM + length
        if magic != _MAGIC:
            raise RecordCorrupt(f"the batch at offset {base} has message format {magic}; only {_MAGIC} is read")
        if following > len(data):
            return
        end = base + delta + 1
        if attributes & _CONTROL:
            aborted_data.take_marker(base, producer, _marker_in(memoryview(data)[at:following], base))
            yield BatchSpan(base, end, Holds.NOTHING)
        elif attributes & _TRANSACTIONAL and aborted_data.holds_batch(base, producer):
            yield BatchSpan(base, end, Holds.NOTHING)
        elif count == end - base:
            yield BatchSpan(base, end, Holds.RECORDS)
        else:
            # Compaction keeps the range of a batch. What it left must be looked at one by one.
            yield from _left_in(memoryview(data)[at:following], base)
        at = following


def _left_in(batch: memoryview, base: int) -> Iterator[BatchSpan]:
    try:
        for record in records_of(batch, header_of(batch)):
            yield BatchSpan(record.offset, record.offset + 1, Holds.RECORDS)
    except BatchUnreadable as error:
        raise RecordUnreadable(f"the batch at offset {base} cannot be read: {error}") from error


def _marker_in(batch: memoryview, base: int) -> int:
    try:
        return marker_of(batch, header_of(batch))
    except BatchUnreadable as error:
        raise RecordUnreadable(f"the marker at offset {base} cannot be read: {error}") from error


class ExaminedPart:
    """A part of a log, [start, end): what each offset holds. Neighbours that hold the same are one entry of three integers."""

    def __init__(self, start: int, spans: Iterator[BatchSpan]) -> None:
        self.start, self.end = start, start
        self._starts, self._ends, self._holds = array("q"), array("q"), bytearray()
        for span in spans:
            if self._ends and self._ends[-1] == span.start and self._holds[-1] == span.holds:
                self._ends[-1] = span.end
            else:
                self._starts.append(span.start)
                self._ends.append(span.end)
                self._holds.append(span.holds)
            self.end = span.end

    def at(self, offset: int) -> tuple[Holds | None, int]:
        """What an offset of this part holds (None: no batch has it), and up to which offset the same is true."""
        place = bisect_right(self._starts, offset) - 1
        if place >= 0 and offset < self._ends[place]:
            return Holds(self._holds[place]), self._ends[place]
        return None, self._starts[place + 1] if place + 1 < len(self._starts) else self.end
