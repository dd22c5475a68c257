"""Where a group is in its topic, and what is in another topic: everything through librdkafka, which blocks."""

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Final, Self

from confluent_kafka import Consumer, KafkaException, TopicPartition

from benchmarks.peers.answers import OutputRecord

REQUEST_SECONDS: Final = 30.0
READ_SECONDS: Final = 120.0
_READ_RECORDS: Final = 5_000


class GroupView(AbstractContextManager["GroupView"]):
    """A consumer group seen from outside, without joining it, and the topics that it reads and writes, which exist."""

    def __init__(self, servers: str, group: str, partitions: int) -> None:
        self._servers = servers
        self._partitions = partitions
        self._client = Consumer({"bootstrap.servers": servers, "group.id": group, "enable.auto.commit": False})

    def __exit__(self, *exception: object) -> None:
        self._client.close()

    def __enter__(self) -> Self:
        return self

    def ends(self, topic: str) -> list[int]:
        """The end of each partition. Raises KafkaException."""
        return [self._client.get_watermark_offsets(place, timeout=REQUEST_SECONDS)[1] for place in self._places(topic)]

    def committed(self, topic: str) -> list[int]:
        """The next offset of each partition that the group committed, 0 when there is none; [] when the coordinator cannot say at this moment."""
        try:
            places = self._client.committed(self._places(topic), timeout=REQUEST_SECONDS)
        except KafkaException:  # it moves or loads while the first groups come; the caller asks again until its deadline
            return []
        return [max(0, place.offset) for place in places]

    def records(self, topic: str) -> Iterator[OutputRecord]:
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
            consumer.assign([TopicPartition(topic, number, 0) for number in range(self._partitions)])
            yield from _until_ends(consumer, self._partitions)
        finally:
            consumer.close()

    def _places(self, topic: str) -> list[TopicPartition]:
        return [TopicPartition(topic, number) for number in range(self._partitions)]


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
