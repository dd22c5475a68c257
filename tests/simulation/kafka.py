"""Kafka's clients on simulated partitions: what takeovers read with, what services append with, and the poll loop of a partition."""

from collections.abc import AsyncGenerator, Sequence
from typing import Any, cast

from metering.kafka.partition_log import Appended, Appender, LogEnds, LogReader, LogUnavailable
from metering.records.fail_closed import HistoryLost
from metering.records.record import LogRecord
from metering.workers.partition_worker import PartitionWorker
from tests.simulation.processes import Process, turn
from tests.simulation.world import EVENTS, SECOND, SimulatedRecord, World

HANDED_MAX = 12


class SimulatedReader(LogReader):
    """The port through which takeovers read, on the simulated partitions."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def close(self) -> None:
        """Nothing is open."""

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        await self._reach()
        return self._kept_from(topic, partition), self._world.end_of(topic, partition)

    async def offset_for_time(self, topic: str, partition: int, log_time_ms: int) -> int | None:
        await self._reach()
        for record in self._world.logs[topic, partition][self._kept_from(topic, partition) : self._world.end_of(topic, partition)]:
            if record is not None and record.timestamp >= log_time_ms:
                return record.offset
        return None

    async def records(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[Sequence[LogRecord], None]:
        if start >= end:
            return
        await self._reach()
        if start < self._kept_from(topic, partition):
            raise HistoryLost(f"offset {start} of {topic}/{partition} is not kept any more")
        found = [
            record for record in self._world.logs[topic, partition][start : min(end, self._world.end_of(topic, partition))] if record is not None
        ]
        if len(found) > 3 and self._world.chance(0.3):
            cut = self._world.rng.between(1, len(found))
            yield cast("list[LogRecord]", found[:cut])
            await self._reach()
            found = found[cut:]
        if found:
            yield cast("list[LogRecord]", found)

    async def ends(self, topic: str, partition: int) -> LogEnds:
        await self._reach()
        return LogEnds(self._world.end_of(topic, partition), len(self._world.logs[topic, partition]))

    async def holds_no_record(self, topic: str, partition: int, start: int, end: int) -> bool:
        await self._reach()
        if start < self._kept_from(topic, partition):
            raise HistoryLost(f"offset {start} of {topic}/{partition} is not kept any more")
        return self.is_proved_empty(topic, partition, start, end)

    async def lost_in(self, topic: str, partition: int, start: int, _end: int) -> list[range]:
        await self._reach()
        if start < self._kept_from(topic, partition):
            raise HistoryLost(f"offset {start} of {topic}/{partition} is not kept any more")
        return []  # nothing takes records out of the middle

    def is_proved_empty(self, topic: str, partition: int, start: int, end: int) -> bool:
        log = self._world.logs[topic, partition]
        return end <= len(log) and not any(log[start:end])

    async def record(self, topic: str, partition: int, offset: int) -> LogRecord | None:
        await self._reach()
        there = self._kept_from(topic, partition) <= offset < self._world.end_of(topic, partition)
        return cast("LogRecord | None", self._world.logs[topic, partition][offset] if there else None)

    def _kept_from(self, topic: str, partition: int) -> int:
        return self._world.kept_from[partition] if topic == EVENTS else 0

    async def _reach(self) -> None:
        await turn()
        faults = self._world.weather.read_faults
        if faults and self._world.chance(faults):
            raise LogUnavailable("the simulated broker does not answer")


class SimulatedAppender(Appender):
    """The port through which services append, on the simulated partitions."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def close(self) -> None:
        """Nothing is open."""

    async def append(
        self, topic: str, partition: int, value: bytes | None, *, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> Appended:
        await turn()
        record = self._world.produce(topic, partition, value, key, headers)
        await turn()
        if record is None:
            raise LogUnavailable("no acknowledgement came")
        return Appended(record.offset, record.timestamp)


class Feed:
    """The poll loop of a process, as far as one partition is concerned. It hands records to the worker until it is told to `stop`.

    Now and then it repeats records, or passes over some; never over the same ones twice.
    """

    def __init__(self, process: Process, topic: str, partition: int) -> None:
        self.process = process
        self.worker: PartitionWorker | None = None
        self._world = process.world
        self._topic = topic
        self._partition = partition
        self._log = process.world.logs[topic, partition]
        self._position: int | None = None
        self._queued = False
        self._skipped = False
        self._world.followers[topic, partition].append(self.alert)

    def stop(self) -> None:
        """Hand in nothing any more."""
        self.worker = None
        followers: list[Any] = self._world.followers[self._topic, self._partition]
        if self.alert in followers:
            followers.remove(self.alert)

    def seek(self, position: int) -> None:
        """Continue at this offset."""
        self._position = position
        self.alert()

    def alert(self) -> None:
        """There may be something to hand in."""
        if not self._queued:
            self._queued = True
            self._world.ready.append(self)

    def resume(self) -> None:
        """Fetch once."""
        self._queued = False
        worker, world = self.worker, self._world
        if worker is None or self._position is None:
            return
        if not worker.wants_records:
            world.wake_at(world.now_ms + SECOND, self.alert)
            return
        end = world.end_of(self._topic, self._partition)
        if self._position and world.weather.chaos and world.chance(0.05):
            self._stray(end)
        run: list[SimulatedRecord] = [
            record for record in self._log[self._position : min(end, self._position + world.rng.between(1, HANDED_MAX))] if record is not None
        ]
        self._position = run[-1].offset + 1 if run else self._past_holes(end)
        if run:
            worker.hand_in(cast("Sequence[Any]", run))
        worker.tell_readable_end(end)
        if self._topic == EVENTS:
            # Offsets without a record at the end are settled without being handed in.
            world.read_to[self._partition] = max(world.read_to[self._partition], self._past_holes(end))
        if self._position < end:
            self.alert()

    def _stray(self, end: int) -> None:
        assert self._position is not None
        if self._skipped:
            self._position = self._world.rng.below(self._position)
        else:
            before = self._position
            self._position = self._world.rng.below(min(self._position + 3, end) or 1)
            self._skipped = any(self._log[before : self._position])

    def _past_holes(self, end: int) -> int:
        position = self._position or 0
        while position < end and self._log[position] is None:
            position += 1
        return position
