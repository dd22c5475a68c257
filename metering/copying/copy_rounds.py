"""Copying all topics in rounds: however a copy ends, what a record of it speaks of is in it.

An intent speaks of tallies; a tally of events and dead letters, also of other partitions; an event of a redrive; and a redrive end of events. So the
ends of all logs are read in the order ledger, tallies, events, dead letters, and copied in the other. What is read later is further on. Dead
letters from a redrive end on are copied after the events. What was counted speaks of the catalogue, and an intent of the links of
customers; these speak of nothing, so they are read last and copied first.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from typing import Final

from metering.copying.partition_copy import CopySource, CopyWriter, TopicCopy
from metering.kafka.topics import Topics
from metering.records.fail_closed import RecordCorrupt, RecordUnreadable
from metering.records.record import LogRecord
from metering.records.redrive import RedriveEnd, redrive_in

COPIED_TOPICS: Final = ("events", "deadletters", "tallies", "ledger", "catalogue", "customers")
_SPEAK_OF_NOTHING: Final = ("catalogue", "customers")

OnCopied = Callable[[str, int], None]
"""The topic, and how many records of it were copied just now."""

CopyEnds = Mapping[str, Sequence[int]]
"""By topic, as COPIED_TOPICS names them, the next offset of each partition."""


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
        self._names = {topic: getattr(original, topic).name for topic in COPIED_TOPICS}
        self._copies = {topic: TopicCopy(source, target, self._names[topic], getattr(copied, topic).name) for topic in COPIED_TOPICS}
        self._partitions = range(partitions)
        self._ranges = {topic: range(getattr(original, topic).partitions_of(partitions)) for topic in COPIED_TOPICS}

    async def progress(self) -> list[CopyProgress]:
        """How far the copy is."""
        found = []
        for topic, copy in self._copies.items():
            for partition in self._ranges[topic]:
                start, end = await self._source.bounds(self._names[topic], partition)
                _, copied = await self._target.bounds(copy.copied, partition)
                found.append(CopyProgress(copy.copied, partition, start, end, copied))
        return found

    async def copy(self, on_copied: OnCopied = lambda _topic, _count: None) -> CopyEnds:
        """Copy everything up to where it ends now.

        A batch that cannot be read stops the copy of its partition only, in all topics that follow. When all others are copied, RecordUnreadable
        is raised, which names each.
        """
        ends = await self._ends()
        stopped: dict[int, RecordUnreadable] = {}
        for topic in _SPEAK_OF_NOTHING:
            await self._copy(topic, ends[topic], on_copied, stopped)
        await self._copy("deadletters", [await self._before_redrive_end(each, ends) for each in self._partitions], on_copied, stopped)
        for topic in ("events", "deadletters", "tallies", "ledger"):
            await self._copy(topic, ends[topic], on_copied, stopped)
        if stopped:
            reasons = "; ".join(map(str, stopped.values()))
            raise RecordUnreadable(f"all but {len(stopped)} of {len(self._partitions)} partitions are copied. {reasons}")
        return ends

    async def check(self) -> None:
        """Compare the ends of all copies with the originals."""
        for topic, copy in self._copies.items():
            for partition in self._ranges[topic]:
                await copy.check(partition)

    async def _copy(self, topic: str, ends: Sequence[int], on_copied: OnCopied, stopped: dict[int, RecordUnreadable]) -> None:
        copy = self._copies[topic]
        for partition in self._ranges[topic]:
            if partition in stopped:
                continue  # what follows may speak of what is missing
            try:
                await copy.copy(partition, ends[partition], lambda count: on_copied(copy.copied, count))
            except RecordUnreadable as error:
                stopped[partition] = error

    async def _ends(self) -> CopyEnds:
        while True:
            ledger, tallies, letters, events, deadletters = [
                await self._ends_of(topic) for topic in ("ledger", "tallies", "deadletters", "events", "deadletters")
            ]
            # A redrive that ended between the two has events behind those that are copied.
            ended = [await self._redrive_end(each, letters[each], deadletters[each]) for each in self._partitions]
            if all(found is None for found in ended):
                last = {
                    topic: [(await self._source.bounds(self._names[topic], each))[1] for each in self._ranges[topic]] for topic in _SPEAK_OF_NOTHING
                }
                return {"ledger": ledger, "tallies": tallies, "events": events, "deadletters": deadletters, **last}

    async def _ends_of(self, topic: str) -> list[int]:
        return [(await self._source.bounds(self._names[topic], partition))[1] for partition in self._ranges[topic]]

    async def _before_redrive_end(self, partition: int, ends: CopyEnds) -> int:
        """Up to where dead letters may be copied before the events: a redrive end says that its events are there."""
        _, copied = await self._target.bounds(self._copies["deadletters"].copied, partition)
        start, _ = await self._source.bounds(self._names["deadletters"], partition)
        end = ends["deadletters"][partition]
        found = await self._redrive_end(partition, max(start, copied), end)
        return end if found is None else found

    async def _redrive_end(self, partition: int, start: int, end: int) -> int | None:
        """The offset of the first redrive end at [start, end) of the dead letters; None if there is none before damage, where the copy stops."""
        found: int | None = None
        with suppress(RecordUnreadable):
            async with aclosing(self._source.records(self._names["deadletters"], partition, start, end)) as batches:
                async for records in batches:
                    for record in records:
                        if found is None and _may_end_redrive(record):
                            found = record.offset
        return found


def _may_end_redrive(record: LogRecord) -> bool:
    try:
        return isinstance(redrive_in(record), RedriveEnd)
    except RecordCorrupt:
        return True  # copied after the events, which is right for anything
