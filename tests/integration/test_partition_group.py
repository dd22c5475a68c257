"""The membership in a consumer group, on a real broker."""

import asyncio
from collections.abc import Callable

import pytest
from prometheus_client import CollectorRegistry

from aggregator.metrics import AggregatorMetrics
from metering.clock import SystemClock
from metering.health import Health
from metering.kafka import KafkaSettings, make_producer, started
from metering.logs import get_log
from metering.metrics import CommonMetrics
from metering.partition_group import PartitionGroup
from metering.partition_worker import PartitionWorker
from metering.service import ServiceContext
from metering.supervision import Supervisor
from tests.support.broker_topics import make_topic
from tests.unit.ingest.waiting import until_async

pytestmark = pytest.mark.broker

PATIENCE_SECONDS = 30.0


class Reader(PartitionWorker):
    """Reads from the start of its partition, and notes what it read."""

    position: int | None = None
    read: list[bytes | None]

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
                record = self._take()
                self.position = record.offset + 1
                self.read.append(record.value)

    def _forget(self) -> None:
        self.position = None


def context_of(registry: CollectorRegistry) -> ServiceContext:
    clock = SystemClock()
    health, log = Health(clock), get_log("test")
    metrics = CommonMetrics.create(registry, service="test", version="0", commit="0")
    return ServiceContext("test", clock, registry, metrics, health, log, Supervisor(log, on_stop=health.mark_stopping))


def cancel_fetching(group: PartitionGroup[Reader]) -> None:
    assert group._consumer is not None
    group._consumer._fetcher._fetch_task.cancel()


def cancel_coordination(group: PartitionGroup[Reader]) -> None:
    assert group._consumer is not None
    group._consumer._coordinator._coordination_task.cancel()


@pytest.mark.parametrize("end", [cancel_fetching, cancel_coordination])
async def test_a_client_whose_background_work_has_ended_is_replaced(broker: str, end: Callable[[PartitionGroup[Reader]], None]) -> None:
    topic = await make_topic(broker, partitions=1)
    kafka = KafkaSettings(bootstrap_servers=(broker,), session_timeout_seconds=6)
    registry = CollectorRegistry()
    context = context_of(registry)
    metrics = AggregatorMetrics.create(registry)
    read: list[bytes | None] = []

    def start(partition: int, _before: Reader | None) -> Reader:
        reader = Reader(partition, seek=group.seek, clock=context.clock, log=context.log, unavailable=metrics.unavailable)
        reader.read = read
        return reader

    group: PartitionGroup[Reader] = PartitionGroup(
        context,
        kafka,
        topic=topic,
        group_id=topic,
        instance="test",
        static_instance_id=None,
        start=start,
        revoke_seconds=1.0,
        stall_seconds=60.0,
        assigned=metrics.assigned,
        paused=metrics.paused,
        stopped=metrics.stopped,
        stop_reasons=(),
        lag=metrics.lag,
        by_partition=(),
        rebalances=metrics.rebalances,
    )

    running = asyncio.create_task(group.run())
    async with started(make_producer(kafka, client_id="test")) as producer:
        await producer.send_and_wait(topic, b"before", partition=0)
        await until_async(lambda: b"before" in read)
        end(group)
        await producer.send_and_wait(topic, b"after", partition=0)
        await until_async(lambda: b"after" in read)
    context.request_stop("the test is over")
    async with asyncio.timeout(PATIENCE_SECONDS):
        await running
    assert context.health.readiness().conditions["partitions"] is None
