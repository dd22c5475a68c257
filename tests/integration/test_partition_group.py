"""The membership in a consumer group, on a real broker."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from aiokafka import TopicPartition
from prometheus_client import CollectorRegistry
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.transports.kafka_connection import make_producer

from metering.kafka.clients import KafkaSettings, started
from metering.kafka.partition_log import Appender
from metering.process.health import Health
from metering.process.logs import get_log
from metering.process.metrics import CommonMetrics
from metering.process.service import ServiceContext
from metering.process.status_page import StatusPage
from metering.process.supervision import Supervisor
from metering.records.service_limits import CHAIN_RECORD_BYTES_MAX
from metering.workers.group_metrics import GroupMetrics
from metering.workers.loop_turns import LoopTurns
from metering.workers.membership import GroupMember
from metering.workers.partition_group import PartitionGroup
from metering.workers.partition_worker import PartitionWorker, WorkerKit
from tests.support.broker_topics import make_topic
from tests.support.waiting import until_async

pytestmark = pytest.mark.broker

PATIENCE_SECONDS = 30.0


class Reader(PartitionWorker):
    """Reads from the start of its partition, and notes what it read; drains until `drained` is set."""

    position: int | None = None
    read: list[bytes | None]
    drained: asyncio.Event

    @property
    def chain_end(self) -> int | None:
        return self.position

    @property
    def wants_records(self) -> bool:
        return self.position is not None

    @property
    def may_resume(self) -> bool:
        return True

    async def _own(self) -> None:
        self._continue_at(0)
        self.position = 0
        while not self._draining:
            await self._wait(1.0, work=bool(self._inbox))
            while self._inbox:
                record = self._inbox.take()
                self.position = record.offset + 1
                self.read.append(record.value)
        await self.drained.wait()

    def _forget(self) -> None:
        self.position = None


def context_of(registry: CollectorRegistry) -> ServiceContext:
    clock = SystemClock()
    health, log = Health(clock), get_log("test")
    metrics = CommonMetrics.create(registry, service="test", version="0", commit="0")
    return ServiceContext("test", clock, registry, metrics, health, log, Supervisor(log, on_stop=health.mark_stopping), StatusPage())


def cancel_fetching(group: PartitionGroup[Reader]) -> None:
    assert group._membership._consumer is not None
    group._membership._consumer._fetcher._fetch_task.cancel()


def cancel_coordination(group: PartitionGroup[Reader]) -> None:
    assert group._membership._consumer is not None
    group._membership._consumer._coordinator._coordination_task.cancel()


async def nothing() -> None:
    """Before draining."""


def group_of(
    context: ServiceContext,
    kafka: KafkaSettings,
    topic: str,
    read: list[bytes | None],
    drained: asyncio.Event,
    *,
    before_drain: Callable[[], Awaitable[None]] = nothing,
) -> PartitionGroup[Reader]:
    metrics = GroupMetrics.create(context.registry, "taximeter_test", lag="Lag.", paused="Paused.", takeover="Takeover.", stop_reasons=())

    def start(partition: int, _before: Reader | None) -> Reader:
        appender = Appender(kafka, "test-appender")  # never used, so it opens no connection
        kit = WorkerKit(
            topics=kafka.topics, appender=appender, seek=group.seek, metrics=metrics, clock=context.clock, log=context.log, turns=LoopTurns()
        )
        reader = Reader(partition, kit)
        reader.read, reader.drained = read, drained
        return reader

    group: PartitionGroup[Reader] = PartitionGroup(
        context,
        kafka,
        GroupMember(topic=topic, group_id=topic, instance="test", static_instance_id=None, revoke_seconds=20.0, stall_seconds=60.0),
        metrics,
        start=start,
        before_drain=before_drain,
    )
    return group


@pytest.mark.parametrize("end", [cancel_fetching, cancel_coordination])
async def test_a_client_whose_background_work_has_ended_is_replaced(broker: str, end: Callable[[PartitionGroup[Reader]], None]) -> None:
    topic = await make_topic(broker, partitions=1)
    kafka = KafkaSettings(bootstrap_servers=(broker,), session_timeout_seconds=6)
    context = context_of(CollectorRegistry())
    read: list[bytes | None] = []
    drained = asyncio.Event()
    drained.set()
    group = group_of(context, kafka, topic, read, drained)

    running = asyncio.create_task(group.run())
    async with started(make_producer(kafka.options(), client_id="test", record_bytes_max=CHAIN_RECORD_BYTES_MAX)) as producer:
        await producer.send_and_wait(topic, b"before", partition=0)
        await until_async(lambda: b"before" in read)
        end(group)
        await producer.send_and_wait(topic, b"after", partition=0)
        await until_async(lambda: b"after" in read)
    context.request_stop("the test is over")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await running
    assert context.health.readiness().conditions["partitions"] is None


async def test_a_service_may_stop_in_the_middle_of_a_rebalance(broker: str) -> None:
    topic = await make_topic(broker, partitions=4)
    kafka = KafkaSettings(bootstrap_servers=(broker,), session_timeout_seconds=6)
    context = context_of(CollectorRegistry())
    drained, draining = asyncio.Event(), asyncio.Event()

    async def before_drain() -> None:
        draining.set()

    group = group_of(context, kafka, topic, [], drained, before_drain=before_drain)
    running = asyncio.create_task(group.run())
    await until_async(lambda: len(group.workers) == 4)

    # The client calls this from a task of its own, whatever the service is about.
    revoked = asyncio.create_task(group._membership.on_partitions_revoked([TopicPartition(topic, partition) for partition in range(4)]))
    await asyncio.sleep(0)
    context.request_stop("the test is over")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await draining.wait()
        # Now both wait for the workers, and the rebalance was first.
        drained.set()
        await asyncio.gather(revoked, running)
