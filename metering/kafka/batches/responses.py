"""What was fetched from one partition, given out up to the first batch that cannot be read; and the form in which it is. Pure."""

from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple, Protocol

from metering.kafka.batches.aborted_data import AbortedData
from metering.kafka.batches.library_batches import records_from
from metering.kafka.batches.plain_batches import BatchHeader, BatchUnreadable, batch_at, batches, header_of, records_of, uncompressed
from metering.records.record import LogRecord
from metering.records.service_limits import BATCH_INFLATED_BYTES_MAX

Opened = tuple[memoryview, BatchHeader]


class ResponsePart(NamedTuple):
    """Records in log order, and ranges of offsets, [start, end) each, that are proved to hold nothing to read. Either may be empty."""

    records: Sequence[LogRecord]
    holes: Sequence[tuple[int, int]] = ()


class Response(Protocol):
    """The items of a response. `next_offset` is behind the one that was given out last. `is_damaged`: they ended before a batch whose records
    cannot be read.
    """

    next_offset: int
    is_damaged: bool

    def items(self) -> Iterator[Any]:
        """To be asked for once."""
        ...


class GivenForm(Protocol):
    """What a client gives out. `items_max`: how many items one poll should give at most; None: as the client was made."""

    items_max: int | None

    def response(self, data: bytes, aborted: Sequence[tuple[int, int]], offset: int, *, doubtful: bool) -> Response:
        """What is there from this offset on. `aborted` as AbortedData says.

        Raises BatchUnreadable if the very first batch cannot be read: at once for a wrong checksum or form, and for its records if these are
        `doubtful`. Otherwise that is found out when they are asked for.
        """
        ...

    def parts(self, items: Sequence[Any]) -> Sequence[ResponsePart]:
        """Items that follow each other."""
        ...


class AsRecords:
    """Gives records, each as it was parsed: another object for each would cost as much as reading its event."""

    items_max: int | None = None

    def response(self, data: bytes, aborted: Sequence[tuple[int, int]], offset: int, *, doubtful: bool) -> Response:
        """See GivenForm."""
        return _RecordsResponse(data, aborted, offset, doubtful=doubtful)

    def parts(self, items: Sequence[Any]) -> Sequence[ResponsePart]:
        """One part."""
        return [ResponsePart(items)]


AS_RECORDS: Final = AsRecords()


class _RecordsResponse:
    def __init__(self, data: bytes, aborted: Sequence[tuple[int, int]], offset: int, *, doubtful: bool) -> None:
        self.next_offset = offset
        self.is_damaged = False
        self._aborted = AbortedData(aborted)
        self._data = memoryview(data)
        self._at = 0
        self._first: Opened | None = first_opened(data, doubtful=doubtful)

    def items(self) -> Iterator[LogRecord]:
        found, self._first = self._first, None
        inflated = 0
        while found is not None and inflated < BATCH_INFLATED_BYTES_MAX:  # what is left is fetched again
            batch, header = found
            try:
                if not self._aborted.is_nothing_in(batch, header):
                    # One at a time, when it is its turn: others wait as they were fetched.
                    clear, header = uncompressed(batch, header)
                    for record in records_from(self.next_offset, clear, header):
                        self.next_offset = record.offset + 1
                        yield record
                    inflated += len(clear)
            except BatchUnreadable:
                self.is_damaged = True
                return
            # Beyond the last record there may be offsets that compaction emptied.
            self.next_offset = max(self.next_offset, header.next_offset)
            self._at += len(batch)
            found = opened_at(self._data, self._at)


def first_opened(data: bytes, *, doubtful: bool) -> Opened:
    """The first batch and its header. Raises BatchUnreadable, also for its records if they are doubtful."""
    batch = next(batches(data))
    header = header_of(batch)
    if doubtful:
        records_of(batch, header)
    return batch, header


def opened_at(data: memoryview, at: int) -> Opened | None:
    """The batch that begins at this byte, and its header; None if there is none that can be read: the next fetch begins there, and says so."""
    try:
        batch = batch_at(data, at)
        return None if batch is None else (batch, header_of(batch))
    except BatchUnreadable:
        return None
