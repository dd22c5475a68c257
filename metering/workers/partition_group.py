"""Partitions shared among processes by a consumer group: one poll loop, one worker for each owned partition.

The group only shares the work. Which records count is decided by the chains, so a member that was thrown out and does not know it yet
can do no harm; committed offsets are published for lag tools and never read back.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from typing import Final, Generic, TypeVar

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from prometheus_client import Counter, Gauge
from taximeter_emitter.transports.aiokafka_internals import is_dead
from taximeter_emitter.wire.errors import TaximeterError

from metering.kafka.clients import KafkaSettings, make_group_consumer, started
from metering.process.health import Progress
from metering.process.logs import RateLimited
from metering.process.service import ServiceContext
from metering.records.errors import FailClosed, PartitionsAdded
from metering.workers.partition_worker import PartitionWorker

GROUP_POLL_MS: Final = 250
IDLE_SECONDS: Final = 0.02
PUBLISH_SECONDS: Final = 2.0
WORKER_CANCEL_SECONDS: Final = 1.0
REJOIN_SECONDS: Final = 1.0
UNEXPECTED: Final = "Unexpected"  # the reason of a stop that the service does not list


W = TypeVar("W", bound=PartitionWorker)


class MembershipLost(TaximeterError):
    """The client will neither fetch nor rebalance any more; a new one must take its place."""


class PartitionGroup(ConsumerRebalanceListener, Generic[W]):  # type: ignore[misc]  # aiokafka ships no types
    """A member of a consumer group over one topic.

    `start` makes the worker of a partition; it is given the finished worker that ran the partition in this process before, if the
    partition was never away since. A worker calls `seek` when it knows where to read, and is handed no record before. `before_drain` is
    awaited when all is ending, before the workers are told. `by_partition`: gauges labelled by partition, whose series go with it.
    """

    def __init__(
        self,
        context: ServiceContext,
        kafka: KafkaSettings,
        *,
        topic: str,
        group_id: str,
        instance: str,
        static_instance_id: str | None,
        start: Callable[[int, W | None], W],
        revoke_seconds: float,
        stall_seconds: float,
        assigned: Gauge,
        paused: Gauge,
        stopped: Gauge,
        stop_reasons: Sequence[str],
        lag: Gauge,
        by_partition: Sequence[Gauge],
        rebalances: Counter,
        before_drain: Callable[[], Awaitable[object]] | None = None,
    ) -> None:
        self.workers: dict[int, W] = {}
        self._context = context
        self._kafka = kafka
        self._topic = topic
        self._group_id = group_id
        self._instance = instance
        self._static_instance_id = static_instance_id
        self._start_worker = start
        self._revoke_seconds = revoke_seconds
        self._assigned = assigned
        self._paused = paused
        self._stopped = stopped
        self._stop_reasons = stop_reasons
        self._lag = lag
        self._by_partition = (lag, *by_partition)
        self._rebalances = rebalances
        self._before_drain = before_drain
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._kept: dict[int, W] = {}
        self._added: dict[int, FailClosed] = {}
        self._crashed: list[BaseException] = []
        self._settled = False  # whether the group agrees on who owns what
        self._warnings = RateLimited(context.clock)
        self._consumer: AIOKafkaConsumer | None = None
        self.progress = Progress(context.clock, what=f"records of {topic}", stall_seconds=stall_seconds)
        self._ends = 0
        self._exported: set[int] = set()

    async def run(self) -> None:
        """Until the context's stop event; then lets the workers drain and publishes where they ended. Raises what crashed a worker."""
        context = self._context
        context.health.require("partitions", self._stopped_partitions)
        context.health.require("progress", self.progress.problem)
        try:
            while not context.stop.is_set():
                try:
                    await self._belong()
                except (KafkaError, MembershipLost) as error:
                    self._warnings.warning(context.log, "joining the group again", reason=repr(error))
                    await self._finish(list(self.workers), self._revoke_seconds)
                    await context.clock.sleep(REJOIN_SECONDS)
        finally:
            await self._cancel(list(self._tasks))
        if self._crashed:
            raise self._crashed[0]

    async def _belong(self) -> None:
        """One membership, until the service stops. Raises MembershipLost or KafkaError when it cannot go on."""
        context = self._context
        consumer = make_group_consumer(self._kafka, group_id=self._group_id, client_id=self._instance, instance_id=self._static_instance_id)
        async with started(consumer):
            self._consumer = consumer
            self._settled = False
            consumer.subscribe([self._topic], listener=self)
            context.health.mark_started()
            publisher = asyncio.create_task(self._publish(consumer), name="publish-offsets")
            try:
                await self._poll(consumer)
            finally:
                publisher.cancel()
                await asyncio.wait({publisher})
            if self._before_drain is not None:
                await self._before_drain()
            await self._finish(list(self.workers), None)
            await self._publish_once(consumer)

    def seek(self, partition: int, offset: int) -> None:
        """Continue reading the partition at this offset; nothing if it went away meanwhile."""
        consumer, place = self._consumer, self._place(partition)
        if consumer is not None and place in consumer.assignment():
            consumer.seek(place, offset)

    # The group's callbacks

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Let the workers finish if that is quick. What they do not finish is done again by the next owner.

        A rebalance takes all partitions and gives most of them back: finished workers are kept until it is known which.
        """
        self._settled = False
        partitions = [place.partition for place in revoked]
        if partitions:
            self._rebalances.labels("revoked").inc()
        await self._finish(partitions, self._revoke_seconds)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Start a worker for each partition. None is fetched before its worker knows where its chain ends."""
        consumer = self._consumer
        assert consumer is not None
        places = list(assigned)
        for place in places:
            # A position must be set at once, or the client would ask for a committed one; it is replaced by the worker's `seek`.
            consumer.seek(place, 0)
            consumer.pause(place)
        self._rebalances.labels("assigned").inc()
        if self._context.stop.is_set():
            return  # they are given up again in a moment
        self._added = {place.partition: self._beyond(place.partition) for place in places if place.partition >= self._kafka.partitions}
        for place in places:
            if place.partition not in self._added:
                self._start(place.partition, self._kept.pop(place.partition, None))
        self._kept.clear()  # these went to another member
        for partition in self._exported - self.workers.keys():
            for metric in self._by_partition:
                # What another process knows better must not be shown as it was here.
                with suppress(KeyError):
                    metric.remove(str(partition))
        self._exported = set(self.workers)
        self._settled = True
        self._assigned.set(len(self.workers))
        self._context.log.info("assigned", partitions=sorted(self.workers))

    # The poll loop

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        while not self._context.stop.is_set():
            if is_dead(consumer):
                raise MembershipLost("the client's background work has ended")
            self._pause_and_resume(consumer)
            wanted = [self._place(partition) for partition, worker in self.workers.items() if worker.wants_records]
            try:
                batch = await consumer.getmany(*wanted, timeout_ms=GROUP_POLL_MS) if wanted else {}
            except KafkaError as error:
                self._poll_failed(error)
                await self._context.clock.sleep(1.0)
                continue
            for place, records in batch.items():
                worker = self.workers.get(place.partition)
                if worker is not None:
                    worker.hand_in(records)
            self._observe(consumer)
            # getmany does not yield to the loop when records are buffered: let the workers have their turn.
            await self._context.clock.sleep(0.0 if wanted else IDLE_SECONDS)

    def _poll_failed(self, error: KafkaError) -> None:
        """Whatever is wrong with one partition shows again when its worker takes over anew."""
        self._warnings.warning(self._context.log, "polling failed", reason=repr(error))
        places = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        for place in places:
            if isinstance(place, TopicPartition) and place.partition in self.workers:
                self._tasks[place.partition].cancel()
                self._start(place.partition, None)

    def _pause_and_resume(self, consumer: AIOKafkaConsumer) -> None:
        paused, assignment = consumer.paused(), consumer.assignment()
        held = 0
        for partition, worker in self.workers.items():
            place = self._place(partition)
            if place not in assignment:
                continue
            if place in paused:
                if worker.wants_records and worker.may_resume:
                    consumer.resume(place)
                else:
                    held += 1
            elif not worker.wants_records:
                consumer.pause(place)
                held += 1
        self._paused.set(held)

    # Workers

    def _start(self, partition: int, before: W | None) -> None:
        worker = self._start_worker(partition, before)
        self.workers[partition] = worker
        self._tasks[partition] = asyncio.create_task(self._supervised(worker), name=f"partition-{partition}")

    async def _supervised(self, worker: W) -> None:
        """A bug in one partition ends the process: going on without it would look healthy and bill nothing."""
        try:
            await worker.run()
        except Exception as error:
            self._context.log.failed("a partition's worker crashed", error, partition=worker.partition)
            self._crashed.append(error)
            self._context.request_stop(f"partition {worker.partition} crashed")

    async def _finish(self, partitions: list[int], seconds: float | None) -> None:
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

    # What others see

    async def _publish(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            await self._context.clock.sleep(PUBLISH_SECONDS)
            await self._publish_once(consumer)

    async def _publish_once(self, consumer: AIOKafkaConsumer) -> None:
        """Commit the ends of the chains, for lag tools only."""
        assignment = consumer.assignment()
        offsets = {}
        for partition, worker in [*self._kept.items(), *self.workers.items()]:
            end = worker.chain_end
            if end is not None and end >= 0 and self._place(partition) in assignment:
                offsets[self._place(partition)] = OffsetAndMetadata(end, "")
        # A commit in the middle of a rebalance fails, and makes the client join once more: the group would never settle.
        if not offsets or not self._settled:
            return
        try:
            await consumer.commit(offsets)
        except KafkaError as error:
            self._warnings.warning(self._context.log, "offsets could not be published", reason=repr(error))

    def _observe(self, consumer: AIOKafkaConsumer) -> None:
        assignment = consumer.assignment()
        lag = ends = 0
        for partition, worker in self.workers.items():
            end = worker.chain_end
            if end is None or self._place(partition) not in assignment:
                lag += 1  # not known, and not nothing: a partition that never gets to work must not look idle
                continue
            behind = max(0, (consumer.highwater(self._place(partition)) or 0) - max(0, end))
            self._lag.labels(str(partition)).set(behind)
            lag += behind
            ends += max(0, end)
        self.progress.pending(lag)
        if ends != self._ends:
            self._ends = ends
            self.progress.moved()

    def _beyond(self, partition: int) -> FailClosed:
        """Somebody added partitions to the topic. The client sees it when it refreshes its metadata, every minute."""
        error = PartitionsAdded(
            f"{self._topic} was given partition {partition}, TAXIMETER_KAFKA_PARTITIONS is {self._kafka.partitions}: what lies in it is not read."
            " The other partitions go on; start producers with the old number, and move to a new TAXIMETER_KAFKA_TOPIC_PREFIX for more partitions"
        )
        self._context.log.error("the partition is not read", kind=type(error).__name__, partition=partition, reason=str(error))
        return error

    def _stopped_partitions(self) -> str | None:
        stopped = {partition: worker.stopped for partition, worker in self.workers.items() if worker.stopped is not None} | self._added
        names = [type(error).__name__ for error in stopped.values()]
        for reason in self._stop_reasons:
            self._stopped.labels(reason).set(names.count(reason))
        self._stopped.labels(UNEXPECTED).set(sum(1 for name in names if name not in self._stop_reasons))
        if not stopped:
            return None
        return "; ".join(f"partition {partition}: {type(error).__name__}: {error}" for partition, error in sorted(stopped.items()))

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topic, partition)
