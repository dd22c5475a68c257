"""Transactions of other producers, on a broker that has them: markers settle, open ones are named, and compaction is not taken for either."""

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from taximeter_emitter.clock import SystemClock

from metering.kafka.clients import KafkaSettings, make_admin
from metering.kafka.partition_log import Appender, LogEnds, LogReader
from metering.kafka.provision import ensure_topics
from metering.records.fail_closed import HistoryLost
from taximeter.exit_codes import DISCREPANCY, OK
from tests.support.aggregator_process import aggregator
from tests.support.broker import RunningBroker
from tests.support.broker_topics import unique_name, visible
from tests.support.usage_on_broker import PATIENCE_SECONDS, emit, event, taximeter, until_counted

pytestmark = pytest.mark.broker


@pytest.fixture
async def kafka(running_broker: RunningBroker) -> KafkaSettings:
    if running_broker.broker.name == "embedded":
        pytest.skip("the embedded broker has no transactions and no compaction")
    settings = KafkaSettings(bootstrap_servers=(running_broker.bootstrap,), topic_prefix=unique_name("markers"), partitions=1, replication_factor=1)
    assert await ensure_topics(settings, settings.topics, clock=SystemClock()) == []
    return settings


@pytest.fixture
async def admin(broker: str) -> AsyncIterator[AIOKafkaAdminClient]:
    client = make_admin(KafkaSettings(bootstrap_servers=(broker,)), client_id="test")
    try:
        await client.start()
        yield client
    finally:
        await client.close()


@asynccontextmanager
async def producer(kafka: KafkaSettings, *, timeout_ms: int = 60_000) -> AsyncIterator[AIOKafkaProducer]:
    found = AIOKafkaProducer(bootstrap_servers=kafka.bootstrap_servers[0], transactional_id=unique_name("writer"), transaction_timeout_ms=timeout_ms)
    await found.start()
    try:
        yield found
    finally:
        await found.stop()


async def write(kafka: KafkaSettings, writer: AIOKafkaProducer, *events: str) -> None:
    for name in events:
        await writer.send_and_wait(kafka.topics.events.name, event(name), partition=0)


async def test_the_holes_of_transactions_are_proved_and_those_of_compaction_are_not(kafka: KafkaSettings) -> None:
    topic = kafka.topics.events.name
    async with producer(kafka) as writer:
        async with writer.transaction():
            await write(kafka, writer, "a", "b")  # 0, 1, and the marker at 2
        await writer.begin_transaction()
        await write(kafka, writer, "c", "d")  # 3, 4, and the marker at 5
        await writer.abort_transaction()
        await emit(kafka, event("e"))  # 6
        async with writer.transaction():
            await write(kafka, writer, "f")  # 7, and the marker at 8
        reader = LogReader(kafka, "test")
        try:
            assert await reader.ends(topic, 0) == LogEnds(9, 9)
            assert [record.offset async for records in reader.records(topic, 0, 0, 9) for record in records] == [0, 1, 6, 7]
            assert await reader.holds_no_record(topic, 0, 2, 6)
            assert await reader.holds_no_record(topic, 0, 8, 9)
            assert reader.is_proved_empty(topic, 0, 2, 6)
            assert not await reader.holds_no_record(topic, 0, 2, 7)
            await writer.begin_transaction()
            await write(kafka, writer, "g")
            await emit(kafka, event("h"))
            assert await reader.ends(topic, 0) == LogEnds(9, 11)
            await writer.abort_transaction()
        finally:
            await reader.close()


async def test_small_transactions_are_counted_to_their_last_marker(kafka: KafkaSettings, tmp_path: Path) -> None:
    async with producer(kafka) as writer:
        for number in range(100):
            async with writer.transaction():
                await write(kafka, writer, f"e{number}")
    with aggregator(kafka, tmp_path / "aggregator") as running:
        await until_counted(kafka, 200)
        await asyncio.to_thread(running.until_it_says, '"ok":true')
        status = await asyncio.to_thread(taximeter, kafka, tmp_path, "status", "--json")
        assert (status.returncode, status.stderr) == (OK, "")
        (position,) = orjson.loads(status.stdout)["partitions"]
        assert (position["uncounted_records"], position["held_back_records"], position["problem"]) == (0, 0, "")


async def test_an_open_transaction_is_named_and_its_records_are_counted_when_it_ends(kafka: KafkaSettings, tmp_path: Path) -> None:
    async with producer(kafka) as writer:
        await emit(kafka, event("a"))
        with aggregator(kafka, tmp_path / "aggregator", stall_seconds=1) as running:
            await until_counted(kafka, 1)
            await writer.begin_transaction()
            await write(kafka, writer, "b")
            await emit(kafka, event("c"), event("d"))
            said = await asyncio.to_thread(running.until_it_says, "open transaction")
            assert "partition 0: an open transaction of another producer at offset 1 holds back 3 records" in said
            assert "nothing moved" not in said
            status = await asyncio.to_thread(taximeter, kafka, tmp_path, "status")
            assert status.returncode == OK
            assert "partition 0: an open transaction of another producer at offset 1 holds back 3 records" in status.stdout
            assert "0 records to count" in status.stdout  # none of them can be read yet
            await writer.commit_transaction()
            await until_counted(kafka, 5)
            await asyncio.to_thread(running.until_it_says, '"ok":true')


async def test_a_topic_that_was_compacted_meanwhile_stops_the_partition(kafka: KafkaSettings, admin: AIOKafkaAdminClient, tmp_path: Path) -> None:
    with aggregator(kafka, tmp_path / "first") as first:
        await emit(kafka, event("a"))
        await until_counted(kafka, 1)
        assert await asyncio.to_thread(first.terminate) == 0
    await compacted(kafka, admin)
    with aggregator(kafka, tmp_path / "second") as second:
        assert "taximeter repair accept-loss 0 --ids" in await asyncio.to_thread(second.until_it_says, "HistoryLost")
        status = await asyncio.to_thread(until_status_says, kafka, tmp_path, "partition 0 is stopped by the aggregator: HistoryLost")
        assert status.returncode == DISCREPANCY
        assert "partition 0: HistoryLost: " in status.stderr


async def test_counted_events_that_were_compacted_are_accepted_and_the_partition_goes_on(
    kafka: KafkaSettings, admin: AIOKafkaAdminClient, tmp_path: Path
) -> None:
    with aggregator(kafka, tmp_path / "first") as first:
        await emit(kafka, event("a"))
        await until_counted(kafka, 1)
        await compacted(kafka, admin)
        reader = LogReader(kafka, "test")
        _, end = await reader.bounds(kafka.topics.events.name, 0)
        await reader.close()
        await until_counted(kafka, end)
        assert await asyncio.to_thread(first.terminate) == 0
    with aggregator(kafka, tmp_path / "second") as second:
        await asyncio.to_thread(second.until_it_says, "taximeter repair accept-loss 0 --ids")
        accept = ("repair", "accept-loss", "0", "--ids", "--reason", "compacted", "--by", "ann", "--yes")
        done = await asyncio.to_thread(taximeter, kafka, tmp_path, *accept)
        assert done.returncode == OK, done.stderr
        await asyncio.to_thread(second.until_it_says, '"ok":true')
        await emit(kafka, event("new"))
        await until_counted(kafka, end + 1)
    verified = await asyncio.to_thread(taximeter, kafka, tmp_path, "verify", "--json")
    report = orjson.loads(verified.stdout)
    terms = {term["name"] for found in report["terms"].values() for term in found}
    assert terms >= {"ids_not_known", "underived", "uncovered"}
    assert "problems" not in terms, report["problems"]


async def test_partitions_added_and_a_shorter_retention_are_said_while_the_aggregator_runs(
    kafka: KafkaSettings, admin: AIOKafkaAdminClient, tmp_path: Path
) -> None:
    with aggregator(kafka, tmp_path / "aggregator") as running:
        await emit(kafka, event("a"))
        await until_counted(kafka, 1)
        await admin.create_partitions({kafka.topics.events.name: NewPartitions(total_count=2)})
        await visible(admin, kafka.topics.events.name, 2)
        await emit(replace(kafka, partitions=2), event("b"), event("c"), partition=1)
        status = await asyncio.to_thread(taximeter, kafka, tmp_path, "status")
        assert status.returncode == DISCREPANCY
        assert f"partition 1 of {kafka.topics.events.name} holds 2 records that nobody counts" in status.stderr
        assert f"topic {kafka.topics.events.name} has 2 partitions, TAXIMETER_KAFKA_PARTITIONS is 1" in status.stderr
        await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, kafka.topics.events.name, {"retention.ms": "60000"})])
        said = await asyncio.to_thread(running.until_it_says, "retention.ms=60000")
        assert "has 2 partitions, TAXIMETER_KAFKA_PARTITIONS is 1" in said


def until_status_says(kafka: KafkaSettings, folder: Path, words: str) -> subprocess.CompletedProcess[str]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while words not in (found := taximeter(kafka, folder, "status")).stderr:
        assert time.monotonic() < deadline, found
        time.sleep(0.5)
    return found


async def compacted(kafka: KafkaSettings, admin: AIOKafkaAdminClient) -> None:
    """Write many events with one key, and wait until compaction left a hole at offset 1; then nothing shows that it ever ran."""
    topic, appender, reader = kafka.topics.events.name, Appender(kafka, "keyed"), LogReader(kafka, "look")
    usual = kafka.topics.events.configuration(min_insync_replicas=1)
    settings = {"cleanup.policy": "compact", "segment.ms": "100", "min.cleanable.dirty.ratio": "0.01", "max.compaction.lag.ms": "100"}
    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, usual | settings)])
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            number = 1
            while True:
                for _ in range(20):
                    number += 1
                    await appender.append(topic, 0, event(f"k{number}"), key=b"cus_1")
                try:
                    await reader.holds_no_record(topic, 0, 1, 3)
                except HistoryLost:
                    await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, usual)])
                    return
                await reader.close()
                await asyncio.sleep(0.5)
    finally:
        await appender.close()
        await reader.close()
