"""A worker in which code fails in a way that nobody foresaw."""

import asyncio
from collections.abc import Sequence
from typing import cast

import pytest
from prometheus_client import CollectorRegistry

from metering.kafka.partition_log import Appender, LogUnavailable
from metering.kafka.topics import topics_named
from metering.process.logs import get_log
from metering.records.fail_closed import ChainBroken, Unforeseen
from metering.workers.group_metrics import GroupMetrics
from metering.workers.loop_turns import LoopTurns
from metering.workers.partition_worker import SKIPS_MAX, UNFORESEEN_MAX, PartitionWorker, WorkerKit
from tests.support.manual_clock import ManualClock
from tests.support.waiting import until_async


def worker_kit() -> WorkerKit:
    metrics = GroupMetrics.create(CollectorRegistry(), "taximeter_test", lag="Lag.", paused="Paused.", takeover="Takeover.", stop_reasons=())
    return WorkerKit(
        topics=topics_named("usage"),
        appender=cast("Appender", None),
        seek=lambda _partition, _offset: None,
        metrics=metrics,
        clock=ManualClock(),
        log=get_log("test"),
        turns=LoopTurns(),
    )


class Worker(PartitionWorker):
    """Kafka is away `away` times. Then it fails once for each of `ends`, with the chain at that end; then works until it is drained."""

    def __init__(self, ends: Sequence[int | None], *, kit: WorkerKit | None = None, away: int = 0) -> None:
        super().__init__(0, worker_kit() if kit is None else kit)
        self.runs = 0
        self._away = away
        self._ends = list(ends)
        self._end: int | None = None

    @property
    def chain_end(self) -> int | None:
        return self._end

    @property
    def wants_records(self) -> bool:
        return True

    @property
    def may_resume(self) -> bool:
        return True

    async def _own(self) -> None:
        self.runs += 1
        if self.runs <= self._away:
            raise LogUnavailable("no broker answers")
        if self._ends:
            self._end = self._ends.pop(0)
            raise ValueError("odd")
        while not self._draining:
            await self._wait(60.0, work=False)

    def _forget(self) -> None:
        self._end = None


@pytest.mark.parametrize("end", [None, 7])
async def test_it_tries_a_few_times_and_stops_its_partition_alone(end: int | None) -> None:
    worker = Worker([end] * 10)
    await worker.run()
    assert worker.runs == UNFORESEEN_MAX
    assert isinstance(worker.stopped, Unforeseen)
    place = "while it was taken over" if end is None else "before offset 7"
    assert str(worker.stopped) == f"ValueError {place}, {UNFORESEEN_MAX} times in a row: odd"


async def test_a_passing_failure_and_one_after_progress_stop_nothing() -> None:
    worker = Worker([1, 1, 2, 2, 3, 3])
    running = asyncio.create_task(worker.run())
    await until_async(lambda: worker.runs == 7)
    assert worker.stopped is None
    worker.drain()
    await running


async def test_records_that_the_client_passes_over_are_read_again_a_few_times_before_the_partition_stops() -> None:
    worker = Worker([])
    for _ in range(SKIPS_MAX):
        worker._read_again(7, 9)
    worker._read_again(12, 13)  # elsewhere it begins anew
    for _ in range(SKIPS_MAX):
        worker._read_again(7, 9)
    with pytest.raises(ChainBroken, match="skips records 7 to 8 of partition 0 every time"):
        worker._read_again(7, 9)


async def test_an_outage_that_all_partitions_meet_is_a_line_now_and_then(caplog: pytest.LogCaptureFixture) -> None:
    kit = worker_kit()
    workers = [Worker([], kit=kit, away=3) for _ in range(5)]
    running = [asyncio.create_task(worker.run()) for worker in workers]
    await until_async(lambda: all(worker.runs == 4 for worker in workers))
    for worker in workers:
        worker.drain()
    await asyncio.gather(*running)
    said = [record for record in caplog.records if record.message == "starting over"]
    assert 1 <= len(said) < 5, "fifteen starts in some seconds of the workers' clock"
