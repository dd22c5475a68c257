"""What Taximeter relies on when it writes."""

import asyncio
import time

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import MessageSizeTooLargeError
from kio.schema.errors import ErrorCode

from tests.support.broker_clients import consumer_on, producer_on, read_records
from tests.support.broker_topics import LOG_APPEND_TIME, make_topic
from tests.support.broker_wire import new_producer_id, produce_batch, record_batch


async def _read_all(bootstrap: str, topic: str, count: int) -> list[bytes]:
    async with consumer_on(bootstrap, topic, auto_offset_reset="earliest") as consumer:
        return [record.value for record in await read_records(consumer, count)]


async def test_acknowledged_records_have_contiguous_offsets(kafka: str) -> None:
    topic = await make_topic(kafka, partitions=2)
    async with producer_on(kafka) as producer:
        sent = [await producer.send(topic, b"%d" % number, partition=number % 2) for number in range(200)]
        placed = await asyncio.gather(*sent)
    for partition in (0, 1):
        assert [record.offset for record in placed if record.partition == partition] == list(range(100))


async def test_one_producer_keeps_its_order_with_many_batches_in_flight(kafka: str) -> None:
    topic = await make_topic(kafka)
    async with producer_on(kafka, max_batch_size=2_000) as producer:
        await asyncio.gather(*[await producer.send(topic, b"%06d" % number * 20) for number in range(2_000)])
    values = await _read_all(kafka, topic, 2_000)
    assert values == [b"%06d" % number * 20 for number in range(2_000)]


async def test_log_append_time_replaces_the_producers_time(kafka: str) -> None:
    topic = await make_topic(kafka, config=LOG_APPEND_TIME)
    before = time.time_ns() // 1_000_000
    async with producer_on(kafka) as producer:
        placed = await producer.send_and_wait(topic, b"x", timestamp_ms=1_000)
    after = time.time_ns() // 1_000_000
    assert placed.timestamp_type == 1
    assert before <= placed.timestamp <= after
    async with consumer_on(kafka, topic, auto_offset_reset="earliest") as consumer:
        (record,) = await read_records(consumer, 1)
    assert (record.timestamp, record.timestamp_type) == (placed.timestamp, 1)


async def test_create_time_is_kept_where_the_topic_says_so(kafka: str) -> None:
    topic = await make_topic(kafka)
    then = time.time_ns() // 1_000_000 - 60_000
    async with producer_on(kafka) as producer:
        await producer.send_and_wait(topic, b"x", timestamp_ms=then)
    async with consumer_on(kafka, topic, auto_offset_reset="earliest") as consumer:
        (record,) = await read_records(consumer, 1)
    assert (record.timestamp, record.timestamp_type) == (then, 0)


async def test_a_duplicate_batch_is_answered_with_its_first_offset_and_stored_once(kafka: str) -> None:
    topic = await make_topic(kafka, config=LOG_APPEND_TIME)
    producer_id = await new_producer_id(kafka)
    batches = [record_batch([b"a", b"b"], producer_id=producer_id, epoch=0, sequence=sequence) for sequence in (0, 2, 4)]
    first = [await produce_batch(kafka, topic, batch) for batch in batches]
    assert [(answer.error_code, answer.base_offset) for answer in first] == [(ErrorCode.none, 0), (ErrorCode.none, 2), (ErrorCode.none, 4)]
    again = await produce_batch(kafka, topic, batches[1])
    assert again.error_code in {ErrorCode.none, ErrorCode.duplicate_sequence_number}
    assert (again.base_offset, again.log_append_time) == (2, first[1].log_append_time)
    following = await produce_batch(kafka, topic, record_batch([b"c"], producer_id=producer_id, epoch=0, sequence=6))
    assert (following.error_code, following.base_offset) == (ErrorCode.none, 6)


async def test_a_batch_out_of_order_is_refused(kafka: str) -> None:
    topic = await make_topic(kafka)
    producer_id = await new_producer_id(kafka)
    await produce_batch(kafka, topic, record_batch([b"a"], producer_id=producer_id, epoch=0, sequence=0))
    skipped = await produce_batch(kafka, topic, record_batch([b"c"], producer_id=producer_id, epoch=0, sequence=2))
    assert skipped.error_code is ErrorCode.out_of_order_sequence_number
    next_one = await produce_batch(kafka, topic, record_batch([b"b"], producer_id=producer_id, epoch=0, sequence=1))
    assert (next_one.error_code, next_one.base_offset) == (ErrorCode.none, 1)


async def test_a_damaged_batch_is_refused(kafka: str) -> None:
    topic = await make_topic(kafka)
    batch = bytearray(record_batch([b"value"]))
    batch[-2] ^= 1
    answer = await produce_batch(kafka, topic, bytes(batch))
    assert answer.error_code is ErrorCode.corrupt_message


async def test_a_partition_that_is_not_there_is_refused_and_not_made(kafka: str) -> None:
    topic = await make_topic(kafka, partitions=1)
    for name, partition in ((topic, 1), (topic + "-other", 0)):
        answer = await produce_batch(kafka, name, record_batch([b"x"]), partition=partition)
        assert answer.error_code is ErrorCode.unknown_topic_or_partition


@pytest.mark.parametrize("codec", [None, "gzip", "snappy", "lz4", "zstd"])
async def test_every_compression_comes_back_as_it_went(kafka: str, codec: str | None) -> None:
    topic = await make_topic(kafka, config=LOG_APPEND_TIME)
    values = [b"%04d-" % number + b"tokens " * 50 for number in range(300)]
    async with producer_on(kafka, compression_type=codec) as producer:
        await asyncio.gather(*[await producer.send(topic, value) for value in values])
    assert await _read_all(kafka, topic, len(values)) == values


async def test_a_record_near_the_limit_is_stored(kafka: str) -> None:
    topic = await make_topic(kafka)
    large = bytes(range(256)) * 4_000  # 1,024,000 bytes; the limit is 1,048,588 with the batch's header
    async with producer_on(kafka, max_request_size=4_000_000) as producer:
        await producer.send_and_wait(topic, large)
        await producer.send_and_wait(topic, b"after")
    assert await _read_all(kafka, topic, 2) == [large, b"after"]


async def test_a_record_over_the_limit_is_refused_and_the_next_one_is_not(kafka: str) -> None:
    topic = await make_topic(kafka, config={"max.message.bytes": "100000"})
    async with producer_on(kafka, max_request_size=4_000_000) as producer:
        with pytest.raises(MessageSizeTooLargeError):
            await producer.send_and_wait(topic, b"x" * 100_000)
    # The refusal leaves a hole in that producer's sequence on purpose; a new producer goes on.
    async with producer_on(kafka) as producer:
        placed = await producer.send_and_wait(topic, b"x" * 90_000)
    assert placed.offset == 0


async def test_headers_keys_and_empty_values_survive(kafka: str) -> None:
    topic = await make_topic(kafka)
    async with producer_on(kafka) as producer:
        await producer.send_and_wait(topic, b"", key=b"k", headers=[("ce_id", b"1"), ("ce_id", b"2"), ("empty", b"")])
        await producer.send_and_wait(topic, None, key=b"k")
    async with consumer_on(kafka, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(topic, 0)])
        first, second = await read_records(consumer, 2)
    assert (first.key, first.value, first.headers) == (b"k", b"", (("ce_id", b"1"), ("ce_id", b"2"), ("empty", b"")))
    assert second.value is None
