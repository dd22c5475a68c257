"""kill -9 of the broker: nothing that was acknowledged is lost, nothing is stored twice, and clients go on by themselves."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from kio.schema.errors import ErrorCode
from taximeter_sandbox.brokers.interface import BrokerCannot

from tests.support.broker import RunningBroker
from tests.support.broker_clients import admin_on, consumer_on, poll_until, producer_on, read_records
from tests.support.broker_topics import LOG_APPEND_TIME, make_topic, unique_name
from tests.support.broker_wire import new_producer_id, produce_batch, record_batch


async def _kill(running: RunningBroker) -> None:
    try:
        await asyncio.to_thread(running.broker.kill)
    except BrokerCannot as error:
        pytest.skip(str(error))


async def _restart(running: RunningBroker) -> None:
    assert await asyncio.to_thread(running.broker.restart) == running.bootstrap


async def _send_until(stop: asyncio.Event, producer: AIOKafkaProducer, topic: str, acknowledged: dict[tuple[int, int], bytes]) -> int:
    """Send numbered records, two at a time on each partition, and note where each acknowledged one went."""
    number = 0
    while not stop.is_set():
        values = [b"%08d-" % (number + more) + b"x" * 200 for more in range(4)]
        sent = [await producer.send(topic, value, partition=index % 2) for index, value in enumerate(values)]
        for value, placed in zip(values, await asyncio.gather(*sent), strict=True):
            acknowledged[placed.partition, placed.offset] = value
        number += 4
    return number


async def test_every_acknowledged_record_survives_kill_9_once(running_kafka: RunningBroker) -> None:
    topic = await make_topic(running_kafka.bootstrap, partitions=2, config=LOG_APPEND_TIME)
    acknowledged: dict[tuple[int, int], bytes] = {}
    stop = asyncio.Event()
    async with producer_on(running_kafka.bootstrap, request_timeout_ms=60_000, retry_backoff_ms=50) as producer:
        sending = asyncio.create_task(_send_until(stop, producer, topic, acknowledged))
        for _ in range(2):
            await asyncio.sleep(0.7)
            assert not sending.done(), sending
            await _kill(running_kafka)
            await _restart(running_kafka)
        await asyncio.sleep(0.5)
        stop.set()
        sent = await asyncio.wait_for(sending, 60)
    assert sent >= 100
    async with consumer_on(running_kafka.bootstrap, topic, auto_offset_reset="earliest") as consumer:
        stored = {(record.partition, record.offset): record.value for record in await read_records(consumer, sent)}
        assert await consumer.getmany(timeout_ms=300) == {}
    # The producer is idempotent and waited for every answer: each record is there, at the acknowledged offset, and exactly once.
    assert stored == acknowledged


async def test_topics_settings_commits_and_producers_survive_kill_9(running_kafka: RunningBroker) -> None:
    bootstrap = running_kafka.bootstrap
    topic = await make_topic(bootstrap, partitions=2, config={**LOG_APPEND_TIME, "max.message.bytes": "54321"})
    deleted = await make_topic(bootstrap)
    group = unique_name("group")
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    async with producer_on(bootstrap) as producer:
        for number in range(50):
            await producer.send_and_wait(topic, b"%d" % number, partition=0)
    async with consumer_on(bootstrap, topic, group_id=group, auto_offset_reset="earliest") as member:
        await poll_until([member], lambda: len(member.assignment()) == 2)
        await member.commit({first: (30, "thirty"), second: (0, "none")})
        await member.commit({first: (31, "thirty-one")})
    async with admin_on(bootstrap) as admin:
        await admin.delete_topics([deleted])
    producer_id = await new_producer_id(bootstrap)
    batches = [record_batch([b"a", b"b"], producer_id=producer_id, epoch=0, sequence=sequence) for sequence in (0, 2, 4)]
    for batch in batches[:2]:
        await produce_batch(bootstrap, topic, batch, partition=1)
    await _kill(running_kafka)
    await _restart(running_kafka)
    async with admin_on(bootstrap) as admin:
        names = await admin.list_topics()
        assert topic in names
        assert deleted not in names
        (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        settings = {entry[0]: entry[1] for entry in response.resources[0][4]}
        assert (settings["message.timestamp.type"], settings["max.message.bytes"]) == ("LogAppendTime", "54321")
    async with consumer_on(bootstrap, topic, group_id=group) as member:
        records = await read_records(member, 23)
        assert next(record.offset for record in records if record.partition == 0) == 31
        assert await member.committed(first) == 31
        assert await member.end_offsets([first, second]) == {first: 50, second: 4}
    assert await new_producer_id(bootstrap) != producer_id
    for batch, offset in ((batches[1], 2), (batches[2], 4)):  # one that is stored already, and the one that follows it
        answer = await produce_batch(bootstrap, topic, batch, partition=1)
        assert (answer.error_code, answer.base_offset) == (ErrorCode.none, offset)


async def test_a_group_that_waits_through_kill_9_goes_on_reading(running_kafka: RunningBroker) -> None:
    bootstrap = running_kafka.bootstrap
    topic = await make_topic(bootstrap, partitions=2)
    options = {"group_id": unique_name("group"), "auto_offset_reset": "earliest", "retry_backoff_ms": 50}
    async with consumer_on(bootstrap, topic, **options) as one, consumer_on(bootstrap, topic, **options) as two:
        await poll_until([one, two], lambda: (len(one.assignment()), len(two.assignment())) == (1, 1))
        await _kill(running_kafka)
        await asyncio.sleep(0.3)
        await _restart(running_kafka)
        async with producer_on(bootstrap) as producer:
            for partition in (0, 1):
                await producer.send_and_wait(topic, b"after", partition=partition)
        seen: set[int] = set()
        for _ in range(100):
            for consumer in (one, two):
                for batch in (await consumer.getmany(timeout_ms=100)).values():
                    seen.update(record.partition for record in batch)
            if seen == {0, 1}:
                return
    raise AssertionError(f"records of partitions {seen} came, 0 and 1 were expected")
