"""Copying all four topics in rounds: however a copy ends, what a record of it speaks of is in it.

An intent speaks of tallies; a tally of events and dead letters, also of other partitions; an event of a redrive; and a redrive end of events. So the
ends of all logs are read in the order ledger, tallies, events, dead letters, and copied in the other. What is read later is further on.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from metering.copying.partition_copy import CopySource, CopyWriter, TopicCopy
from metering.kafka.topics import Topics
from metering.records.redrive import REDRIVE_HEADER, RedriveEnd, decode_redrive

COPY_ORDER: Final = ("deadletters", "events", "tallies", "ledger")
"""The topics, each before those that speak of it."""

OnCopied = Callable[[str, int], None]
"""The topic, and how many records of it were copied just now."""

CopyEnds = Mapping[str, Sequence[int]]
"""By topic, as COPY_ORDER names them, the next offset of each partition."""


@dataclass(frozen=True, slots=True)
class CopyProgress:
    """One log: what is kept of the original, [start, end), and where the copy ends."""

    topic: str
    partition: int
    start: int
    end: int
    copied: int

    @property
    def missing(self) -> int:
        """How many offsets are to be copied."""
        return max(0, self.end - max(self.start, self.copied))


class CopyRounds:
    """Copies one cluster's topics to another. Blocks on Kafka; every method raises as TopicCopy does."""

    def __init__(self, source: CopySource, target: CopyWriter, *, original: Topics, copied: Topics, partitions: int) -> None:
        self._source = source
        self._target = target
        self._names = {topic: getattr(original, topic).name for topic in COPY_ORDER}
        self._copies = {topic: TopicCopy(source, target, self._names[topic], getattr(copied, topic).name) for topic in COPY_ORDER}
        self._partitions = range(partitions)

    async def progress(self) -> list[CopyProgress]:
        """How far the copy is."""
        found = []
        for topic, copy in self._copies.items():
            for partition in self._partitions:
                start, end = await self._source.bounds(self._names[topic], partition)
                _, copied = await self._target.bounds(copy.copied, partition)
                found.append(CopyProgress(copy.copied, partition, start, end, copied))
        return found

    async def copy(self, on_copied: OnCopied = lambda _topic, _count: None) -> CopyEnds:
        """Copy everything up to where it ends now."""
        ends = await self._ends()
        for topic, copy in self._copies.items():

            def on_records(count: int, name: str = copy.copied) -> None:
                on_copied(name, count)

            for partition in self._partitions:
                await copy.copy(partition, ends[topic][partition], on_records)
        return ends

    async def _ends(self) -> CopyEnds:
        while True:
            ledger, tallies, letters, events, deadletters = [
                [(await self._source.bounds(self._names[topic], partition))[1] for partition in self._partitions]
                for topic in ("ledger", "tallies", "deadletters", "events", "deadletters")
            ]
            # A redrive that ended between the two has events behind those that are copied.
            ended = [await self._has_redrive_end(each, letters[each], deadletters[each]) for each in self._partitions]
            if not any(ended):
                return {"ledger": ledger, "tallies": tallies, "events": events, "deadletters": deadletters}

    async def _has_redrive_end(self, partition: int, start: int, end: int) -> bool:
        found = False
        async with aclosing(self._source.records(self._names["deadletters"], partition, start, end)) as batches:
            async for records in batches:
                for record in records:
                    if any(name == REDRIVE_HEADER for name, _ in record.headers):
                        found |= isinstance(decode_redrive(record.value), RedriveEnd)
        return found
