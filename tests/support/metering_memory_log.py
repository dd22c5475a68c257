"""Partitions in memory behind the port through which takeovers read; nothing ever waits."""

from collections.abc import AsyncGenerator, Coroutine, Sequence
from typing import Any, TypeVar, cast

from metering.kafka.partition_log import Appended, Appender, LogEnds, LogReader, UnreadableBatch
from metering.records.fail_closed import HistoryLost, RecordUnreadable
from metering.records.record import LogRecord, Record

T = TypeVar("T")


def finished(coroutine: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        return cast("T", stop.value)
    raise AssertionError("it waits")


class MemoryLog(LogReader):
    """Topics by name, one partition each. `first_kept` is what retention left. An offset may hold no record (a marker, or what was `lost`), or be
    `damaged`.
    """

    def __init__(self) -> None:
        self.lost: set[tuple[str, int]] = set()
        self.topics: dict[str, list[Record | None]] = {}
        self.first_kept: dict[str, int] = {}
        self.damaged: dict[str, range] = {}
        self.too_large: set[str] = set()  # topics whose damage is sound, and larger than is read
        self.reads: list[tuple[str, int, int]] = []

    def append(
        self, topic: str, value: bytes | None, *, at_ms: int, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> Record:
        """Add a record with this log time."""
        log = self.topics.setdefault(topic, [])
        record = Record(len(log), at_ms, key, value, headers)
        log.append(record)
        return record

    def skip(self, topic: str) -> None:
        """An offset without a record."""
        self.topics.setdefault(topic, []).append(None)

    def lose(self, topic: str, offset: int) -> None:
        """What compaction does to a record."""
        self.topics[topic][offset] = None
        self.lost.add((topic, offset))

    def delete_before(self, topic: str, offset: int) -> None:
        """Retention."""
        self.first_kept[topic] = offset

    async def close(self) -> None:
        """Nothing is open."""

    async def bounds(self, topic: str, _partition: int) -> tuple[int, int]:
        return self.first_kept.get(topic, 0), len(self.topics.get(topic, []))

    async def ends(self, topic: str, partition: int) -> LogEnds:
        end = (await self.bounds(topic, partition))[1]
        return LogEnds(end, end)

    async def holds_no_record(self, topic: str, partition: int, start: int, end: int) -> bool:
        found = any(record is not None for record in self.topics[topic][start:end])
        if not found and not self.is_proved_empty(topic, partition, start, end):
            raise HistoryLost(f"offsets {start} to {end - 1} of {topic} hold neither a record nor a marker")
        return not found

    async def lost_to(self, topic: str, _partition: int, start: int) -> int:
        return next(offset for offset in range(start, len(self.topics[topic]) + 1) if (topic, offset) not in self.lost)

    async def lost_in(self, topic: str, _partition: int, start: int, end: int) -> list[range]:
        return [range(offset, offset + 1) for offset in range(start, end) if (topic, offset) in self.lost]

    async def batch_end(self, topic: str, _partition: int, offset: int) -> int:
        return max(offset + 1, self.damaged.get(topic, range(0)).stop)

    async def unreadable_batch(self, topic: str, partition: int, offset: int) -> UnreadableBatch:
        offsets = self.damaged[topic]
        return UnreadableBatch(offsets.start, await self.batch_end(topic, partition, offset), topic in self.too_large)

    def is_proved_empty(self, topic: str, _partition: int, start: int, end: int) -> bool:
        return all(self.topics[topic][offset] is None and (topic, offset) not in self.lost for offset in range(start, end))

    async def offset_for_time(self, topic: str, _partition: int, log_time_ms: int) -> int | None:
        for record in self.topics.get(topic, [])[self.first_kept.get(topic, 0) :]:
            if record is not None and record.timestamp >= log_time_ms:
                return record.offset
        return None

    async def records(self, topic: str, _partition: int, start: int, end: int) -> AsyncGenerator[Sequence[LogRecord], None]:
        if start >= end:
            return
        self.reads.append((topic, start, end))
        if start < self.first_kept.get(topic, 0):
            raise HistoryLost(f"offset {start} of {topic} is not kept any more")
        for offset, record in enumerate(self.topics[topic][start:end], start):
            if offset in self.damaged.get(topic, ()):
                raise RecordUnreadable(f"offset {offset} of {topic} is damaged", offset=offset)
            if (topic, offset) in self.lost:
                raise HistoryLost(f"offset {offset} of {topic} holds neither a record nor a marker")
            if record is not None:
                yield [record]


class MemoryAppender(Appender):
    """Appends to topics in memory."""

    def __init__(self, log: MemoryLog, at_ms: int) -> None:
        self._log = log
        self._at_ms = at_ms

    async def append(
        self, topic: str, _partition: int, value: bytes | None, *, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> Appended:
        return Appended(self._log.append(topic, value, at_ms=self._at_ms, key=key, headers=headers).offset, self._at_ms)
