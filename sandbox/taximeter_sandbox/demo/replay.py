"""Replay: put every consumer group back to the start of its topic, as an operator would after a disaster."""

import asyncio

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.structs import OffsetAndMetadata
from taximeter_emitter.transports.kafka_connection import make_producer

from metering.kafka.clients import KafkaSettings, make_group_consumer, started
from metering.kafka.partition_log import LogReader
from metering.records.service_limits import CHAIN_RECORD_BYTES_MAX


async def reset_group(kafka: KafkaSettings, *, group_id: str, topic: str) -> int:
    """Commit the first offset of every partition for a group that has no members. Returns how many records lie behind. Raises KafkaError."""
    consumer: AIOKafkaConsumer = make_group_consumer(kafka, group_id=group_id, client_id="reset")
    async with started(consumer):
        places = [TopicPartition(topic, partition) for partition in range(kafka.partitions)]
        consumer.assign(places)
        starts = await consumer.beginning_offsets(places)
        ends = await consumer.end_offsets(places)
        await consumer.commit({place: OffsetAndMetadata(starts[place], "reset by the demo") for place in places})
    return sum(ends[place] - starts[place] for place in places)


async def copy_topic(kafka: KafkaSettings, topic: str) -> int:
    """Write every record of a topic once more, unchanged, into the partition it is in. Returns how many. Raises KafkaError, LogUnavailable."""
    reader = LogReader(kafka, "copy")
    copied = 0
    try:
        bounds = [await reader.bounds(topic, partition) for partition in range(kafka.partitions)]
        async with started(make_producer(kafka.options(), client_id="copy", record_bytes_max=CHAIN_RECORD_BYTES_MAX, linger_ms=5)) as producer:
            for partition, (start, end) in enumerate(bounds):
                async for records in reader.records(topic, partition, start, end):
                    sent = [await producer.send(topic, each.value, key=each.key, headers=list(each.headers), partition=partition) for each in records]
                    await asyncio.gather(*sent)
                    copied += len(sent)
    finally:
        await reader.close()
    return copied
