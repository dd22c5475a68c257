"""usage.catalogue as its readers and writers have it. Read to its end again and again; what is accepted is folded once."""

from contextlib import aclosing

from metering.folds.catalogue_timeline import PublishedCatalogues
from metering.kafka.partition_log import Appended, Appender, LogReader
from metering.records.fail_closed import ChainBroken, HistoryLost
from metering.records.notes.publication import Publication, decode_publication, encode_publication

PARTITION = 0


class CatalogueLog:
    """Blocks on Kafka; both methods raise LogUnavailable or FailClosed. The reader and the appender stay their owner's."""

    def __init__(self, reader: LogReader, topic: str) -> None:
        self.published = PublishedCatalogues()
        self._reader = reader
        self._topic = topic

    async def read_on(self) -> None:
        """Fold what is new, up to where the topic ended after this was called. Several may call it at the same time."""
        published = self.published
        first, end = await self._reader.bounds(self._topic, PARTITION)
        if first > 0:
            raise HistoryLost(f"{self._topic} begins at offset {first}: versions of the catalogue were deleted, by which records are counted")
        if end < published.next_offset:
            raise ChainBroken(f"{self._topic} ends at {end}, before what was read: it was cut or created again")
        async with aclosing(self._reader.records(self._topic, PARTITION, published.next_offset, end)) as blocks:
            async for records in blocks:
                for record in records:
                    if record.offset >= published.next_offset:
                        published.fold(record.offset, record.timestamp, decode_publication(record.value))

    async def publish(self, appender: Appender, publication: Publication) -> Appended:
        """Append it, and read on. Whether it counts says `published`."""
        landed = await appender.append(self._topic, PARTITION, encode_publication(publication))
        await self.read_on()
        return landed
