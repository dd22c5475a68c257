"""The header of a version 2 record batch: the only part of a batch that the broker reads or changes."""

import struct
from dataclasses import dataclass

from crc32c import crc32c
from kio.schema.errors import ErrorCode

_HEADER = struct.Struct(">qiibIhiqqqhii")
#: What precedes the bytes that a batch's length field counts: the base offset and the length itself.
LENGTH_OVERHEAD = 12
HEADER_BYTES = _HEADER.size
_CRC_START = 21
_CODEC_MASK = 0x07
_ZSTD = 4
_LOG_APPEND_TIME_BIT = 0x08
_TRANSACTIONAL_BIT = 0x10
_CONTROL_BIT = 0x20
_SEQUENCE_MAX = 2**31 - 1
_PREFIX = struct.Struct(">qi")
_EPOCH_AND_MAGIC = struct.Struct(">ib")
_STAMPED = struct.Struct(">hiqq")
_CRC = struct.Struct(">I")

NO_PRODUCER = -1


class BatchRefused(Exception):
    """A produced batch cannot be stored; ``error`` is the protocol's code for it, the message says why."""

    def __init__(self, error: ErrorCode, message: str) -> None:
        super().__init__(message)
        self.error = error


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """A parsed batch header; timestamps in milliseconds since the epoch, ``length`` counts the bytes after the length field."""

    base_offset: int
    length: int
    leader_epoch: int
    magic: int
    crc: int
    attributes: int
    last_offset_delta: int
    base_timestamp: int
    max_timestamp: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    record_count: int

    @property
    def size(self) -> int:
        """Bytes of the whole batch."""
        return LENGTH_OVERHEAD + self.length

    @property
    def next_offset(self) -> int:
        """The offset after the batch's last record."""
        return self.base_offset + self.last_offset_delta + 1

    @property
    def last_sequence(self) -> int:
        """The producer's sequence number of the last record; numbers wrap around after 2^31 - 1."""
        last = self.base_sequence + self.last_offset_delta
        return last if last <= _SEQUENCE_MAX else last - _SEQUENCE_MAX - 1

    @property
    def compressed(self) -> bool:
        """Whether the records are compressed, by whatever codec."""
        return self.attributes & _CODEC_MASK != 0

    @property
    def has_log_append_time(self) -> bool:
        """Whether the batch's one timestamp is the broker's."""
        return self.attributes & _LOG_APPEND_TIME_BIT != 0


def parse_header(data: bytes | memoryview, position: int = 0) -> BatchHeader:
    """The header that starts at ``position``; there must be HEADER_BYTES bytes from there."""
    return BatchHeader(*_HEADER.unpack_from(data, position))


def parse_prefix(data: bytes | memoryview, position: int) -> tuple[int, int]:
    """(base offset, size in bytes) of the batch that starts at ``position``: enough to walk from batch to batch."""
    base_offset, length = _PREFIX.unpack_from(data, position)
    return base_offset, LENGTH_OVERHEAD + length


def checksum_matches(batch: bytes | memoryview, header: BatchHeader) -> bool:
    """Whether the CRC-32C of a whole batch is the one in its header."""
    return bool(crc32c(memoryview(batch)[_CRC_START : header.size]) == header.crc)


def validate_produced(batch: bytes | memoryview, *, produce_version: int) -> BatchHeader:
    """The header of the one batch that a produce request carries for a partition.

    Raises BatchRefused for anything a broker without transactions must not store.
    """
    if len(batch) < HEADER_BYTES:
        raise BatchRefused(ErrorCode.corrupt_message, "shorter than a batch header")
    header = parse_header(batch)
    if header.magic != 2:
        raise BatchRefused(ErrorCode.unsupported_for_message_format, f"record batch magic {header.magic}, only 2 is stored")
    if header.size != len(batch):
        raise BatchRefused(ErrorCode.invalid_record, "a produce request must carry exactly one record batch for a partition")
    if not checksum_matches(batch, header):
        raise BatchRefused(ErrorCode.corrupt_message, "the checksum does not match")
    if header.attributes & (_TRANSACTIONAL_BIT | _CONTROL_BIT):
        raise BatchRefused(ErrorCode.invalid_txn_state, "this development broker has no transactions")
    codec = header.attributes & _CODEC_MASK
    if codec > _ZSTD or (codec == _ZSTD and produce_version < 7):
        raise BatchRefused(ErrorCode.unsupported_compression_type, f"compression codec {codec} in produce version {produce_version}")
    if header.record_count < 1 or header.last_offset_delta != header.record_count - 1:
        raise BatchRefused(ErrorCode.invalid_record, "the record count and the last offset delta disagree")
    if header.producer_id != NO_PRODUCER and (header.producer_epoch < 0 or header.base_sequence < 0):
        raise BatchRefused(ErrorCode.invalid_record, "a producer id without an epoch and a sequence")
    return header


def stamped_header(batch: bytes | memoryview, header: BatchHeader, *, base_offset: int, append_time_ms: int | None) -> bytes:
    """The header bytes to store: offset assigned, and with ``append_time_ms`` the timestamp type and time set and the checksum renewed.

    The attributes lie under the checksum, so LogAppendTime costs one pass of CRC-32C over the batch; the records stay as they are.
    """
    stored = bytearray(memoryview(batch)[:HEADER_BYTES])
    _PREFIX.pack_into(stored, 0, base_offset, header.length)
    _EPOCH_AND_MAGIC.pack_into(stored, LENGTH_OVERHEAD, 0, 2)
    if append_time_ms is not None:
        attributes = header.attributes | _LOG_APPEND_TIME_BIT
        _STAMPED.pack_into(stored, _CRC_START, attributes, header.last_offset_delta, header.base_timestamp, append_time_ms)
        crc = crc32c(memoryview(batch)[HEADER_BYTES:], crc32c(memoryview(stored)[_CRC_START:]))
        _CRC.pack_into(stored, _CRC_START - 4, crc)
    return bytes(stored)
