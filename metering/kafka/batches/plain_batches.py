"""Record batches as Kafka's own clients read them: for the few that aiokafka cannot read. Pure.

aiokafka takes a record's attributes for a varint and refuses a header name that is not UTF-8. Brokers take both. Here everything that a broker
takes is a record, within bounds. What is left are batches that are damaged, or that would take too much memory: they are BatchUnreadable, with
the reason.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from struct import Struct
from typing import Final, NamedTuple

from aiokafka.record.util import calc_crc32c
from taximeter_emitter.wire.errors import TaximeterError

from metering.kafka.batches.inflating import InflatesTooFar, NotInflated, inflated
from metering.records.service_limits import BATCH_HEADERS_MAX, BATCH_INFLATED_BYTES_MAX, BATCH_RECORDS_MAX

_FRAME: Final = Struct(">qiib")  # base offset, length of what follows it, leader epoch, magic
_HEADER: Final = Struct(">qiibIhiqqqhii")  # the same; checksum, attributes, last offset delta, two timestamps, producer, epoch, sequence, records
HEADER_BYTES: Final = _HEADER.size
_LENGTH_ENDS: Final = 12  # the bytes that the length does not count
_CHECKED_FROM: Final = 21  # what follows the checksum
_MAGIC: Final = 2

_CODEC_MASK: Final = 0x07
_LOG_APPEND_TIME: Final = 0x08
_TRANSACTIONAL: Final = 0x10
_CONTROL: Final = 0x20
_UNUSUAL: Final = _CODEC_MASK | _TRANSACTIONAL | _CONTROL

_VARINT_BYTES: Final = 5
_VARLONG_BYTES: Final = 10

# In a batch of fewer bytes, headers cannot take much memory, and are not counted.
_LARGE_BYTES: Final = 4 * 1024 * 1024
_ATTRIBUTES_AT: Final = _FRAME.size + 4  # behind the checksum
_MARKER_KIND_AT: Final = 2  # in the key of a marker, behind two bytes of its version


class BatchUnreadable(TaximeterError):
    """A batch is damaged, or of a form that is not known."""


class BatchTooLarge(BatchUnreadable):
    """A batch is as its producer made it, and larger than is read."""


class BatchHeader(NamedTuple):
    """What a batch says of itself before its records."""

    base_offset: int
    next_offset: int
    attributes: int
    first_timestamp: int
    max_timestamp: int
    producer_id: int
    records: int

    @property
    def is_control(self) -> bool:
        """Whether it holds no records of producers, but the marker of a transaction."""
        return bool(self.attributes & _CONTROL)

    @property
    def is_transactional(self) -> bool:
        """Whether it belongs to a transaction."""
        return bool(self.attributes & _TRANSACTIONAL)


@dataclass(frozen=True, slots=True)
class PlainRecord:
    """One record of a batch. A header name that is not UTF-8 has its odd bytes as `\\xff`."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    timestamp_type: int = 0
    checksum: None = None


def batches(fetched: bytes) -> Iterator[memoryview]:
    """The whole batches of what a broker sent; it may cut the last one off.

    Raises BatchUnreadable for lengths that cannot be, after the batches before, and for a first batch that is cut off.
    """
    view, at = memoryview(fetched), 0
    while (batch := batch_at(view, at)) is not None:
        yield batch
        at += len(batch)
    if not at and fetched:
        raise BatchUnreadable(f"{len(fetched)} bytes, which are no whole batch")


def is_too_large(fetched: bytes) -> bool:
    """Whether the first batch is whole, and nothing is wrong with it but that it is larger than is read."""
    try:
        batch = next(batches(fetched))
        uncompressed(batch, header_of(batch))
    except BatchTooLarge:
        return True
    except (BatchUnreadable, StopIteration):
        return False
    return False


def first_batch_start(fetched: bytes) -> int:
    """The offset of the first batch, as it says itself."""
    return int(_FRAME.unpack_from(fetched)[0]) if len(fetched) >= _FRAME.size else -1


def batch_at(view: memoryview, at: int) -> memoryview | None:
    """The batch that begins at this byte; None where it is cut off, or nothing is left. Raises BatchUnreadable for a length that cannot be."""
    if len(view) - at < _FRAME.size:
        return None
    _, length, _, _ = _FRAME.unpack_from(view, at)
    if length < _FRAME.size - _LENGTH_ENDS:
        raise BatchUnreadable(f"a batch of {length} bytes")
    end = at + _LENGTH_ENDS + length
    return view[at:end] if end <= len(view) else None


def first_batch_bytes(fetched: bytes) -> int:
    """The size of the first batch, as it says itself."""
    return _LENGTH_ENDS + int(_FRAME.unpack_from(fetched)[1]) if len(fetched) >= _FRAME.size else len(fetched)


def first_batch_end(fetched: bytes) -> int:
    """The offset behind the first batch: where the next one begins, or else, as the first one says itself."""
    size = first_batch_bytes(fetched)
    if len(fetched) >= size + _FRAME.size:
        return int(_FRAME.unpack_from(fetched, size)[0])
    if len(fetched) < HEADER_BYTES:
        return 0
    header = _HEADER.unpack_from(fetched)
    return int(header[0]) + int(header[6]) + 1


def is_usual(fetched: bytes, at: int) -> bool:
    """Whether the batch that begins at this byte says that it is clear and of no transaction, if there is one."""
    return len(fetched) > at + _ATTRIBUTES_AT + 1 and not fetched[at + _ATTRIBUTES_AT + 1] & _UNUSUAL


def header_of(batch: memoryview) -> BatchHeader:
    """Raises BatchUnreadable if the batch is damaged, or not of the form that Kafka has written since 2017."""
    magic = batch[_FRAME.size - 1]
    if magic != _MAGIC:
        raise BatchUnreadable(f"form {magic} of a batch is not known")
    if len(batch) < HEADER_BYTES:
        raise BatchUnreadable(f"a batch of {len(batch)} bytes")
    base, _, _, _, checksum, attributes, last_delta, first_timestamp, max_timestamp, producer_id, _, _, records = _HEADER.unpack_from(batch)
    if calc_crc32c(batch[_CHECKED_FROM:].tobytes()) != checksum:
        raise BatchUnreadable("the checksum is wrong")
    if last_delta < 0 or records < 0:
        raise BatchUnreadable(f"{records} records, the last one {last_delta} offsets after the first")
    return BatchHeader(base, base + last_delta + 1, attributes, first_timestamp, max_timestamp, producer_id, records)


def uncompressed(batch: memoryview, header: BatchHeader) -> tuple[memoryview, BatchHeader]:
    """The same batch with its records in clear, and its header; its checksum is wrong then. Raises BatchUnreadable if it is too large.

    So it may be given to aiokafka, which would inflate whatever there is.
    """
    if header.records > BATCH_RECORDS_MAX:
        raise BatchTooLarge(f"it has {header.records:,} records; at most {BATCH_RECORDS_MAX:,} are read")
    number = header.attributes & _CODEC_MASK
    if number:
        try:
            data = inflated(number, batch[HEADER_BYTES:].tobytes(), BATCH_INFLATED_BYTES_MAX)
        except InflatesTooFar as error:
            raise BatchTooLarge(str(error)) from error
        except NotInflated as error:
            raise BatchUnreadable(str(error)) from error
        header = header._replace(attributes=header.attributes & ~_CODEC_MASK)
        clear = bytearray(batch[:HEADER_BYTES])
        clear[_ATTRIBUTES_AT : _ATTRIBUTES_AT + 2] = header.attributes.to_bytes(2, "big", signed=True)
        batch = memoryview(bytes(clear) + data)
    if len(batch) > _LARGE_BYTES:
        _check_headers(batch[HEADER_BYTES:].tobytes(), header.records)
    return batch, header


def marker_of(batch: memoryview, header: BatchHeader) -> int:
    """Which end of a transaction a control batch says, as Kafka numbers them; -1 if compaction emptied it. Raises BatchUnreadable."""
    batch, header = uncompressed(batch, header)
    if not header.records:
        return -1
    reader = _Reader(batch[HEADER_BYTES:].tobytes())
    reader.varint()
    reader.byte()
    reader.varint(_VARLONG_BYTES)
    reader.varint()
    return int.from_bytes((reader.sized() or b"")[_MARKER_KIND_AT : _MARKER_KIND_AT + 2], "big")


def _check_headers(data: bytes, records: int) -> None:
    """A header of two bytes takes a hundred in memory. What is damaged otherwise shows later."""
    at = 0
    for _ in range(records):
        reader = _Reader(data, at)
        size = reader.varint()
        at = reader.at + size
        if size < 2 * BATCH_HEADERS_MAX:
            continue
        if at > len(data):
            raise BatchUnreadable("a record is cut off")
        if _headers_begin(reader) > BATCH_HEADERS_MAX:
            raise BatchTooLarge(f"a record has more than {BATCH_HEADERS_MAX:,} headers")


def records_of(batch: memoryview, header: BatchHeader) -> Iterator[PlainRecord]:
    """The records of a batch, one after the other, once all were looked at. Raises BatchUnreadable."""
    batch, header = uncompressed(batch, header)
    data = batch[HEADER_BYTES:].tobytes()
    reader = _Reader(data)
    for _ in range(header.records):
        _record(reader, header)
    if reader.at != len(data):
        raise BatchUnreadable(f"{len(data) - reader.at} bytes after the last record")
    again = _Reader(data)
    return (_record(again, header) for _ in range(header.records))


class _Reader:
    """Takes fields from bytes, one after the other. Raises BatchUnreadable at the end, and for lengths that cannot be."""

    def __init__(self, data: bytes, at: int = 0) -> None:
        self._data = data
        self.at = at

    def byte(self) -> int:
        if self.at >= len(self._data):
            raise BatchUnreadable("a record is cut off")
        self.at += 1
        return self._data[self.at - 1]

    def varint(self, bytes_max: int = _VARINT_BYTES) -> int:
        unsigned = 0
        for place in range(bytes_max):
            byte = self.byte()
            unsigned |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                return (unsigned >> 1) ^ -(unsigned & 1)
        raise BatchUnreadable(f"an integer of more than {bytes_max} bytes")

    def sized(self) -> bytes | None:
        size = self.varint()
        if size < 0:
            return None
        if size > len(self._data) - self.at:
            raise BatchUnreadable(f"a field of {size} bytes where {len(self._data) - self.at} are left")
        self.at += size
        return self._data[self.at - size : self.at]

    def pass_over(self) -> None:
        """Like `sized`, without a copy. What is too long shows at the next field."""
        size = self.varint()
        self.at += max(0, size)


def _record(reader: _Reader, header: BatchHeader) -> PlainRecord:
    size = reader.varint()
    begin = reader.at
    reader.byte()  # attributes: none is in use
    timestamp = header.first_timestamp + reader.varint(_VARLONG_BYTES)
    if header.attributes & _LOG_APPEND_TIME:
        timestamp = header.max_timestamp
    offset = header.base_offset + reader.varint()
    key, value = reader.sized(), reader.sized()
    headers = [(_name(reader), reader.sized()) for _ in range(_count(reader))]
    if reader.at - begin != size:
        raise BatchUnreadable(f"a record of {size} bytes has {reader.at - begin}")
    return PlainRecord(offset, timestamp, key, value, headers)


def _headers_begin(reader: _Reader) -> int:
    """How many headers the record has whose attributes come next."""
    reader.byte()
    reader.varint(_VARLONG_BYTES)
    reader.varint()
    reader.pass_over()
    reader.pass_over()
    return _count(reader)


def _count(reader: _Reader) -> int:
    count = reader.varint()
    if count < 0:
        raise BatchUnreadable(f"{count} headers")
    return count


def _name(reader: _Reader) -> str:
    name = reader.sized()
    if name is None:
        raise BatchUnreadable("a header without a name")
    return name.decode("utf-8", "backslashreplace")
