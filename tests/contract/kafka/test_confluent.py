"""The same broker through librdkafka: what other producers and operators' tools use."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # documented as public there, re-exported without saying so
    AdminClient,
    ConfigResource,
    NewPartitions,
    NewTopic,
    OffsetSpec,
)

from tests.support.broker_clients import admin_on, consumer_on, read_records
from tests.support.broker_topics import make_topic, unique_name, visible

_QUIET = {"log_level": 0}


def _admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, **_QUIET})


@contextmanager
def _consumer(bootstrap: str, group: str, **options: Any) -> Iterator[Consumer]:
    settings = {"group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False, "session.timeout.ms": 1500}
    consumer = Consumer({"bootstrap.servers": bootstrap, "heartbeat.interval.ms": 200, **settings, **_QUIET, **options})
    try:
        yield consumer
    finally:
        consumer.close()


def _produce(bootstrap: str, topic: str, values: list[bytes], **options: Any) -> list[Message]:
    delivered: list[Message] = []
    failed: list[KafkaError] = []
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "acks": "all", **_QUIET, **options})
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, message: failed.append(error) if error else delivered.append(message))
    assert producer.flush(20) == 0
    assert not failed, failed
    return delivered


def _poll_until(consumers: list[Consumer], reached: Callable[[list[Message]], bool], seconds: float = 20) -> list[Message]:
    messages: list[Message] = []
    deadline = time.monotonic() + seconds
    while not reached(messages):
        assert time.monotonic() < deadline, f"{len(messages)} messages came"
        for consumer in consumers:
            messages += [message for message in consumer.consume(500, timeout=0.05) if not message.error()]
    return messages


@pytest.mark.parametrize("codec", ["none", "gzip", "snappy", "lz4", "zstd"])
async def test_what_librdkafka_writes_both_clients_read(kafka: str, codec: str) -> None:
    topic = await make_topic(kafka)
    values = [b"%05d " % number * 20 for number in range(1_000)]
    delivered = await asyncio.to_thread(_produce, kafka, topic, values, **{"compression.type": codec})
    assert [message.offset() for message in delivered] == list(range(1_000))
    async with consumer_on(kafka, topic, auto_offset_reset="earliest") as consumer:
        assert [record.value for record in await read_records(consumer, 1_000)] == values
    with _consumer(kafka, unique_name("group")) as other:
        other.subscribe([topic])
        assert [message.value() for message in _poll_until([other], lambda got: len(got) == 1_000)] == values


async def test_two_members_share_the_partitions(kafka: str) -> None:
    topic = await make_topic(kafka, partitions=4)
    group = unique_name("group")
    with _consumer(kafka, group) as one:
        one.subscribe([topic])
        with _consumer(kafka, group) as two:
            two.subscribe([topic])
            _poll_until([one, two], lambda _: (len(one.assignment()), len(two.assignment())) == (2, 2))
        _poll_until([one], lambda _: len(one.assignment()) == 4)


async def test_cooperative_members_share_the_partitions(kafka: str) -> None:
    topic = await make_topic(kafka, partitions=4)
    group = unique_name("group")
    options = {"partition.assignment.strategy": "cooperative-sticky"}
    with _consumer(kafka, group, **options) as one, _consumer(kafka, group, **options) as two:
        one.subscribe([topic])
        _poll_until([one], lambda _: len(one.assignment()) == 4)
        two.subscribe([topic])
        _poll_until([one, two], lambda _: (len(one.assignment()), len(two.assignment())) == (2, 2))


async def test_a_commit_is_where_the_next_member_begins(kafka: str) -> None:
    topic = await make_topic(kafka)
    group = unique_name("group")
    await asyncio.to_thread(_produce, kafka, topic, [b"%d" % number for number in range(10)])
    with _consumer(kafka, group) as consumer:
        consumer.subscribe([topic])
        _poll_until([consumer], lambda got: len(got) == 10)
        consumer.commit(offsets=[TopicPartition(topic, 0, 4, metadata="four")], asynchronous=False)
        (committed,) = consumer.committed([TopicPartition(topic, 0)], timeout=10)
        assert (committed.offset, committed.metadata) == (4, "four")
    with _consumer(kafka, group) as consumer:
        consumer.subscribe([topic])
        messages = _poll_until([consumer], lambda got: len(got) == 6)
        assert messages[0].offset() == 4


async def test_watermarks_and_times(kafka: str) -> None:
    topic = await make_topic(kafka)
    delivered = await asyncio.to_thread(_produce, kafka, topic, [b"a", b"b", b"c"])
    with _consumer(kafka, unique_name("group")) as consumer:
        assert consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10) == (0, 3)
        (found,) = consumer.offsets_for_times([TopicPartition(topic, 0, delivered[0].timestamp()[1])], timeout=10)
        assert found.offset == 0


async def test_the_admin_client_does_what_operators_do(kafka: str) -> None:
    admin = _admin(kafka)
    topic, group = unique_name(), unique_name("group")
    admin.create_topics([NewTopic(topic, 2, 1, config={"message.timestamp.type": "LogAppendTime"})])[topic].result(10)
    admin.create_partitions([NewPartitions(topic, 3)])[topic].result(10)
    async with admin_on(kafka) as lookout:
        await visible(lookout, topic, 3)
    assert len(admin.list_topics(topic, timeout=10).topics[topic].partitions) == 3
    (described,) = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]).values()
    assert described.result(10)["message.timestamp.type"].value == "LogAppendTime"
    await asyncio.to_thread(_produce, kafka, topic, [b"x"] * 30)
    with _consumer(kafka, group) as consumer:
        consumer.subscribe([topic])
        _poll_until([consumer], lambda got: len(got) == 30)
        consumer.commit(asynchronous=False)
    (altered,) = admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0, 0)])]).values()
    altered.result(10)
    (listed,) = admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, [TopicPartition(topic, 0)])]).values()
    assert listed.result(10).topic_partitions[0].offset == 0
    (group_described,) = admin.describe_consumer_groups([group]).values()
    assert group_described.result(10).state.name == "EMPTY"
    assert group in {found.group_id for found in admin.list_consumer_groups().result(10).valid}
    latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the only constructor it offers
    (ends,) = admin.list_offsets({TopicPartition(topic, 0): latest}).values()
    (deleted,) = admin.delete_records([TopicPartition(topic, 0, ends.result(10).offset)]).values()
    assert deleted.result(10).low_watermark == ends.result(10).offset
    admin.delete_consumer_groups([group])[group].result(10)
    admin.delete_topics([topic])[topic].result(10)
    async with admin_on(kafka) as lookout:
        await visible(lookout, topic, 0)
    with pytest.raises(KafkaException):
        admin.delete_topics([topic])[topic].result(10)
