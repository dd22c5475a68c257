"""The aggregator process: a consumer group assigns partitions, one poll loop feeds their workers."""

import asyncio
from collections.abc import Iterable
from functools import partial
from typing import Final

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata

from aggregator.counting import CountingRules, PartitionCounter
from aggregator.metrics import STOP_REASONS, AggregatorMetrics
from aggregator.partition import PartitionWorker
from aggregator.settings import AggregatorSettings
from aggregator.takeover import Takeover
from metering.catalogue import Catalogue
from metering.health import Progress
from metering.kafka import KafkaSettings, make_group_consumer, started
from metering.logs import RateLimited
from metering.partition_log import Appender, LogReader
from metering.partitioner import partition_of
from metering.provision import ensure_topics
from metering.service import ServiceContext
from metering.supervision import RefusedToStart

POLL_MS: Final = 250
IDLE_SECONDS: Final = 0.05
PUBLISH_SECONDS: Final = 2.0


class Aggregator(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Wiring. Correctness does not rest on who is assigned what: the chain decides, the group only shares the work."""

    def __init__(self, context: ServiceContext, kafka: KafkaSettings, settings: AggregatorSettings, catalogue: Catalogue) -> None:
        self._context = context
        self._kafka = kafka
        self._settings = settings
        self._topics = kafka.topics
        self._instance = settings.instance_id or f"aggregator-{context.clock.now_ms():x}"
        self._metrics = AggregatorMetrics.create(context.registry)
        self._warnings = RateLimited(context.clock)
        self._workers: dict[int, PartitionWorker] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._kept: dict[int, PartitionCounter] = {}
        self._progress = Progress(context.clock, what="events", stall_seconds=settings.stall_seconds)
        self._accepted = 0
        self._partition_of = partial(partition_of, partitions=kafka.partitions)
        self._rules = CountingRules(
            topic=self._topics.events.name,
            catalogue=catalogue,
            partition_of=self._partition_of,
            instance=self._instance,
            deduplication_horizon_ms=round(settings.deduplication_horizon_seconds * 1000),
            dead_letter_limits=settings.dead_letter_limits,
        )
        self._reader = LogReader(kafka, f"{self._instance}-reader")
        self._appender = Appender(kafka, f"{self._instance}-appender")
        self._consumer: AIOKafkaConsumer | None = None

    async def run(self) -> None:
        """Until the context's stop event; then drain: what was read is tallied, partitions are given up, offsets published."""
        context = self._context
        problems = await ensure_topics(self._kafka, self._topics, clock=context.clock)
        if problems:
            raise RefusedToStart(problems)
        context.health.require("partitions", self._stopped_partitions)
        context.health.require("money_moves", self._progress.problem)
        consumer = make_group_consumer(
            self._kafka, group_id=self._settings.group_id, client_id=self._instance, instance_id=self._settings.instance_id
        )
        try:
            async with started(consumer):
                self._consumer = consumer
                consumer.subscribe([self._topics.events.name], listener=self)
                context.health.mark_started()
                publisher = context.spawn("publish-offsets", self._publish(consumer), background=True)
                await self._poll(consumer)
                publisher.cancel()
                await self._drain(consumer)
        finally:
            await self._cancel(list(self._tasks))
            await self._reader.close()
            await self._appender.close()

    # The group's callbacks

    async def on_partitions_revoked(self, revoked: Iterable[TopicPartition]) -> None:
        """Write down what was counted if that is quick, and let go. What is not written is counted again by the next owner.

        A rebalance takes all partitions and gives most of them back: their counters are kept until it is known which.
        """
        partitions = [place.partition for place in revoked]
        if partitions:
            self._metrics.rebalances.labels("revoked").inc()
        await self._finish(partitions, self._settings.flush_seconds)

    async def on_partitions_assigned(self, assigned: Iterable[TopicPartition]) -> None:
        """Start a worker for each partition. None is fetched before its worker knows where its chain ends."""
        consumer = self._consumer
        assert consumer is not None
        places = list(assigned)
        for place in places:
            # A position must be set at once, or the client would ask for a committed one; it is replaced by the worker's `seek`.
            consumer.seek(place, 0)
            consumer.pause(place)
        self._metrics.rebalances.labels("assigned").inc()
        for place in places:
            self._start(place.partition, self._kept.pop(place.partition, None))
        self._kept.clear()  # these went to another member
        self._metrics.assigned.set(len(self._workers))
        self._context.log.info("assigned", partitions=sorted(self._workers))

    # The poll loop

    async def _poll(self, consumer: AIOKafkaConsumer) -> None:
        while not self._context.stop.is_set():
            self._pause_and_resume(consumer)
            wanted = [self._place(partition) for partition, worker in self._workers.items() if worker.wants_records]
            if not wanted:
                await self._context.clock.sleep(IDLE_SECONDS)
            try:
                batch = await consumer.getmany(*wanted, timeout_ms=POLL_MS) if wanted else {}
            except KafkaError as error:
                self._poll_failed(error)
                await self._context.clock.sleep(1.0)
                continue
            for place, records in batch.items():
                worker = self._workers.get(place.partition)
                if worker is not None and worker.wants_records:
                    worker.hand_in(records)
            self._observe(consumer)
            # getmany does not yield to the loop when records are buffered: let the workers have their turn.
            await asyncio.sleep(0)

    def _poll_failed(self, error: KafkaError) -> None:
        """Whatever is wrong with one partition shows again when its worker takes over anew."""
        self._warnings.warning(self._context.log, "polling failed", reason=repr(error))
        places = error.args[0] if error.args and isinstance(error.args[0], dict) else {}
        for place in places:
            if isinstance(place, TopicPartition) and place.partition in self._workers:
                self._tasks[place.partition].cancel()
                self._start(place.partition, None)

    def _pause_and_resume(self, consumer: AIOKafkaConsumer) -> None:
        paused = consumer.paused()
        held = 0
        for partition, worker in self._workers.items():
            place = self._place(partition)
            if place not in consumer.assignment():
                continue
            if not worker.wants_records:
                held += 1
                if place not in paused:
                    consumer.pause(place)
            elif place in paused and worker.unflushed_bytes <= self._settings.unflushed_bytes_max // 2:
                consumer.resume(place)
        self._metrics.paused.set(held)

    def _seek(self, partition: int, offset: int) -> None:
        consumer, place = self._consumer, self._place(partition)
        if consumer is not None and place in consumer.assignment():
            consumer.seek(place, offset)

    def _start(self, partition: int, kept: PartitionCounter | None) -> None:
        worker = PartitionWorker(
            partition,
            settings=self._settings,
            topics=self._topics,
            takeover=Takeover(
                self._reader, self._rules, tallies_topic=self._topics.tallies.name, found_at_log_start=self._settings.found_at_log_start
            ),
            appender=self._appender,
            partition_of=self._partition_of,
            seek=self._seek,
            metrics=self._metrics,
            clock=self._context.clock,
            log=self._context.log,
            kept=kept,
        )
        self._workers[partition] = worker
        self._tasks[partition] = asyncio.create_task(self._supervised(worker), name=f"partition-{partition}")

    async def _supervised(self, worker: PartitionWorker) -> None:
        """A bug in one partition ends the process: going on without it would look healthy and bill nothing."""
        try:
            await worker.run()
        except Exception as error:
            self._context.log.failed("a partition's worker crashed", error, partition=worker.partition)
            self._metrics.stopped.labels("Unexpected").inc()
            self._context.request_stop(f"partition {worker.partition} crashed")
            raise

    # Ending

    async def _drain(self, consumer: AIOKafkaConsumer) -> None:
        partitions = list(self._workers)
        crashed = [task for task in self._tasks.values() if task.done() and not task.cancelled() and task.exception() is not None]
        await self._finish(partitions, None)
        await self._publish_once(consumer)
        for task in crashed:
            task.result()

    async def _finish(self, partitions: list[int], seconds: float | None) -> None:
        for partition in partitions:
            if partition in self._workers:
                self._workers[partition].drain()
        tasks = [self._tasks[partition] for partition in partitions if partition in self._tasks]
        if tasks:
            await asyncio.wait(tasks, timeout=seconds)
        for partition in partitions:
            task, worker = self._tasks.get(partition), self._workers.get(partition)
            counter = worker.release() if worker is not None and task is not None and task.done() else None
            if counter is not None:
                self._kept[partition] = counter
        await self._cancel(partitions)
        self._metrics.assigned.set(len(self._workers))

    async def _cancel(self, partitions: list[int]) -> None:
        tasks = [self._tasks.pop(partition) for partition in partitions if partition in self._tasks]
        for partition in partitions:
            self._workers.pop(partition, None)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.gather(*tasks, return_exceptions=True)

    # What others see

    async def _publish(self, consumer: AIOKafkaConsumer) -> None:
        while True:
            await self._context.clock.sleep(PUBLISH_SECONDS)
            await self._publish_once(consumer)

    async def _publish_once(self, consumer: AIOKafkaConsumer) -> None:
        """Commit the ends of the chains, for lag tools only: they are never read back."""
        assignment = consumer.assignment()
        offsets = {
            self._place(partition): OffsetAndMetadata(worker.counter.tallies.chain.end, "")
            for partition, worker in self._workers.items()
            if worker.counter is not None and worker.counter.tallies.chain.end >= 0 and self._place(partition) in assignment
        }
        if not offsets:
            return
        try:
            await consumer.commit(offsets)
        except KafkaError as error:
            self._warnings.warning(self._context.log, "offsets could not be published", reason=repr(error))

    def _observe(self, consumer: AIOKafkaConsumer) -> None:
        lag = 0
        end = 0
        for partition, worker in self._workers.items():
            counter = worker.counter
            if counter is None:
                continue
            high = consumer.highwater(self._place(partition)) if self._place(partition) in consumer.assignment() else None
            behind = max(0, (high or 0) - max(0, counter.tallies.chain.end))
            self._metrics.lag.labels(str(partition)).set(behind)
            lag += behind
            end += max(0, counter.tallies.chain.end)
        self._metrics.unflushed_bytes.set(sum(worker.unflushed_bytes for worker in self._workers.values()))
        self._metrics.remembered_ids.set(sum(len(worker.counter.ids) for worker in self._workers.values() if worker.counter is not None))
        self._progress.pending(lag)
        if end != self._accepted:
            self._accepted = end
            self._progress.moved()

    def _stopped_partitions(self) -> str | None:
        stopped = {partition: worker.stopped for partition, worker in self._workers.items() if worker.stopped is not None}
        for reason in STOP_REASONS:
            self._metrics.stopped.labels(reason).set(sum(1 for error in stopped.values() if type(error).__name__ == reason))
        if not stopped:
            return None
        return "; ".join(f"partition {partition}: {type(error).__name__}: {error}" for partition, error in sorted(stopped.items()))

    def _place(self, partition: int) -> TopicPartition:
        return TopicPartition(self._topics.events.name, partition)
