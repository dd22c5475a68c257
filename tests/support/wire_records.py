"""Record batches byte by byte, as the protocol has them and no client library writes them."""

import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from aiokafka import codec
from crc32c import crc32c

_CRC_FROM = 21
_NO_PRODUCER = (-1, -1, -1)
GZIP, SNAPPY, LZ4, ZSTD = 1, 2, 3, 4
COMPRESS: Final[Mapping[int, Callable[[bytes], bytes]]] = {
    GZIP: lambda data: codec.gzip_encode(data, 6),
    SNAPPY: codec.snappy_encode,
    LZ4: codec.lz4_encode,
    ZSTD: codec.zstd_encode,
}
"""By the number that a batch's attributes have of it."""


@dataclass(frozen=True)
class WireRecord:
    """A record. Names of headers are bytes, whatever they say. `padding`: how many bytes longer than needed each of its integers is."""

    key: bytes | None = None
    value: bytes | None = None
    headers: Sequence[tuple[bytes, bytes | None]] = ()
    attributes: int = 0
    timestamp_delta: int = 0
    padding: int = 0


@dataclass(frozen=True)
class WireBatch:
    """A batch. The broker sets offsets; with LogAppendTime it sets the time, too."""

    records: Sequence[WireRecord]
    attributes: int = 0
    first_timestamp: int = 0
    max_timestamp: int = 0
    magic: int = 2
    leader_epoch: int = 0
    base_offset: int = 0
    producer: tuple[int, int, int] = field(default=_NO_PRODUCER)

    def encoded(self) -> bytes:
        """With a right checksum."""
        records = b"".join(_record(record, delta) for delta, record in enumerate(self.records))
        return self.around(COMPRESS[self.attributes & 7](records) if self.attributes & 7 in COMPRESS else records)

    def around(self, records: bytes) -> bytes:
        """A batch that holds these bytes in place of its records."""
        times = (self.first_timestamp, self.max_timestamp)
        checked = struct.pack(">hiqqqhii", self.attributes, len(self.records) - 1, *times, *self.producer, len(self.records)) + records
        head = struct.pack(">ibI", self.leader_epoch, self.magic, crc32c(checked))
        return struct.pack(">qi", self.base_offset, len(head) + len(checked)) + head + checked


def varint(number: int, padding: int = 0) -> bytes:
    """Zigzag and seven bits a byte; `padding` more bytes than it takes."""
    left = (number << 1) ^ (number >> 63)
    found = bytearray()
    while left > 0x7F:
        found.append(left & 0x7F | 0x80)
        left >>= 7
    found.append(left)
    for _ in range(padding if len(found) + padding <= 5 else 0):
        found[-1] |= 0x80
        found.append(0)
    return bytes(found)


def _sized(value: bytes | None, padding: int) -> bytes:
    return varint(-1, padding) if value is None else varint(len(value), padding) + value


def _record(record: WireRecord, offset_delta: int) -> bytes:
    padding = record.padding
    body = b"".join(
        (
            bytes([record.attributes & 0xFF]),
            varint(record.timestamp_delta, padding),
            varint(offset_delta, padding),
            _sized(record.key, padding),
            _sized(record.value, padding),
            varint(len(record.headers), padding),
            *(_sized(name, padding) + _sized(value, padding) for name, value in record.headers),
        )
    )
    return varint(len(body), padding) + body
