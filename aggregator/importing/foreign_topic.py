"""Events that somebody wrote to another topic of the same cluster: records in every form that usage.events takes."""

from collections.abc import AsyncGenerator, Iterator, Sequence
from contextlib import aclosing
from hashlib import blake2b
from typing import Final

from aiokafka.errors import KafkaError
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import UsageEvent

from aggregator.dead_letters.letter_events import event_of_batch
from aggregator.importing.source_entries import SourceEntry, SourceEvent
from aggregator.reading.decoding import read
from metering.kafka.clients import KafkaSettings, make_admin
from metering.kafka.partition_log import LogReader, LogUnavailable
from metering.plans.import_records import ImportedContent
from metering.records.record import LogRecord

TOPIC_DIGEST_BYTES: Final = 16


class ForeignPartition:
    """The records [start, end) of a partition of another topic. Blocks on Kafka; raises LogUnavailable, and HistoryLost when they are gone."""

    columns: Sequence[tuple[str, str]] = ()
    source = ""

    def __init__(self, reader: LogReader, topic: str, partition: int, start: int, end: int) -> None:
        self._reader = reader
        self.topic = topic
        self.partition = partition
        self.start = start
        self.end = end

    async def content(self) -> ImportedContent:
        """The digest is of the place and of the bytes. It follows from them who writes the events, so it is the same for everybody."""
        digest = blake2b(digest_size=TOPIC_DIGEST_BYTES)
        for part in (self.topic.encode(), self.partition.to_bytes(4, "big"), self.start.to_bytes(8, "big"), self.end.to_bytes(8, "big")):
            _add(digest, part)
        async with aclosing(self._records()) as batches:
            async for records in batches:
                for record in records:
                    _add(digest, record.offset.to_bytes(8, "big"))
                    _add(digest, record.value or b"")
                    for name, value in record.headers:
                        _add(digest, name.encode())
                        _add(digest, value or b"")
        return ImportedContent("topic", self.topic, digest.hexdigest(), self.partition, self.start, self.end)

    async def chunks(self) -> AsyncGenerator[Sequence[SourceEntry], None]:
        """Each event of each record; a record that cannot be read is one entry, a heartbeat is none."""
        async with aclosing(self._records()) as batches:
            async for records in batches:
                for record in records:
                    yield list(self._entries(record))

    def _entries(self, record: LogRecord) -> Iterator[SourceEntry]:
        place = f"partition {self.partition}, offset {record.offset}"
        try:
            content = read(record)
        except EventRejected as rejected:
            yield SourceEntry(place, rejected)
            return
        if isinstance(content, UsageEvent):
            yield SourceEntry(place, SourceEvent(content.customer, content.dimensions, content.time_ms, content.usage, content.fingerprint))
            return
        for index in range(content.count):
            event = event_of_batch(content, index, record.timestamp)
            found = SourceEvent(event.customer, event.dimensions, event.time_ms, event.usage, event.fingerprint)
            yield SourceEntry(f"{place} [{index}]", found)

    def _records(self) -> AsyncGenerator[Sequence[LogRecord], None]:
        return self._reader.records(self.topic, self.partition, self.start, self.end)


async def partition_count(settings: KafkaSettings, topic: str) -> int:
    """How many partitions a topic has; 0: there is no such topic. Raises LogUnavailable.

    All topics are asked for: asking for one by name may create it.
    """
    admin = make_admin(settings, client_id="import-admin")
    try:
        await admin.start()
        listed = await admin.describe_topics()
    except (KafkaError, TimeoutError) as error:
        raise LogUnavailable(f"the topics cannot be listed: {error!r}") from error
    finally:
        await admin.close()
    return next((len(each["partitions"]) for each in listed if each["topic"] == topic), 0)


def _add(digest: blake2b, part: bytes) -> None:
    digest.update(len(part).to_bytes(8, "big") + part)
