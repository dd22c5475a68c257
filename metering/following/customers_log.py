"""usage.customers as its readers and writers have it. Read to its end again and again; each record is folded once."""

from contextlib import aclosing

from metering.folds.customer_links import CustomerLinks
from metering.following.followed_topic import FOLLOWED_PARTITION, FollowedTopic
from metering.kafka.partition_log import Appender, LogReader
from metering.records.fail_closed import RecordUnreadable
from metering.records.notes.customer_link import CustomerLink, decode_link, encode_link


class CustomersLog:
    """Blocks on Kafka; every method raises LogUnavailable or FailClosed. The reader and the appender stay their owner's.

    `damaged`: offsets of batches that cannot be read. The links in them hold for nobody.
    """

    def __init__(self, reader: LogReader, topic: str) -> None:
        self.links = CustomerLinks()
        self.damaged: list[int] = []
        self._topic = topic
        self._followed = FollowedTopic(reader, topic, needed_for="links of customers were deleted, by which they are billed")

    async def read_on(self) -> None:
        """Fold what is new, up to where the topic ended after this was called. Several may call it at the same time."""
        links = self.links
        async with aclosing(self._followed.news(lambda: links.next_offset, self._note_damage)) as records:
            async for record in records:
                links.fold(record.offset, decode_link(record.value))

    async def write(self, appender: Appender, link: CustomerLink) -> int:
        """Append a link; returns its offset. What is not acknowledged may be there or not: writing it again changes nothing."""
        landed = await appender.append(self._topic, FOLLOWED_PARTITION, encode_link(link), key=link.customer.encode())
        return landed.offset

    def _note_damage(self, offset: int, end: int, _error: RecordUnreadable) -> None:
        if offset >= self.links.next_offset:
            self.damaged.append(offset)
            self.links.fold(end - 1, None)
