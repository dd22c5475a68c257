"""The worker of a partition: a record over which code fails stops it at exactly that record, and it goes on when somebody steps over it."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry
from taximeter_emitter.clock import SystemClock

from aggregator import worker as worker_module
from aggregator.core.counting import PartitionCounter
from aggregator.metrics import AggregatorMetrics
from aggregator.settings import AggregatorSettings
from aggregator.stepping_over import SteppingOver
from aggregator.worker import CountingWorker
from metering.following.catalogue_following import CatalogueFollowing
from metering.following.catalogue_log import CatalogueLog
from metering.following.catalogue_metrics import CatalogueMetrics
from metering.kafka.topics import topics_named
from metering.process.logs import get_log
from metering.records.fail_closed import HistoryLost, RecordUnreadable, Unforeseen
from metering.records.meters import Catalogue
from metering.records.record import LogRecord
from metering.records.tally import decode_tally
from metering.workers.inbox import TURN_WORTH_RECORDS
from metering.workers.loop_turns import LoopTurns
from metering.workers.partition_worker import WorkerKit
from tests.support.aggregator_partition import Partition
from tests.support.aggregator_records import EVENTS, METERS, TALLIES
from tests.support.ids_in_memory import in_memory
from tests.support.metering_memory_log import MemoryAppender
from tests.support.waiting import until_async

BAD = 137
RECORDS = 300
QUICK = AggregatorSettings(flush_seconds=0.05)
PATIENT = AggregatorSettings(flush_seconds=60)


class Owned:
    """A worker whose poll loop hands in what it seeks."""

    def __init__(self, partition: Partition, settings: AggregatorSettings) -> None:
        self.partition = partition
        self.position: int | None = None
        metrics = AggregatorMetrics.create(CollectorRegistry())
        kit = WorkerKit(
            topics=topics_named("usage"),
            appender=MemoryAppender(partition.log, partition.now_ms),
            seek=self._seek,
            metrics=metrics.group,
            clock=SystemClock(),
            log=get_log("test"),
            turns=LoopTurns(),
        )
        self.worker = CountingWorker(
            0,
            kit,
            settings=settings,
            takeover=partition.takeover(),
            catalogue=CatalogueFollowing(
                CatalogueLog(partition.log, "usage.catalogue"),
                Catalogue(METERS),
                founder=MemoryAppender(partition.log, partition.now_ms),
                metrics=CatalogueMetrics.create(CollectorRegistry(), "aggregator"),
                clock=SystemClock(),
                notices=get_log("test"),
            ),
            metrics=metrics,
            snapshots=in_memory(),
            kept=None,
        )

    def _seek(self, _partition: int, offset: int) -> None:
        self.position = offset

    async def poll(self) -> None:
        while True:
            if self.worker.wants_records and self.position is not None:
                records = [record for record in self.partition.log.topics[EVENTS][self.position :] if record is not None]
                damage = self.partition.log.damaged.get(EVENTS, range(0))
                if self.position in damage:
                    self.worker.cannot_read(self.position, "the checksum is wrong")
                else:
                    readable = [record for record in records if not damage or record.offset < damage.start or self.position >= damage.stop]
                    self.worker.hand_in(readable)
                    self.position += len(readable)
            await asyncio.sleep(0)


@asynccontextmanager
async def owned(partition: Partition, settings: AggregatorSettings = QUICK) -> AsyncIterator[Owned]:
    """A running worker."""
    found = Owned(partition, settings)
    tasks = [asyncio.create_task(found.worker.run()), asyncio.create_task(found.poll())]
    try:
        yield found
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def until_counted(partition: Partition, events: int) -> None:
    def counted() -> int:
        return sum(decode_tally(record.value).events.counted for record in partition.log.topics[TALLIES] if record is not None)

    await until_async(lambda: counted() >= events)


async def until_stopped(found: Owned) -> object:
    await until_async(lambda: found.worker.stopped is not None)
    return found.worker.stopped


async def step_over(partition: Partition, offset: int) -> None:
    stepping = SteppingOver(partition.log, topics_named("usage"), 0, clock=SystemClock())
    step = await stepping.find(offset)
    await stepping.apply(step, MemoryAppender(partition.log, partition.now_ms), reason="r", by="b")


def with_events(count: int) -> Partition:
    partition = Partition()
    for number in range(count):
        partition.emit(f"e{number}", wait_ms=1)
    return partition


def turns_of(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Where the number of records of each turn is noted."""
    real, turns = PartitionCounter.count_many, []

    def count_many(self: PartitionCounter, records: Sequence[LogRecord], until_bytes: int) -> int:
        turns.append(len(records))
        return real(self, records, until_bytes)

    monkeypatch.setattr(PartitionCounter, "count_many", count_many)
    return turns


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "MENDED_SECONDS", 0.01)


async def test_code_that_fails_over_one_of_many_records_stops_there_and_goes_on_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    real = PartitionCounter.count_many

    def count_many(self: PartitionCounter, records: Sequence[LogRecord], until_bytes: int) -> int:
        if any(record.offset == BAD for record in records):
            raise KeyError("nobody foresaw this")
        return real(self, records, until_bytes)

    monkeypatch.setattr(PartitionCounter, "count_many", count_many)
    partition = with_events(RECORDS)
    async with owned(partition) as found:
        stopped = await until_stopped(found)
        assert isinstance(stopped, Unforeseen)
        assert f"KeyError at offset {BAD}, 3 times in a row" in str(stopped)
        await until_counted(partition, BAD)
        await step_over(partition, BAD)
        await until_counted(partition, RECORDS - 1)
        assert found.worker.stopped is None


async def test_a_damaged_batch_stops_the_partition_after_all_before_it_and_it_goes_on_behind_it() -> None:
    partition = with_events(RECORDS)
    partition.log.damaged[EVENTS] = range(BAD, BAD + 20)
    async with owned(partition) as found:
        stopped = await until_stopped(found)
        assert isinstance(stopped, RecordUnreadable)
        assert f"from offset {BAD} on cannot be read: the checksum is wrong" in str(stopped)
        await until_counted(partition, BAD)
        await step_over(partition, BAD)
        await until_counted(partition, RECORDS - 20)
        assert found.worker.stopped is None


async def test_missing_records_stop_the_partition_after_all_before_them_and_it_goes_on_behind_them() -> None:
    partition = with_events(RECORDS)
    for offset in range(BAD, BAD + 20):
        partition.log.lose(EVENTS, offset)
    async with owned(partition) as found:
        assert isinstance(await until_stopped(found), HistoryLost)
        await until_counted(partition, BAD)
        await step_over(partition, BAD)
        await until_counted(partition, RECORDS - 20)
        assert found.worker.stopped is None


async def test_few_records_wait_for_more_until_a_tally_is_due_and_are_counted_in_one_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = turns_of(monkeypatch)
    partition = with_events(1)
    async with owned(partition, AggregatorSettings(flush_seconds=0.5)) as found:
        await until_counted(partition, 1)  # the first tally is due when the flush interval has passed
        for number in range(20):
            partition.emit(f"later{number}", wait_ms=1)
            await until_async(lambda: found.position == len(partition.log.topics[EVENTS]))
        await until_counted(partition, 21)
    assert turns == [1, 20]


async def test_many_records_are_counted_at_once_and_what_comes_meanwhile_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = turns_of(monkeypatch)
    async with owned(with_events(TURN_WORTH_RECORDS), PATIENT) as found:
        await until_async(lambda: found.worker.position == TURN_WORTH_RECORDS)
        found.partition.emit("later", wait_ms=1)
        await until_async(lambda: found.position == TURN_WORTH_RECORDS + 1)
        assert found.worker.position == TURN_WORTH_RECORDS
        found.worker.drain()
        await until_async(lambda: found.worker.chain_end == TURN_WORTH_RECORDS + 1)
    assert turns == [TURN_WORTH_RECORDS, 1]


async def test_a_partition_that_is_full_counts_what_it_has() -> None:
    partition = with_events(RECORDS)
    size = sum(len(record.value or b"") for record in partition.log.topics[EVENTS] if record is not None)
    async with owned(partition, replace(PATIENT, unflushed_bytes_max=size)):
        await until_counted(partition, RECORDS)


async def test_markers_behind_the_last_record_are_tallied_without_a_later_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker_module, "MARKER_SECONDS", 0.02)
    partition = with_events(3)
    for _ in range(2):
        partition.log.skip(EVENTS)
    async with owned(partition) as found:
        await until_counted(partition, 3)
        found.worker.tell_readable_end(5)
        await until_async(lambda: found.worker.chain_end == 5)
    assert sum(decode_tally(record.value).records.skipped for record in partition.log.topics[TALLIES] if record is not None) == 2
