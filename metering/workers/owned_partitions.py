"""The workers of the partitions that this process owns: started, supervised, let finish, and kept while the group may give them back."""

import asyncio
from collections.abc import Callable, Iterable, Iterator
from typing import Final, Generic, TypeVar

from aiokafka import TopicPartition
from prometheus_client import Gauge

from metering.process.service import ServiceContext
from metering.records.fail_closed import FailClosed
from metering.workers.partition_worker import PartitionWorker

WORKER_CANCEL_SECONDS: Final = 1.0

W = TypeVar("W", bound=PartitionWorker)


class OwnedPartitions(Generic[W]):
    """Partitions of one topic. `start_worker` makes the worker of a partition; it is given the finished worker that ran the partition in this
    process before, if the partition was never away since.

    `settled`: whether the group agrees on who owns what. `unread`: partitions that were given to this process and have no worker, with the reason.
    """

    def __init__(self, context: ServiceContext, topic: str, start_worker: Callable[[int, W | None], W], assigned: Gauge) -> None:
        self.topic = topic
        self.workers: dict[int, W] = {}
        self.unread: dict[int, FailClosed] = {}
        self.settled = False
        self.crashed: list[BaseException] = []
        self._context = context
        self._start_worker = start_worker
        self._assigned = assigned
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._kept: dict[int, W] = {}

    def place(self, partition: int) -> TopicPartition:
        """The partition as the client names it."""
        return TopicPartition(self.topic, partition)

    def with_kept(self) -> Iterator[tuple[int, W]]:
        """Partition and worker of those that are owned, and of those that may be again; of one partition the owned one comes last."""
        yield from self._kept.items()
        yield from self.workers.items()

    def start(self, partitions: Iterable[int]) -> None:
        """The group has agreed: start a worker for each of these partitions, and forget the kept workers of all others."""
        for partition in partitions:
            self._start(partition, self._kept.pop(partition, None))
        self._kept.clear()  # these went to another member
        self.settled = True
        self._assigned.set(len(self.workers))

    def restart(self, partition: int) -> None:
        """Give an owned partition a new worker, which starts from the log."""
        self._tasks[partition].cancel()
        self._start(partition, None)

    async def finish(self, partitions: Iterable[int], seconds: float | None) -> None:
        """Let the workers of these partitions drain for so long (None: until they are done), then cancel them. Those that are done are kept.

        One that has not taken its partition over has nothing to write down, and is not waited for.
        """
        partitions = list(partitions)
        await self._cancel([partition for partition in partitions if partition in self.workers and self.workers[partition].chain_end is None])
        for partition in partitions:
            if partition in self.workers:
                self.workers[partition].drain()
        draining = [(partition, self.workers[partition], self._tasks[partition]) for partition in partitions if partition in self._tasks]
        if draining:
            await asyncio.wait([task for _, _, task in draining], timeout=seconds)
        for partition, worker, task in draining:
            # A rebalance may end while the service stops: then the other of the two has kept it already, or given it up.
            if task.done() and not task.cancelled() and self.workers.get(partition) is worker:
                self._kept[partition] = worker
        await self._cancel(partitions)
        self._assigned.set(len(self.workers))

    async def finish_all(self, seconds: float | None) -> None:
        """The same with all that are owned."""
        await self.finish(self.workers, seconds)

    async def cancel_all(self) -> None:
        """End every worker, even a busy one."""
        await self._cancel(list(self._tasks))

    def _start(self, partition: int, before: W | None) -> None:
        worker = self._start_worker(partition, before)
        self.workers[partition] = worker
        self._tasks[partition] = asyncio.create_task(self._supervised(worker), name=f"partition-{partition}")

    async def _supervised(self, worker: W) -> None:
        """A worker stops its partition for whatever fails in it. What still comes out is a fault of the machinery, and ends the process."""
        try:
            await worker.run()
        except Exception as error:
            self._context.log.failed("a partition's worker crashed", error, partition=worker.partition)
            self.crashed.append(error)
            self._context.request_stop(f"partition {worker.partition} crashed")

    async def _cancel(self, partitions: list[int]) -> None:
        tasks = [self._tasks.pop(partition) for partition in partitions if partition in self._tasks]
        for partition in partitions:
            self.workers.pop(partition, None)
        pending = {task for task in tasks if not task.done()}
        while pending:
            # More than once, because code that catches a time-out just then (asyncio.wait_for before Python 3.12) swallows a cancellation.
            for task in pending:
                task.cancel()
            _, pending = await asyncio.wait(pending, timeout=WORKER_CANCEL_SECONDS)
