"""usage.catalogue as its readers and writers have it. Read to its end again and again; what is accepted is folded once."""

from contextlib import aclosing

from metering.folds.catalogue_timeline import PublishedCatalogues
from metering.following.followed_topic import FOLLOWED_PARTITION, FollowedTopic
from metering.kafka.partition_log import Appended, Appender, LogReader
from metering.records.notes.publication import Publication, decode_publication, encode_publication


class CatalogueLog:
    """Blocks on Kafka; both methods raise LogUnavailable or FailClosed. The reader and the appender stay their owner's."""

    def __init__(self, reader: LogReader, topic: str) -> None:
        self.published = PublishedCatalogues()
        self._topic = topic
        self._followed = FollowedTopic(reader, topic, needed_for="versions of the catalogue were deleted, by which records are counted")

    async def read_on(self) -> None:
        """Fold what is new, up to where the topic ended after this was called. Several may call it at the same time."""
        published = self.published
        async with aclosing(self._followed.news(lambda: published.next_offset)) as records:
            async for record in records:
                published.fold(record.offset, record.timestamp, decode_publication(record.value))

    async def publish(self, appender: Appender, publication: Publication) -> Appended:
        """Append it, and read on. Whether it counts says `published`."""
        landed = await appender.append(self._topic, FOLLOWED_PARTITION, encode_publication(publication))
        await self.read_on()
        return landed
