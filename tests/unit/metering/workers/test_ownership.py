"""What is owned and not taken over yet: it is not ready, and nobody waits for it at the end."""

import asyncio
from types import SimpleNamespace
from typing import Any

from prometheus_client import CollectorRegistry
from taximeter_emitter.clock import SystemClock

from metering.records.fail_closed import ChainBroken
from metering.workers.group_metrics import GroupMetrics
from metering.workers.observing import Observing
from metering.workers.owned_partitions import OwnedPartitions


class _Worker:
    """Ends when it is asked to drain, unless it is still reading what it takes over."""

    def __init__(self, partition: int, chain_end: int | None) -> None:
        self.partition = partition
        self.chain_end = chain_end
        self.stopped: Exception | None = None
        self._drained = asyncio.Event()

    async def run(self) -> None:
        await self._drained.wait()

    def drain(self) -> None:
        if self.chain_end is not None:
            self._drained.set()


def owned(ends: dict[int, int | None]) -> tuple[OwnedPartitions[Any], Observing]:
    context: Any = SimpleNamespace(clock=SystemClock(), log=None)
    said = {"lag": "Lag.", "paused": "Paused.", "takeover": "Takeover."}
    metrics = GroupMetrics.create(CollectorRegistry(), "taximeter_test", stop_reasons=("ChainBroken",), **said)
    found: OwnedPartitions[Any] = OwnedPartitions(context, "t", lambda partition, _: _Worker(partition, ends[partition]), metrics.assigned)
    return found, Observing(context, found, metrics, by_partition=(), stall_seconds=60.0)


async def test_ready_only_when_what_is_assigned_is_taken_over() -> None:
    partitions, observing = owned({0: 5, 1: None, 2: None})
    assert observing.not_taken_over() == "the group has not agreed yet who owns which partition"
    partitions.start([0, 1, 2])
    assert observing.not_taken_over() == "partitions that are not taken over yet: 1, 2"
    partitions.workers[1].chain_end = 0
    partitions.workers[2].stopped = ChainBroken("said elsewhere")
    assert observing.not_taken_over() is None
    await partitions.cancel_all()


async def test_a_worker_that_has_not_taken_over_is_not_waited_for() -> None:
    partitions, _ = owned({0: 5, 1: None})
    partitions.start([0, 1])
    async with asyncio.timeout(30):
        await partitions.finish_all(None)
    assert [partition for partition, _ in partitions.with_kept()] == [0]
