"""Copying one partition of one topic: from where the copy ends to an end of the original."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from typing import Final, Protocol

from metering.copying.copy_target import CopyDiverged
from metering.records.record import LogRecord

COMPARED_RECORDS: Final = 100
"""How many of the last records of a copy are compared with the original before more is added."""

CopiedRecords = Sequence[LogRecord]


class CopySource(Protocol):
    """What is read: see LogReader."""

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """As there."""
        ...

    def records(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[CopiedRecords, None]:
        """As there."""
        ...


class CopyWriter(Protocol):
    """What is written: see CopyTarget."""

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """As there."""
        ...

    async def records(self, topic: str, partition: int, start: int, end: int) -> CopiedRecords:
        """As there."""
        ...

    async def append(self, topic: str, partition: int, records: CopiedRecords) -> None:
        """As there."""
        ...

    async def skip(self, topic: str, partition: int, start: int, end: int) -> None:
        """As there."""
        ...

    async def begin_at(self, topic: str, partition: int, offset: int) -> None:
        """As there."""
        ...


class TopicCopy:
    """One topic of a cluster, `original`, and its copy in another, `copied`. Blocks on Kafka.

    Every method raises CopyDiverged if the copy is none, LogUnavailable, and FailClosed where the original has what nobody accounts for.
    """

    def __init__(self, source: CopySource, target: CopyWriter, original: str, copied: str) -> None:
        self.copied = copied
        self._original = original
        self._source = source
        self._target = target

    async def copy(self, partition: int, end: int, on_records: Callable[[int], None] = lambda _count: None) -> None:
        """Copy what is before `end`; what is there already stays. Safe to repeat."""
        source, target, copied = self._source, self._target, self.copied
        start, _ = await source.bounds(self._original, partition)
        await self.check(partition)
        _, position = await target.bounds(copied, partition)
        if position < start:
            await target.begin_at(copied, partition, start)
            position = start
        async with aclosing(source.records(self._original, partition, position, end)) as batches:
            async for records in batches:
                run: list[LogRecord] = []
                for record in records:
                    if record.offset > position:
                        await target.append(copied, partition, run)
                        run = []
                        await target.skip(copied, partition, position, record.offset)
                    run.append(record)
                    position = record.offset + 1
                await target.append(copied, partition, run)
                on_records(len(records))
        if position < end:
            await target.skip(copied, partition, position, end)

    async def check(self, partition: int) -> None:
        """Compare what the copy has last with what the original has at the same offsets: contents and log times."""
        start, end = await self._source.bounds(self._original, partition)
        first, position = await self._target.bounds(self.copied, partition)
        where = f"{self.copied}/{partition}"
        if position > end:
            raise CopyDiverged(f"{where} ends at {position}, and the original at {end}: it is no copy of it, or was written to since")
        begin = max(start, first, position - COMPARED_RECORDS)
        if begin >= position:
            return
        records = self._source.records(self._original, partition, begin, position)
        expected = [_content(record) async for batch in records for record in batch]
        found = [_content(record) for record in await self._target.records(self.copied, partition, begin, position)]
        if found != expected:
            raise CopyDiverged(f"{where} is something else than the original from offset {begin} on: copy to topics that do not exist yet")


def _content(record: LogRecord) -> tuple[int, int, bytes | None, bytes | None, tuple[tuple[str, bytes | None], ...]]:
    return record.offset, record.timestamp, record.key, record.value, tuple(record.headers)
