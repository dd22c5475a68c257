"""What retention, deleted topics and added partitions do to the aggregator, on a broker; and how it goes on."""

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import orjson
import pytest
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.partitioner import partition_of

from audit.verification.report import Report
from audit.verification.verdict import verdict_of
from audit.verification.verifier import verify
from metering.kafka.clients import KafkaSettings, make_admin
from metering.kafka.provision import ensure_topics
from taximeter.exit_codes import FAILED, OK, PENDING, PRECONDITION
from tests.support.aggregator_process import aggregator
from tests.support.broker_topics import unique_name, visible
from tests.support.usage_on_broker import PATIENCE_SECONDS, emit, event, taximeter, until_counted

pytestmark = pytest.mark.broker


@pytest.fixture
async def kafka(broker: str) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=(broker,), topic_prefix=unique_name("edges"), partitions=1, replication_factor=1)
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


async def until_events_counted(kafka: KafkaSettings, events: int) -> Report:
    """Wait until verification finds this many events counted."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (report := await verify(kafka)).events["counted"] < events:
        assert time.monotonic() < deadline, report
        await asyncio.sleep(0.2)
    return report


async def delete_before(admin: AIOKafkaAdminClient, kafka: KafkaSettings, offset: int) -> None:
    await admin.delete_records({TopicPartition(kafka.topics.events.name, 0): RecordsToDelete(before_offset=offset)})


async def test_a_partition_that_retention_cut_stops_and_goes_on_by_itself_once_the_loss_is_accepted(
    kafka: KafkaSettings, admin: AIOKafkaAdminClient, tmp_path: Path
) -> None:
    with aggregator(kafka, tmp_path / "first") as first:
        await emit(kafka, event("a"), event("b"))
        await until_counted(kafka, 2)
        assert await asyncio.to_thread(first.terminate) == 0
    await emit(kafka, event("c"), event("d"), event("e"))
    await delete_before(admin, kafka, 4)

    with aggregator(kafka, tmp_path / "second") as second:
        said = await asyncio.to_thread(second.until_it_says, "HistoryLost")
        assert "never counted: 2 to 3" in said
        assert "taximeter repair accept-loss 0" in said

        shown = await asyncio.to_thread(taximeter, kafka, tmp_path, "repair", "accept-loss", "0")
        assert shown.returncode == OK, shown.stderr
        assert "lost 2 records before they were counted: offsets 2 to 3" in shown.stdout
        refused = await asyncio.to_thread(taximeter, kafka, tmp_path, "repair", "accept-loss", "0", "--reason", "test", "--yes")
        assert refused.returncode == FAILED, refused.stdout
        assert "--ids" in refused.stderr

        accepted = await asyncio.to_thread(
            taximeter, kafka, tmp_path, "repair", "accept-loss", "0", "--ids", "--reason", "the disk broke", "--by", "ann", "--yes", "--json"
        )
        assert accepted.returncode == OK, accepted.stderr
        assert orjson.loads(accepted.stdout)["lost_records"] == 2
        position = await until_counted(kafka, 5)
        assert position.lost_records == 2
        await asyncio.to_thread(second.until_it_says, '"ok":true')

    report = await verify(kafka)
    assert report.problems.shown == []
    assert verdict_of(report).text == "PENDING: 10 units of tokens to report"
    assert [term.name for term in verdict_of(report).all_terms] == ["uncovered", "set_aside", "lost", "underived"]
    assert [(loss.start, loss.end, loss.by, loss.reason) for loss in report.losses] == [(2, 4, "ann", "the disk broke")]
    # What is kept was emitted before ids were known again: it may repeat one of those that are gone.
    assert (report.events["counted"], report.dead_lettered) == (2, {"past_horizon": 1})
    told = await asyncio.to_thread(taximeter, kafka, tmp_path, "verify")
    assert told.returncode == PENDING, told.stderr
    assert "accepted in tally" in told.stdout
    assert "2 records were accepted as lost" in (await asyncio.to_thread(taximeter, kafka, tmp_path, "status")).stdout


async def test_an_aggregator_that_cannot_rebuild_its_ids_stops_and_sets_aside_what_may_repeat_them(
    kafka: KafkaSettings, admin: AIOKafkaAdminClient, tmp_path: Path
) -> None:
    began_ms = SystemClock().now_ms()
    with aggregator(kafka, tmp_path / "first") as first:
        await emit(kafka, event("a"), event("b"))
        await until_counted(kafka, 2)
        assert await asyncio.to_thread(first.terminate) == 0
    await delete_before(admin, kafka, 2)

    with aggregator(kafka, tmp_path / "second") as second:
        assert "accept-loss 0 --ids" in await asyncio.to_thread(second.until_it_says, "HistoryLost")
        done = await asyncio.to_thread(taximeter, kafka, tmp_path, "repair", "accept-loss", "0", "--ids", "--reason", "test", "--yes")
        assert done.returncode == OK, done.stderr
        await asyncio.to_thread(second.until_it_says, '"ok":true')
        await emit(kafka, event("a", time_ms=began_ms))
        await until_counted(kafka, 3)

    report = await verify(kafka)
    assert (report.events["counted"], report.dead_lettered, report.problems.shown) == (2, {"past_horizon": 1}, [])
    assert [term.name for term in verdict_of(report).all_terms] == ["uncovered", "set_aside", "ids_not_known", "underived"]


async def test_topics_with_unequal_partitions_are_refused_at_start(broker: str, admin: AIOKafkaAdminClient, tmp_path: Path) -> None:
    kafka = KafkaSettings(bootstrap_servers=(broker,), topic_prefix=unique_name("edges"), partitions=2, replication_factor=1)
    assert await ensure_topics(kafka, kafka.topics, clock=SystemClock()) == []
    await admin.create_partitions({kafka.topics.tallies.name: NewPartitions(total_count=3)})
    await visible(admin, kafka.topics.tallies.name, 3)

    with aggregator(kafka, tmp_path / "aggregator") as running:
        assert await asyncio.to_thread(running.ended) == PRECONDITION
        assert "has 3 partitions, TAXIMETER_KAFKA_PARTITIONS is 2" in running.log


async def test_a_topic_that_was_deleted_and_made_anew_stops_the_partition(kafka: KafkaSettings, admin: AIOKafkaAdminClient, tmp_path: Path) -> None:
    with aggregator(kafka, tmp_path / "first") as first:
        await emit(kafka, event("a"), event("b"))
        await until_counted(kafka, 2)
        assert await asyncio.to_thread(first.terminate) == 0
    spec = kafka.topics.events
    await admin.delete_topics([spec.name])
    await visible(admin, spec.name, 0)
    await admin.create_topics([NewTopic(spec.name, 1, 1, topic_configs=spec.configuration(min_insync_replicas=1))])
    await visible(admin, spec.name, 1)
    await emit(kafka, event("c"))

    with aggregator(kafka, tmp_path / "second") as second:
        assert "was cut or created again" in await asyncio.to_thread(second.until_it_says, "ChainBroken")
    done = await asyncio.to_thread(taximeter, kafka, tmp_path, "repair", "accept-loss", "0", "--reason", "test", "--yes")
    assert "TAXIMETER_KAFKA_TOPIC_PREFIX" in done.stderr


async def test_partitions_added_under_load_are_noticed_and_no_sum_becomes_wrong(broker: str, admin: AIOKafkaAdminClient, tmp_path: Path) -> None:
    """A producer that goes by the new number puts some customers elsewhere: into an old partition, from where their events are forwarded,
    or into the new one, which nobody reads."""
    kafka = KafkaSettings(bootstrap_servers=(broker,), topic_prefix=unique_name("edges"), partitions=2, replication_factor=1)
    assert await ensure_topics(kafka, kafka.topics, clock=SystemClock()) == []
    customers = [f"cus_{number}" for number in range(12)]
    moved = {customer: partition_of(customer, 3) for customer in customers}
    beyond = [customer for customer in customers if moved[customer] == 2]
    misplaced = [customer for customer in customers if moved[customer] not in (2, partition_of(customer, 2))]
    assert beyond
    assert misplaced

    with aggregator(kafka, tmp_path / "aggregator") as running:
        for customer in customers:
            await emit(kafka, event(f"before-{customer}", customer), partition=partition_of(customer, 2))
        await until_events_counted(kafka, len(customers))
        await admin.create_partitions({kafka.topics.events.name: NewPartitions(total_count=3)})
        await visible(admin, kafka.topics.events.name, 3)
        for customer in customers:
            await emit(replace(kafka, partitions=3), event(f"after-{customer}", customer), partition=moved[customer])
        said = await asyncio.to_thread(running.until_it_says, "PartitionsAdded")
        assert "was given partition 2, TAXIMETER_KAFKA_PARTITIONS is 2" in said
        report = await until_events_counted(kafka, 2 * len(customers) - len(beyond))

    assert report.problems.shown == []
    assert report.meters["tokens"].counted == 5 * (2 * len(customers) - len(beyond))
    assert report.events["forwarded"] == len(misplaced)
    with aggregator(kafka, tmp_path / "again") as again:
        assert await asyncio.to_thread(again.ended) == PRECONDITION
        assert "has 3 partitions" in again.log
