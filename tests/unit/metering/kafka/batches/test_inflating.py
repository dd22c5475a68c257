"""Records that are compressed inflate to what they were, and never to more than is allowed."""

import gzip
import struct
import tracemalloc

import pytest
from aiokafka import codec

from metering.kafka.batches.inflating import NotInflated, inflated
from metering.kafka.batches.plain_batches import BatchUnreadable, header_of, records_of, uncompressed
from metering.records.service_limits import BATCH_HEADERS_MAX, BATCH_INFLATED_BYTES_MAX, BATCH_RECORDS_MAX
from tests.support.wire_records import COMPRESS, GZIP, SNAPPY, WireBatch, WireRecord, varint

MAX = 1_000_000
XERIAL_HEADER_BYTES = 16


@pytest.mark.parametrize("number", COMPRESS)
@pytest.mark.parametrize("size", [0, 1, 70_000, 900_000, MAX])
def test_what_was_compressed_comes_back(number: int, size: int) -> None:
    data = bytes(at % 7 for at in range(size))
    if size or number != SNAPPY:
        assert inflated(number, COMPRESS[number](data), MAX) == data


def test_pieces_one_after_the_other_are_one() -> None:
    assert inflated(GZIP, gzip.compress(b"one") + gzip.compress(b"two") + b"\0\0", MAX) == b"onetwo"
    assert inflated(SNAPPY, codec.snappy_encode(b"x" * 100_000), MAX) == b"x" * 100_000
    assert inflated(SNAPPY, bytes(codec.snappy_encode(b"one block", xerial_compatible=False)), MAX) == b"one block"


@pytest.mark.parametrize("number", COMPRESS)
def test_nothing_inflates_to_more_than_is_allowed_nor_takes_its_memory(number: int) -> None:
    bomb = COMPRESS[number](bytes(60 * MAX))
    tracemalloc.start()
    try:
        with pytest.raises(NotInflated, match="more than 1,000,000 bytes"):
            inflated(number, bomb, MAX)
        assert tracemalloc.get_traced_memory()[1] < 5 * MAX
    finally:
        tracemalloc.stop()


def test_a_length_that_only_claims_to_be_large_takes_no_memory() -> None:
    with pytest.raises(NotInflated, match="more than"):
        inflated(SNAPPY, b"\xff\xff\xff\xff\x0f" + b"x" * 50, MAX)


@pytest.mark.parametrize("length", [-4, 0, 10_000])
def test_a_block_of_a_length_that_cannot_be_is_damage_and_ends(length: int) -> None:
    whole = codec.snappy_encode(b"x" * 100)
    with pytest.raises(NotInflated, match=f"a block of {length} bytes"):
        inflated(SNAPPY, whole[:XERIAL_HEADER_BYTES] + struct.pack(">i", length) + whole[XERIAL_HEADER_BYTES + 4 :], MAX)


@pytest.mark.parametrize("number", [*COMPRESS, 5])
def test_damage_is_a_named_reason(number: int) -> None:
    for data in (b"\x1f\x8b nothing of the kind", COMPRESS.get(number, bytes)(b"x" * 1_000)[:-9]):
        with pytest.raises(NotInflated):
            inflated(number, data, MAX)


@pytest.mark.parametrize("number", COMPRESS)
def test_a_batch_in_clear_is_the_same_batch(number: int) -> None:
    records = [WireRecord(b"k", b"v" * size, [(b"h", None)]) for size in (0, 10, 5_000)]
    batch = memoryview(WireBatch(records, number, base_offset=7).encoded())
    clear, header = uncompressed(batch, header_of(batch))
    assert list(records_of(clear, header)) == list(records_of(batch, header_of(batch)))
    assert [record.offset for record in records_of(clear, header)] == [7, 8, 9]
    assert not header.attributes & 7


def test_a_batch_is_not_read_beyond_its_bounds() -> None:
    def read(batch: WireBatch, inside: bytes | None = None) -> None:
        data = memoryview(batch.encoded() if inside is None else batch.around(inside))
        records_of(data, header_of(data))

    with pytest.raises(BatchUnreadable, match="inflate to more than"):
        read(WireBatch([WireRecord(None, bytes(BATCH_INFLATED_BYTES_MAX))], GZIP))
    many = WireBatch([WireRecord()] * (BATCH_RECORDS_MAX + 1))
    with pytest.raises(BatchUnreadable, match="250,001 records"):
        read(many, b"")
    padding = WireRecord(None, bytes(5 * 1024 * 1024))
    read(WireBatch([padding, WireRecord(headers=[(b"", None)] * BATCH_HEADERS_MAX)], GZIP))
    with pytest.raises(BatchUnreadable, match="more than 10,000 headers"):
        read(WireBatch([padding, WireRecord(headers=[(b"", None)] * (BATCH_HEADERS_MAX + 1))], GZIP))
    with pytest.raises(BatchUnreadable, match="cut off"):
        read(WireBatch([padding, WireRecord()], GZIP), COMPRESS[GZIP](varint(2**30) + bytes(5 * 1024 * 1024)))
