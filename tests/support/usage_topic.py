"""The topic of events as a test sees it: made under a prefix of its own, and read whole."""

from aiokafka import TopicPartition
from taximeter_emitter.clock import SystemClock

from metering.kafka.clients import KafkaSettings, make_log_reader, started
from metering.kafka.provision import ensure_topics
from tests.support.broker_topics import unique_name

PARTITIONS = 4


def settings_for(bootstrap: str) -> KafkaSettings:
    """Topics that no other test uses, with four partitions."""
    return KafkaSettings(bootstrap_servers=(bootstrap,), topic_prefix=unique_name("usage"), partitions=PARTITIONS, replication_factor=1)


async def make_topics(kafka: KafkaSettings) -> None:
    """Create the topics."""
    assert await ensure_topics(kafka, kafka.topics, clock=SystemClock()) == []


async def read_events_topic(kafka: KafkaSettings) -> list[tuple[int, bytes]]:
    """Partition and value of every record that is in usage.events now."""
    return await read_topic(kafka, kafka.topics.events.name)


async def read_topic(kafka: KafkaSettings, topic: str) -> list[tuple[int, bytes]]:
    """Partition and value of every record that is in the topic now."""
    found: list[tuple[int, bytes]] = []
    partitions = [TopicPartition(topic, number) for number in range(kafka.partitions)]
    async with started(make_log_reader(kafka, client_id="test")) as reader:
        reader.assign(partitions)
        for partition in partitions:
            reader.seek(partition, 0)
        ends = await reader.end_offsets(partitions)
        while any([await reader.position(partition) < ends[partition] for partition in partitions]):
            for partition, records in (await reader.getmany(timeout_ms=500)).items():
                found += [(partition.partition, record.value) for record in records]
    return found
