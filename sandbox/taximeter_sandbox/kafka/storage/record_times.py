"""Find the first record of a batch at or after a time, where that needs a look inside the batch."""

from taximeter_sandbox.kafka.storage.batch import HEADER_BYTES, BatchHeader


class MalformedRecords(Exception):
    """The records of a batch do not parse; the broker stores batches unopened, so a producer may have written anything."""


def first_record_at_or_after(batch: bytes, header: BatchHeader, timestamp_ms: int) -> tuple[int, int]:
    """(offset, timestamp) of the first record with a time >= ``timestamp_ms``; the batch's max timestamp must reach it.

    Exact for broker-stamped and for uncompressed batches. A compressed batch is not opened: the answer is then its first offset, which
    is never too late, only too early by less than one batch.
    """
    if header.has_log_append_time:
        return header.base_offset, header.max_timestamp
    if header.base_timestamp >= timestamp_ms:
        return header.base_offset, header.base_timestamp
    if header.compressed:
        return header.base_offset, header.max_timestamp
    try:
        return _walk(batch, header, timestamp_ms)
    except MalformedRecords:
        return header.base_offset, header.max_timestamp


def _walk(batch: bytes, header: BatchHeader, timestamp_ms: int) -> tuple[int, int]:
    position = HEADER_BYTES
    for _ in range(header.record_count):
        length, body = _varint(batch, position)
        timestamp_delta, after = _varint(batch, body + 1)  # one byte of attributes comes first
        offset_delta, _ = _varint(batch, after)
        if header.base_timestamp + timestamp_delta >= timestamp_ms:
            return header.base_offset + offset_delta, header.base_timestamp + timestamp_delta
        position = body + length
    raise MalformedRecords("no record reaches the batch's max timestamp")


def _varint(data: bytes, position: int) -> tuple[int, int]:
    """(zigzag-decoded value, position after it); at most ten bytes."""
    value = 0
    for shift in range(0, 70, 7):
        if not 0 <= position < len(data):
            raise MalformedRecords("a number runs over the end of the batch")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (value >> 1) ^ -(value & 1), position
    raise MalformedRecords("a number of more than ten bytes")
