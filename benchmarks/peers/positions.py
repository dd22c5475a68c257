"""Where a group is in its topic, and what stands in another: everything through librdkafka, which blocks."""

import time
from collections.abc import Iterator, Sequence
from typing import Final

from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, KafkaException, TopicPartition
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # it re-exports them without saying so
    AdminClient,
    NewTopic,
    OffsetSpec,
)

from benchmarks.peers.answers import OutputRecord

REQUEST_SECONDS: Final = 30.0
READ_SECONDS: Final = 120.0
_READ_RECORDS: Final = 5_000
_TOPIC: Final = {"message.timestamp.type": "LogAppendTime", "cleanup.policy": "delete", "retention.ms": "-1"}


class BrokerView:
    """One broker, seen from outside of the peers."""

    def __init__(self, servers: str) -> None:
        self._servers = servers
        self._admin = AdminClient({"bootstrap.servers": servers})

    def make_topics(self, names: Sequence[str], partitions: int) -> None:
        """Create topics. Raises KafkaException."""
        made = self._admin.create_topics([NewTopic(name, partitions, 1, config=_TOPIC) for name in names])
        for future in made.values():
            future.result(REQUEST_SECONDS)

    def ends(self, topic: str, partitions: int) -> dict[int, int]:
        """The end of each partition; nothing when there is no such topic yet."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]
        places = {TopicPartition(topic, number): latest for number in range(partitions)}
        try:
            found = self._admin.list_offsets(places)
            return {place.partition: future.result(REQUEST_SECONDS).offset for place, future in found.items()}
        except KafkaException:
            return {}

    def committed(self, group: str, topic: str, partitions: int) -> dict[int, int]:
        """The next offset of each partition that the group committed; partitions without one are left out."""
        places = [TopicPartition(topic, number) for number in range(partitions)]
        asked = self._admin.list_consumer_group_offsets([ConsumerGroupTopicPartitions(group, places)])
        try:
            found = asked[group].result(REQUEST_SECONDS).topic_partitions
        except KafkaException:  # a group of which the broker has not heard yet
            return {}
        return {place.partition: place.offset for place in found if place.offset >= 0}

    def records(self, topic: str, partitions: int) -> Iterator[OutputRecord]:
        """Every committed record up to the present end. Raises TimeoutError."""
        settings = {
            "bootstrap.servers": self._servers,
            "group.id": "benchmarks-reader",
            "enable.auto.commit": False,
            "isolation.level": "read_committed",
            "enable.partition.eof": True,
        }
        consumer = Consumer(settings)
        try:
            consumer.assign([TopicPartition(topic, number, 0) for number in range(partitions)])
            yield from _until_ends(consumer, partitions)
        finally:
            consumer.close()


def _until_ends(consumer: Consumer, partitions: int) -> Iterator[OutputRecord]:
    reading = set(range(partitions))
    deadline = time.monotonic() + READ_SECONDS
    while reading:
        if time.monotonic() > deadline:
            raise TimeoutError("the output was not read in time")
        for message in consumer.consume(_READ_RECORDS, 0.2):
            partition, offset = message.partition(), message.offset()
            assert partition is not None, "a message of a consumer has a partition"
            if offset is None or message.error() is not None:  # the end of a partition
                reading.discard(partition)
            else:
                yield OutputRecord(partition, offset, message.key() or b"", message.value() or b"", message.timestamp()[1])
