"""A copy in memory, whose writes fail when a test wants it: nothing, a part or all of them arrived."""

from collections.abc import Callable, Sequence

from metering.copying.copy_target import CopyDiverged
from metering.kafka.partition_log import LogUnavailable
from metering.records.record import LogRecord, Record
from tests.support.metering_memory_log import MemoryLog


class MemoryTarget:
    """Writes to `log`. `arrives` is asked before each record or hole, and before the answer: False fails the call there."""

    def __init__(self, arrives: Callable[[], bool] = lambda: True) -> None:
        self.log = MemoryLog()
        self.arrives = arrives

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        return await self.log.bounds(topic, partition)

    async def records(self, topic: str, partition: int, start: int, end: int) -> list[LogRecord]:
        return [record async for records in self.log.records(topic, partition, start, end) for record in records]

    async def append(self, topic: str, partition: int, records: Sequence[LogRecord]) -> None:
        for record in records:
            await self._check(topic, partition, record.offset)
            self.log.append(topic, record.value, at_ms=record.timestamp, key=record.key, headers=record.headers)
        self._answer()

    async def skip(self, topic: str, partition: int, start: int, end: int) -> None:
        await self._check(topic, partition, start)
        for _ in range(start, end):
            self.log.skip(topic)
        self._answer()

    async def begin_at(self, topic: str, partition: int, offset: int) -> None:
        _, end = await self.bounds(topic, partition)
        for _ in range(end, offset):
            self._answer()
            self.log.append(topic, b"", at_ms=1)
        self._answer()
        self.log.delete_before(topic, offset)

    async def _check(self, topic: str, partition: int, offset: int) -> None:
        self._answer()
        _, end = await self.bounds(topic, partition)
        if end != offset:
            raise CopyDiverged(f"{topic} is at {end}, not {offset}")

    def _answer(self) -> None:
        if not self.arrives():
            raise LogUnavailable("the answer is lost")


def kept(log: MemoryLog, topic: str) -> list[tuple[int, int, bytes | None, bytes | None] | None]:
    """What is kept of a topic, offset by offset; None for an offset without a record."""

    def content(record: Record | None) -> tuple[int, int, bytes | None, bytes | None] | None:
        return None if record is None else (record.offset, record.timestamp, record.key, record.value)

    return [content(record) for record in log.topics.get(topic, [])[log.first_kept.get(topic, 0) :]]
