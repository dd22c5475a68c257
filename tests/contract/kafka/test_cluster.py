"""Three brokers of Apache Kafka, three copies, two in sync. One of them goes silent, or is away, and the clients go on."""

import asyncio
from collections.abc import Iterator
from contextlib import suppress

import pytest
from aiokafka.admin import NewTopic
from taximeter_emitter.clock import SystemClock
from taximeter_sandbox.brokers.apache_cluster import ApacheCluster

from audit.positions import Positions
from metering.kafka.clients import KafkaSettings, make_admin
from metering.kafka.partition_log import Appender, LogReader, LogUnavailable
from metering.kafka.provision import TopicState, ensure_topics
from tests.support.broker_topics import unique_name
from tests.support.kafka_cluster import cluster_of_three

PATIENCE_SECONDS = 120.0
ATTEMPTS = 300
PARTITIONS = 3


@pytest.fixture(scope="module")
def cluster() -> Iterator[ApacheCluster]:
    with cluster_of_three() as running:
        yield running


def settings_on(cluster: ApacheCluster, *, startup_seconds: float = 60.0) -> KafkaSettings:
    servers = tuple(cluster.bootstrap.split(","))
    return KafkaSettings(
        bootstrap_servers=servers, topic_prefix=unique_name("cluster"), partitions=PARTITIONS, startup_timeout_seconds=startup_seconds
    )


async def leaders_of(settings: KafkaSettings, topic: str) -> dict[int, str]:
    """The node that leads each partition."""
    admin = make_admin(settings, client_id="test")
    await admin.start()
    try:
        (found,) = [each for each in await admin.describe_topics() if each["topic"] == topic]
        return {each["partition"]: f"broker-{each['leader']}" for each in found["partitions"]}
    finally:
        await admin.close()


async def brokers_known(settings: KafkaSettings) -> int:
    admin = make_admin(settings, client_id="test")
    await admin.start()
    try:
        return len((await admin.describe_cluster())["brokers"])
    finally:
        await admin.close()


async def until_there_are(settings: KafkaSettings, brokers: int) -> None:
    for _ in range(ATTEMPTS):
        if await brokers_known(settings) == brokers:
            return
        await asyncio.sleep(0.2)
    raise AssertionError(f"there are not {brokers} brokers")


async def test_topics_are_never_made_with_fewer_copies_because_a_broker_is_away(cluster: ApacheCluster) -> None:
    settings = settings_on(cluster, startup_seconds=1.0)
    await asyncio.to_thread(cluster.stop_node, "broker-3")
    try:
        await until_there_are(settings, 2)
        (problem,) = await ensure_topics(settings, settings.topics, clock=SystemClock())
        assert "must have 3 copies of each partition, and 2 are here of the 3 brokers" in problem
        assert "TAXIMETER_KAFKA_REPLICATION_FACTOR=2" in problem
    finally:
        await asyncio.to_thread(cluster.start_node, "broker-3")
    await until_there_are(settings, 3)
    shown: list[TopicState] = []
    assert await ensure_topics(settings, settings.topics, clock=SystemClock(), show=shown.append) == []
    assert {(state.replicas, state.configuration["min.insync.replicas"]) for state in shown} == {(3, "2")}


async def test_a_topic_with_too_few_copies_is_a_problem_at_every_start(cluster: ApacheCluster) -> None:
    settings = settings_on(cluster)
    admin = make_admin(settings, client_id="test")
    await admin.start()
    configuration = settings.topics.events.configuration(min_insync_replicas=1)
    await admin.create_topics([NewTopic(settings.topics.events.name, PARTITIONS, 2, topic_configs=configuration)])
    await admin.close()
    for _ in range(2):
        (problem,) = await ensure_topics(settings, settings.topics, clock=SystemClock())
        assert f"topic {settings.topics.events.name} has a partition with 2 of 3 copies" in problem


async def test_a_silent_broker_keeps_nobody_waiting_until_it_wakes(cluster: ApacheCluster) -> None:
    settings = settings_on(cluster)
    topic = settings.topics.events.name
    assert await ensure_topics(settings, settings.topics, clock=SystemClock()) == []
    leaders = await leaders_of(settings, topic)
    silent, well = 0, next(partition for partition, leader in leaders.items() if leader != leaders[0])
    appender, reader = Appender(settings, "test"), LogReader(settings, "test")
    for partition in (silent, well):
        await appender.append(topic, partition, b"before")
    await reader.bounds(topic, silent)
    # An open connection to each broker is there; now one is silent, also to those that come, and is the first that is asked.
    cluster.freeze_node(leaders[silent])
    try:
        port = cluster.ports(leaders[silent]).client
        servers = (f"127.0.0.1:{port}", *(server for server in settings.bootstrap_servers if not server.endswith(f":{port}")))
        newcomer = LogReader(KafkaSettings(bootstrap_servers=servers, topic_prefix=settings.topic_prefix, partitions=PARTITIONS), "newcomer")
        async with asyncio.timeout(PATIENCE_SECONDS):
            stuck = asyncio.create_task(_bounds(reader, topic, silent))
            # What others have costs nothing: it is there before the silent broker has lost its place.
            assert await reader.bounds(topic, well) == (0, 1)
            assert not stuck.done()
            await _bounds(newcomer, topic, well)
            # Its own partitions come back with another leader, while it is still silent.
            await asyncio.gather(stuck, *(appender.append(topic, partition, b"after") for partition in (silent, well)))
            assert await _bounds(reader, topic, silent) == (0, 2)
            positions = Positions(settings, SystemClock())
            found = await positions.read()
            await positions.close()
            assert [each.partition for each in found] == list(range(PARTITIONS))
            assert [each.events_end for each in found if not each.unread]
    finally:
        cluster.thaw_node(leaders[silent])
    await newcomer.close()
    await reader.close()
    await appender.close()


async def _bounds(reader: LogReader, topic: str, partition: int) -> tuple[int, int]:
    """Asked again until there is an answer, as the services do."""
    while True:
        with suppress(LogUnavailable):
            return await reader.bounds(topic, partition)
        await asyncio.sleep(0.1)
