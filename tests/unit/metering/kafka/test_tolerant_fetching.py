"""Records of a response, as they are given out: all that brokers take, up to what is damaged."""

import pytest
from aiokafka import TopicPartition
from aiokafka.consumer.fetcher import PartitionRecords
from aiokafka.record.default_records import DefaultRecordBatch
from aiokafka.record.memory_records import MemoryRecords

from metering.kafka import tolerant_fetching
from metering.kafka.batches import plain_batches
from metering.kafka.batches.plain_batches import BatchUnreadable, header_of, records_of
from metering.kafka.tolerant_fetching import _FetchedRecords
from tests.support.wire_records import COMPRESS, WireBatch, WireRecord

PLACE = TopicPartition("usage.events", 3)
ODD = WireRecord(b"k", b"odd", [(b"\xff", None)], attributes=0x80)
GOOD = WireRecord(b"k", b"good")
# A batch of three, from offset 116 on, of which the library reads the second as one at offset 118, and raises nothing.
MISREAD = bytes.fromhex(
    "0000000000000074000000700000000002a9558773000800000002ffffffffffffffff000001a21be92986ffffffffffffffffffffffffffff000000"
    "03a0800001808000808000818000818000808000bc8080800080ffffffffff3f82808080008480808000fffe82808080007b80808080001000000404"
    "fffe0100"
)


def fetched(data: bytes, offset: int, doubtful: set[TopicPartition]) -> _FetchedRecords:
    replaced = PartitionRecords(PLACE, MemoryRecords(b""), [], offset, None, None, True, 1)
    return _FetchedRecords(PLACE, replaced, data, doubtful=doubtful)


def at(offset: int, *records: WireRecord, inside: bytes | None = None) -> bytes:
    batch = WireBatch(records, base_offset=offset)
    return batch.encoded() if inside is None else batch.around(inside)


def test_records_that_the_library_cannot_read_are_given_out_with_their_neighbours_once_each() -> None:
    found = fetched(at(0, GOOD, GOOD, ODD, GOOD) + at(4, ODD) + at(5, GOOD), 1, set())
    assert [(record.offset, record.value) for record in found] == [(1, b"good"), (2, b"odd"), (3, b"good"), (4, b"odd"), (5, b"good")]
    assert found.next_fetch_offset == 6


def test_a_record_that_the_library_misreads_without_a_word_is_given_out_as_it_is() -> None:
    assert [record.offset for record in DefaultRecordBatch(MISREAD)] == [116, 118, 118]
    expected = [(record.offset, record.key, record.value) for record in records_of(memoryview(MISREAD), header_of(memoryview(MISREAD)))]
    assert [offset for offset, _, _ in expected] == [116, 117, 118]
    assert [(record.offset, record.key, record.value) for record in fetched(MISREAD + at(119, GOOD), 116, set())] == [*expected, (119, b"k", b"good")]
    assert [record.offset for record in fetched(MISREAD, 117, set())] == [117, 118]


def test_what_is_before_damaged_records_is_given_out_and_the_next_response_says_what_is_wrong() -> None:
    doubtful: set[TopicPartition] = set()
    damaged = at(2, GOOD, GOOD, inside=b"\xff\xff")
    found = fetched(at(0, GOOD, GOOD) + damaged, 0, doubtful)
    assert [record.offset for record in found] == [0, 1]
    assert found.next_fetch_offset == 2
    for _ in range(3):
        with pytest.raises(BatchUnreadable, match="cut off"):
            fetched(damaged, 2, doubtful)
    assert [record.offset for record in fetched(at(4, GOOD), 4, doubtful)] == [4]
    assert not doubtful


def test_damaged_records_at_the_very_beginning_give_nothing_and_then_say_it() -> None:
    doubtful: set[TopicPartition] = set()
    damaged = at(2, GOOD, inside=b"\xff\xff")
    found = fetched(damaged, 2, doubtful)
    assert not list(found)
    assert found.next_fetch_offset == 2
    with pytest.raises(BatchUnreadable):
        fetched(damaged, 2, doubtful)


def test_a_wrong_checksum_or_form_is_said_at_once_and_given_out_before_it_is_what_is_whole() -> None:
    wrong = bytearray(at(1, GOOD))
    wrong[-1] ^= 1
    assert [record.offset for record in fetched(at(0, GOOD) + bytes(wrong), 0, set())] == [0]
    with pytest.raises(BatchUnreadable, match="checksum"):
        fetched(bytes(wrong), 1, set())
    with pytest.raises(BatchUnreadable, match="form 1"):
        fetched(WireBatch([GOOD], magic=1).encoded(), 0, set())


def test_what_inflates_too_far_costs_its_place_and_what_inflates_far_ends_a_response(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tolerant_fetching, "BATCH_INFLATED_BYTES_MAX", 10_000)
    monkeypatch.setattr(plain_batches, "BATCH_INFLATED_BYTES_MAX", 10_000)
    half, bomb = WireRecord(None, bytes(6_000)), WireRecord(None, bytes(10_000))
    data = b"".join(WireBatch([half], number, base_offset=number).encoded() for number in COMPRESS)
    found = fetched(data, 1, set())
    assert [record.offset for record in found] == [1, 2]
    assert found.next_fetch_offset == 3
    for number in COMPRESS:
        doubtful: set[TopicPartition] = set()
        data = at(0, GOOD) + WireBatch([bomb], number, base_offset=1).encoded()
        assert [record.offset for record in fetched(data, 0, doubtful)] == [0]
        with pytest.raises(BatchUnreadable, match="inflate to more than 10,000 bytes"):
            fetched(WireBatch([bomb], number, base_offset=1).encoded(), 1, doubtful)
