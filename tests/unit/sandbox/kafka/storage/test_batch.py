import struct

import pytest
from kio.schema.errors import ErrorCode
from taximeter_sandbox.kafka.storage.batch import HEADER_BYTES, BatchRefused, parse_header, stamped_header, validate_produced

from tests.support.broker_wire import record_batch
from tests.support.kafka_stored_batches import stored_batches


def _changed(batch: bytes, position: int, value: bytes, *, fix_crc: bool = True) -> bytes:
    from crc32c import crc32c

    changed = bytearray(batch)
    changed[position : position + len(value)] = value
    if fix_crc:
        changed[17:21] = struct.pack(">I", crc32c(bytes(changed[21:])))
    return bytes(changed)


def test_log_append_time_sets_type_time_and_offset_and_renews_the_checksum() -> None:
    batch = record_batch([b"a", b"b"], timestamp_ms=1_000)
    head = stamped_header(batch, parse_header(batch), base_offset=41, append_time_ms=777_000)
    (stored,) = stored_batches(head + batch[HEADER_BYTES:])
    assert (stored.base_offset, stored.timestamp_type) == (41, 1)
    assert [(record.offset, record.timestamp, record.value) for record in stored] == [(41, 777_000, b"a"), (42, 777_000, b"b")]


def test_create_time_changes_nothing_but_the_offset() -> None:
    batch = record_batch([b"a", b"b"], timestamp_ms=1_000)
    head = stamped_header(batch, parse_header(batch), base_offset=41, append_time_ms=None)
    (stored,) = stored_batches(head + batch[HEADER_BYTES:])
    assert [(record.offset, record.timestamp) for record in stored] == [(41, 1_000), (42, 1_001)]
    assert head[16:] == batch[16:HEADER_BYTES]


_GOOD = record_batch([b"a", b"b"], producer_id=5, epoch=0, sequence=0)


@pytest.mark.parametrize(
    ("batch", "error"),
    [
        (b"", ErrorCode.corrupt_message),
        (_GOOD[: HEADER_BYTES - 1], ErrorCode.corrupt_message),
        (_GOOD[:-1], ErrorCode.invalid_record),
        (_GOOD + _GOOD, ErrorCode.invalid_record),
        (_changed(_GOOD, 16, b"\x01"), ErrorCode.unsupported_for_message_format),
        (_changed(_GOOD, 70, b"\xff", fix_crc=False), ErrorCode.corrupt_message),
        (_changed(_GOOD, 21, b"\x00\x10"), ErrorCode.invalid_txn_state),
        (_changed(_GOOD, 21, b"\x00\x20"), ErrorCode.invalid_txn_state),
        (_changed(_GOOD, 21, b"\x00\x05"), ErrorCode.unsupported_compression_type),
        (_changed(_GOOD, 23, struct.pack(">i", 0)), ErrorCode.invalid_record),
        (_changed(_GOOD, 57, struct.pack(">i", 0)), ErrorCode.invalid_record),
        (_changed(_GOOD, 53, struct.pack(">i", -1)), ErrorCode.invalid_record),
    ],
    ids=["empty", "header-cut", "cut", "two-batches", "magic", "checksum", "transactional", "control", "codec", "delta", "count", "sequence"],
)
def test_what_must_not_be_stored_is_refused(batch: bytes, error: ErrorCode) -> None:
    with pytest.raises(BatchRefused) as refused:
        validate_produced(batch, produce_version=8)
    assert refused.value.error is error


def test_zstd_needs_the_produce_version_that_knows_it() -> None:
    batch = record_batch([b"a" * 100], compression=4)
    assert validate_produced(batch, produce_version=7).compressed
    with pytest.raises(BatchRefused):
        validate_produced(batch, produce_version=6)


def test_sequence_numbers_wrap_around() -> None:
    header = parse_header(record_batch([b"a", b"b", b"c"], producer_id=1, epoch=0, sequence=2**31 - 2))
    assert header.last_sequence == 0
