"""What Taximeter relies on when it reads."""

import asyncio
import time

import pytest
from aiokafka import TopicPartition
from aiokafka.admin import NewPartitions, RecordsToDelete
from aiokafka.errors import NoOffsetForPartitionError, OffsetOutOfRangeError
from kio.schema.errors import ErrorCode

from tests.support.broker_clients import admin_on, consumer_on, poll_until, producer_on, read_records
from tests.support.broker_topics import LOG_APPEND_TIME, make_topic, unique_name
from tests.support.broker_wire import produce_batch, record_batch


async def _fill(bootstrap: str, topic: str, count: int, *, partition: int = 0, first: int = 0) -> None:
    async with producer_on(bootstrap) as producer:
        sent = [await producer.send(topic, b"%06d" % number, partition=partition) for number in range(first, first + count)]
        await asyncio.gather(*sent)


async def test_records_come_in_offset_order_without_gaps(kafka: str) -> None:
    topic = await make_topic(kafka)
    await _fill(kafka, topic, 5_000)
    async with consumer_on(kafka, topic, auto_offset_reset="earliest", max_partition_fetch_bytes=4_000) as consumer:
        records = await read_records(consumer, 5_000)
    assert [record.offset for record in records] == list(range(5_000))
    assert [record.value for record in records] == [b"%06d" % number for number in range(5_000)]


async def test_a_waiting_fetch_is_answered_when_a_record_arrives(kafka: str) -> None:
    topic = await make_topic(kafka)
    async with consumer_on(kafka, topic, auto_offset_reset="earliest", fetch_max_wait_ms=20_000) as consumer, producer_on(kafka) as producer:
        waiting = asyncio.create_task(consumer.getone())
        await asyncio.sleep(0.5)
        started = time.monotonic()
        await producer.send_and_wait(topic, b"now")
        record = await waiting
        assert record.value == b"now"
        assert time.monotonic() - started < 15  # and not after the twenty that it may wait


async def test_the_first_and_the_next_offset_are_known(kafka: str) -> None:
    topic = await make_topic(kafka, partitions=2)
    await _fill(kafka, topic, 7, partition=1)
    partitions = [TopicPartition(topic, 0), TopicPartition(topic, 1)]
    async with consumer_on(kafka) as consumer:
        assert await consumer.beginning_offsets(partitions) == dict.fromkeys(partitions, 0)
        assert await consumer.end_offsets(partitions) == {partitions[0]: 0, partitions[1]: 7}


async def test_offsets_are_found_by_the_brokers_time(kafka: str) -> None:
    topic = await make_topic(kafka, config=LOG_APPEND_TIME)
    partition = TopicPartition(topic, 0)
    times = []
    async with producer_on(kafka) as producer:
        for number in range(5):
            placed = await producer.send_and_wait(topic, b"%d" % number * 3_000)
            times.append(placed.timestamp)
            await asyncio.sleep(0.01)
    async with consumer_on(kafka) as consumer:
        for offset, timestamp in enumerate(times):
            found = await consumer.offsets_for_times({partition: timestamp})
            assert (found[partition].offset, found[partition].timestamp) == (offset, timestamp)
            found = await consumer.offsets_for_times({partition: timestamp - 1})
            assert found[partition].offset == offset
        assert (await consumer.offsets_for_times({partition: 0}))[partition].offset == 0
        assert (await consumer.offsets_for_times({partition: times[-1] + 1}))[partition] is None


async def test_offsets_are_found_by_the_producers_time_inside_a_batch(kafka: str) -> None:
    topic = await make_topic(kafka)
    start = time.time_ns() // 1_000_000 - 60_000
    await produce_batch(kafka, topic, record_batch([b"%d" % number for number in range(10)], timestamp_ms=start))
    await produce_batch(kafka, topic, record_batch([b"later"], timestamp_ms=start + 100))
    partition = TopicPartition(topic, 0)
    async with consumer_on(kafka) as consumer:
        for wanted, offset in ((start, 0), (start + 4, 4), (start + 9, 9), (start + 10, 10), (start + 100, 10)):
            assert (await consumer.offsets_for_times({partition: wanted}))[partition].offset == offset


async def test_without_a_position_and_without_reset_reading_fails(kafka: str) -> None:
    topic = await make_topic(kafka)
    await _fill(kafka, topic, 3)
    async with consumer_on(kafka, topic, group_id=unique_name("group")) as consumer:
        with pytest.raises(NoOffsetForPartitionError):
            await consumer.getone()


async def test_seek_goes_to_any_offset_and_back(kafka: str) -> None:
    topic = await make_topic(kafka)
    await _fill(kafka, topic, 1_000)
    partition = TopicPartition(topic, 0)
    async with consumer_on(kafka) as consumer:
        consumer.assign([partition])
        for offset in (999, 0, 500, 1, 998):
            consumer.seek(partition, offset)
            assert (await consumer.getone()).offset == offset
            assert await consumer.position(partition) == offset + 1
        consumer.seek(partition, 1_000)
        assert await consumer.getmany(timeout_ms=300) == {}


async def test_a_paused_partition_stays_silent_and_the_others_go_on(kafka: str) -> None:
    topic = await make_topic(kafka, partitions=2)
    await _fill(kafka, topic, 100, partition=0)
    await _fill(kafka, topic, 100, partition=1)
    quiet, loud = TopicPartition(topic, 0), TopicPartition(topic, 1)
    async with consumer_on(kafka) as consumer:
        consumer.assign([quiet, loud])
        consumer.seek(quiet, 0)
        consumer.seek(loud, 0)
        consumer.pause(quiet)
        records = await read_records(consumer, 100)
        assert {record.partition for record in records} == {1}
        assert await consumer.getmany(timeout_ms=300) == {}
        consumer.resume(quiet)
        records = await read_records(consumer, 100)
        assert [(record.partition, record.offset) for record in records] == [(0, number) for number in range(100)]


async def test_deleted_records_move_the_start_and_reading_below_it_fails(kafka: str) -> None:
    topic = await make_topic(kafka, config=LOG_APPEND_TIME)
    await _fill(kafka, topic, 100)
    partition = TopicPartition(topic, 0)
    async with consumer_on(kafka) as consumer, admin_on(kafka) as admin:
        await admin.delete_records({partition: RecordsToDelete(before_offset=40)})
        assert (await consumer.beginning_offsets([partition]))[partition] == 40
        assert (await consumer.end_offsets([partition]))[partition] == 100
        assert (await consumer.offsets_for_times({partition: 0}))[partition].offset == 40
        consumer.assign([partition])
        consumer.seek(partition, 39)
        with pytest.raises(OffsetOutOfRangeError):
            await consumer.getone()
        consumer.seek(partition, 40)
        assert [record.offset for record in await read_records(consumer, 60)] == list(range(40, 100))


async def test_reading_above_the_end_fails(kafka: str) -> None:
    topic = await make_topic(kafka)
    await _fill(kafka, topic, 3)
    partition = TopicPartition(topic, 0)
    async with consumer_on(kafka) as consumer:
        consumer.assign([partition])
        consumer.seek(partition, 4)
        with pytest.raises(OffsetOutOfRangeError):
            await consumer.getone()


async def test_a_batch_larger_than_the_fetch_limit_still_comes(kafka: str) -> None:
    topic = await make_topic(kafka)
    answer = await produce_batch(kafka, topic, record_batch([b"x" * 500_000]))
    assert answer.error_code is ErrorCode.none
    await _fill(kafka, topic, 1)
    async with consumer_on(kafka, topic, auto_offset_reset="earliest", max_partition_fetch_bytes=1_000, fetch_max_bytes=1_000) as consumer:
        records = await read_records(consumer, 2)
    assert [len(record.value) for record in records] == [500_000, 6]


async def test_new_partitions_are_found_by_a_group_that_runs(kafka: str) -> None:
    topic = await make_topic(kafka)
    group = unique_name("group")
    async with (
        admin_on(kafka) as admin,
        consumer_on(kafka, topic, group_id=group, auto_offset_reset="earliest", metadata_max_age_ms=200) as consumer,
    ):
        await admin.create_partitions({topic: NewPartitions(3)})
        await poll_until([consumer], lambda: len(consumer.assignment()) == 3)
        await _fill(kafka, topic, 1, partition=2)
        (record,) = await read_records(consumer, 1)
        assert record.partition == 2
