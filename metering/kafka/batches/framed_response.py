"""One partition of a response as framed records: usual batches all at once by native code, and others one by one. Pure."""

from collections.abc import Iterator, Sequence
from importlib import import_module
from itertools import islice
from typing import Any, Final, Protocol, TypeAlias, cast

from metering.kafka.batches.aborted_data import AbortedData
from metering.kafka.batches.framed_records import BytePlaces, FramedRecords, Int64s
from metering.kafka.batches.library_batches import records_from
from metering.kafka.batches.plain_batches import BatchHeader, BatchUnreadable, is_usual, uncompressed
from metering.kafka.batches.responses import Opened, Response, ResponsePart, first_opened, opened_at
from metering.records.record import LogRecord
from metering.records.service_limits import BATCH_INFLATED_BYTES_MAX

INFLATED_PART_BYTES: Final = 1024 * 1024  # a part with more than this of inflated bytes is given out
PARTS_AT_ONCE: Final = 64  # a part is what one response has of a partition: a megabyte, usually
OTHERS_AT_ONCE: Final = 500  # records in a part that cannot be framed

Framed: TypeAlias = tuple[Int64s, Int64s, BytePlaces, int, int, str | None]
"""Offsets, times, places; the byte and the offset behind the last batch that was framed; and why the next one was not, or None at the end."""


class Framer(Protocol):
    """The native module, taximeter_native."""

    def frame(self, data: bytes, at: int, from_offset: int, /) -> Framed:
        """The usual batches from a byte on, once checked, up to one that is not usual or not whole; without records before `from_offset`."""
        ...

    def frame_batch(self, data: bytes, from_offset: int, /) -> Framed:
        """One batch with its records in clear, which was checked."""
        ...

    def headers(self, data: bytes, at: int, count: int, /) -> Sequence[tuple[str, bytes | None]]:
        """The headers of one record."""
        ...


def native_framer() -> Framer | None:
    """None where the native module is not installed. It reads exactly what Python reads, many times as fast."""
    try:
        return cast("Framer", import_module("taximeter_native"))
    except ImportError:
        return None


class AsParts:
    """A GivenForm that gives ResponseParts, whose records are framed wherever native code can do it."""

    items_max: int | None = PARTS_AT_ONCE

    def __init__(self, framer: Framer) -> None:
        self._framer = framer

    def response(self, data: bytes, aborted: Sequence[tuple[int, int]], offset: int, *, doubtful: bool) -> Response:
        """See GivenForm."""
        return _FramedResponse(data, aborted, offset, self._framer, doubtful=doubtful)

    def parts(self, items: Sequence[Any]) -> Sequence[ResponsePart]:
        """As they are."""
        return items


class _FramedResponse:
    def __init__(self, data: bytes, aborted: Sequence[tuple[int, int]], offset: int, framer: Framer, *, doubtful: bool) -> None:
        self.next_offset = offset
        self.is_damaged = False
        self._data = data
        self._view = memoryview(data)
        self._at = 0
        self._read_to = offset  # what is taken is before it
        self._aborted = AbortedData(aborted)
        self._framer = framer
        self._framed: list[FramedRecords] = []
        self._holes: list[tuple[int, int]] = []
        self._inflated = 0  # bytes of what is framed and was compressed
        self._take_usual()
        self._first: Opened | None = first_opened(data, doubtful=doubtful) if not self._at else None

    def items(self) -> Iterator[ResponsePart]:
        found, self._first = self._first or self._following(), None
        inflated = 0
        while found is not None and inflated < BATCH_INFLATED_BYTES_MAX:  # what is left is fetched again
            batch, header = found
            try:
                if self._aborted.is_nothing_in(batch, header):
                    self._add_hole(header.base_offset, header.next_offset)
                else:
                    # One at a time, when it is its turn: others wait as they were fetched.
                    clear, header = uncompressed(batch, header)
                    inflated += len(clear) if clear is not batch else 0
                    if not self._take_framed(clear, is_own=clear is not batch):
                        yield from self._others(clear, header)
            except BatchUnreadable:
                self.is_damaged = True
                break
            self._at += len(batch)
            # Beyond the last record there may be offsets that compaction emptied.
            self._read_to = max(self._read_to, header.next_offset)
            if self._inflated >= INFLATED_PART_BYTES:
                yield from self._finished()
            self._take_usual()
            found = self._following()
        yield from self._finished()

    def _following(self) -> Opened | None:
        return opened_at(self._view, self._at)

    def _take_usual(self) -> None:
        if is_usual(self._data, self._at):
            offsets, timestamps, places, self._at, read_to, _ = self._framer.frame(self._data, self._at, self._read_to)
            self._read_to = max(self._read_to, read_to)
            if len(offsets):
                self._framed.append(FramedRecords(self._data, offsets, timestamps, places, self._framer.headers))

    def _take_framed(self, clear: memoryview, *, is_own: bool) -> bool:
        """Take the next batch, which was inflated if its bytes are its own. Returns False if it cannot be framed."""
        data = clear.tobytes()
        offsets, timestamps, places, _, _, refused = self._framer.frame_batch(data, self._read_to)
        if refused is not None:
            return False
        if is_own:
            self._inflated += len(data)
        else:
            data = self._data
            places[:, ::2] += self._at
        if len(offsets):
            self._framed.append(FramedRecords(data, offsets, timestamps, places, self._framer.headers))
        return True

    def _add_hole(self, start: int, end: int) -> None:
        if self._holes and self._holes[-1][1] == start:
            start = self._holes.pop()[0]
        self._holes.append((start, end))

    def _finished(self) -> Iterator[ResponsePart]:
        """What was taken, if anything was."""
        self.next_offset = self._read_to
        if self._framed or self._holes:
            records = self._framed[0].joined_with(self._framed[1:]) if self._framed else ()
            part = ResponsePart(records, self._holes)
            self._framed, self._holes, self._inflated = [], [], 0
            yield part

    def _others(self, clear: memoryview, header: BatchHeader) -> Iterator[ResponsePart]:
        """The records of a batch that cannot be framed. Raises BatchUnreadable behind those that can be read."""
        yield from self._finished()
        records, damage = records_from(self._read_to, clear, header), None
        while damage is None:
            some: list[LogRecord] = []
            try:
                for record in islice(records, OTHERS_AT_ONCE):
                    some.append(record)  # noqa: PERF402  # they are there, too, when the next one raises
            except BatchUnreadable as error:
                damage = error
            if some:
                self.next_offset = self._read_to = some[-1].offset + 1
                yield ResponsePart(some)
            elif damage is None:
                return
        raise damage
