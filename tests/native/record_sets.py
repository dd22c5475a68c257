"""What a broker sends for one partition, byte by byte, so that each field of it can be wrong."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from struct import pack
from typing import Final

from crc32c import crc32c

Header = tuple[bytes | None, bytes | None]
HEAD_BYTES: Final = 61


def varint(number: int) -> bytes:
    """Zigzag, seven bits a byte; of 64 bits at most."""
    unsigned = ((number << 1) ^ (number >> 63)) & (2**64 - 1)
    out = bytearray()
    while unsigned >= 0x80:
        out.append(unsigned & 0x7F | 0x80)
        unsigned >>= 7
    return bytes([*out, unsigned])


def sized(data: bytes | None) -> bytes:
    """With its length before it; -1 for null."""
    return varint(-1) if data is None else varint(len(data)) + data


@dataclass(frozen=True, slots=True)
class RawRecord:
    """What is put into a batch. Deltas None: as the place in the batch says."""

    value: bytes | None
    key: bytes | None = None
    headers: Sequence[Header] = ()
    offset_delta: int | None = None
    timestamp_delta: int = 0
    attributes: int = 0
    header_count: int | None = None
    size_added: int = 0
    padding: bytes = b""

    def encoded(self, place: int) -> bytes:
        """With its length before it."""
        offset_delta = place if self.offset_delta is None else self.offset_delta
        count = len(self.headers) if self.header_count is None else self.header_count
        body = bytes([self.attributes]) + varint(self.timestamp_delta) + varint(offset_delta) + sized(self.key) + sized(self.value) + varint(count)
        body += b"".join(sized(name) + sized(value) for name, value in self.headers) + self.padding
        return varint(len(body) + self.size_added) + body


@dataclass(frozen=True, slots=True)
class RawBatch:
    """A batch of form 2. What is None is as the records say."""

    base_offset: int
    records: Sequence[RawRecord] = field(default=())
    attributes: int = 0
    first_timestamp: int = 1_795_000_000_000
    max_timestamp: int = 1_795_000_000_777
    last_delta: int | None = None
    count: int | None = None
    length_added: int = 0
    magic: int = 2
    checksum_added: int = 0
    tail: bytes = b""

    def encoded(self) -> bytes:
        """The bytes of the whole batch."""
        records = b"".join(record.encoded(place) for place, record in enumerate(self.records)) + self.tail
        last_delta = max(0, len(self.records) - 1) if self.last_delta is None else self.last_delta
        count = len(self.records) if self.count is None else self.count
        times = (self.first_timestamp, self.max_timestamp)
        checked = pack(">hiqqqhii", self.attributes, last_delta, *times, -1, -1, -1, count) + records
        checksum = (crc32c(checked) + self.checksum_added) & 0xFFFFFFFF
        return pack(">qiibI", self.base_offset, len(checked) + 9 + self.length_added, 0, self.magic, checksum) + checked


def with_checksums(data: bytes) -> bytes:
    """The same bytes, with the checksum of each batch put right, as far as the lengths lead."""
    out, at = bytearray(data), 0
    while len(out) - at >= HEAD_BYTES:
        length = int.from_bytes(out[at + 8 : at + 12], "big", signed=True)
        end = at + 12 + length
        if length < HEAD_BYTES - 12 or end > len(out):
            break
        out[at + 17 : at + 21] = crc32c(bytes(out[at + 21 : end])).to_bytes(4, "big")
        at = end
    return bytes(out)
