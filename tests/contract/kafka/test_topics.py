"""What Taximeter relies on when it makes and inspects topics."""

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import InvalidPartitionsError, UnknownTopicOrPartitionError

from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader, LogUnavailable
from tests.support.broker_clients import admin_on, consumer_on, producer_on
from tests.support.broker_topics import LOG_APPEND_TIME, make_topic, unique_name, visible

_ALREADY_EXISTS, _INVALID_PARTITIONS, _INVALID_REPLICATION, _INVALID_CONFIG, _INVALID_NAME = 36, 37, 38, 40, 17


async def _create(admin: AIOKafkaAdminClient, name: str, partitions: int = 1, replicas: int = 1, **config: str) -> int:
    topic = NewTopic(name, partitions, replicas, topic_configs={key.replace("_", "."): value for key, value in config.items()})
    response = await admin.create_topics([topic])
    (error,) = response.topic_errors
    return int(error[1])


async def test_a_topic_is_made_grown_and_deleted(kafka: str) -> None:
    name = unique_name()
    async with admin_on(kafka) as admin:
        assert await _create(admin, name, 3) == 0
        await visible(admin, name, 3)
        (described,) = await admin.describe_topics([name])
        assert sorted(partition["partition"] for partition in described["partitions"]) == [0, 1, 2]
        await admin.create_partitions({name: NewPartitions(5)})
        await visible(admin, name, 5)
        assert name in await admin.list_topics()
        await admin.delete_topics([name])
        await visible(admin, name, 0)
        assert name not in await admin.list_topics()


async def test_a_topic_made_again_under_the_same_name_is_empty(kafka: str) -> None:
    name = await make_topic(kafka)
    async with producer_on(kafka) as producer:
        await producer.send_and_wait(name, b"old")
    async with admin_on(kafka) as admin:
        await admin.delete_topics([name])
        await visible(admin, name, 0)
        assert await _create(admin, name) == 0
        await visible(admin, name, 1)
    async with producer_on(kafka) as producer:
        placed = await producer.send_and_wait(name, b"new")
    assert placed.offset == 0


async def test_what_cannot_be_made_is_refused_by_name(kafka: str) -> None:
    name = await make_topic(kafka, partitions=2)
    async with admin_on(kafka) as admin:
        assert await _create(admin, name) == _ALREADY_EXISTS
        assert await _create(admin, unique_name(), partitions=0) == _INVALID_PARTITIONS
        assert await _create(admin, unique_name(), replicas=3) == _INVALID_REPLICATION
        assert await _create(admin, unique_name(), retention_ms="soon") == _INVALID_CONFIG
        assert await _create(admin, unique_name(), no_such_setting="1") == _INVALID_CONFIG
        assert await _create(admin, "white space") == _INVALID_NAME
        with pytest.raises(InvalidPartitionsError):
            await admin.create_partitions({name: NewPartitions(1)})


async def test_the_settings_of_a_topic_can_be_read_back(kafka: str) -> None:
    name = await make_topic(kafka, config={**LOG_APPEND_TIME, "retention.ms": "3456000000", "max.message.bytes": "2000000"})
    async with admin_on(kafka) as admin:
        (response,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, name)])
    ((error, _, _, _, entries),) = response.resources
    assert error == 0
    values = {entry[0]: entry[1] for entry in entries}
    assert values["message.timestamp.type"] == "LogAppendTime"
    assert values["retention.ms"] == "3456000000"
    assert values["max.message.bytes"] == "2000000"
    assert values["cleanup.policy"] == "delete"
    assert values["min.insync.replicas"] == "1"


async def test_a_topic_is_never_made_by_mistake(kafka: str) -> None:
    name = unique_name("mistyped")
    async with producer_on(kafka, request_timeout_ms=1_000, retry_backoff_ms=100) as producer:
        with pytest.raises(UnknownTopicOrPartitionError):
            await producer.send_and_wait(name, b"x")
    async with consumer_on(kafka) as consumer:
        assert name not in await consumer.topics()


async def test_a_topic_that_is_not_there_is_named_and_read_once_it_is_there(kafka: str) -> None:
    name = unique_name()
    reader = LogReader(KafkaSettings(bootstrap_servers=(kafka,)), "test")
    try:
        for _ in range(2):
            with pytest.raises(LogUnavailable, match=f"topic {name} does not exist at {kafka}; run: taximeter topics create"):
                await reader.bounds(name, 0)
        with pytest.raises(LogUnavailable, match="does not exist"):
            await reader.offset_for_time(name, 0, 0)
        async with admin_on(kafka) as admin:
            assert name not in await admin.list_topics(), "it must not be made by being asked for"
            assert await _create(admin, name) == 0
            await visible(admin, name, 1)
        assert await reader.bounds(name, 0) == (0, 0)
        with pytest.raises(LogUnavailable, match=f"topic {name} has 1 partitions: no number 1, and TAXIMETER_KAFKA_PARTITIONS is 12"):
            await reader.bounds(name, 1)
    finally:
        await reader.close()
