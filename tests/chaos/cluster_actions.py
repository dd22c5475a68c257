"""What can go wrong on a cluster: each action breaks something of it and puts it right again before it returns."""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Final

from aiokafka.errors import KafkaError
from taximeter_sandbox.demo.installation import GATEWAY

from metering.kafka.clients import make_admin
from tests.chaos.arena import Arena
from tests.chaos.brokers import ThreeBrokers
from tests.chaos.gateway_sight import see_nothing_acknowledged, until_gateway_is_ready
from tests.support.broker_wire import call

_ELECT_LEADERS: Final = 43
_REASSIGN: Final = 45
_PREFERRED: Final = 0
_WIRE_SECONDS: Final = timedelta(seconds=10)
_IN_SYNC_SECONDS: Final = 120.0
_AWAY_SECONDS: Final = (5.0, 40.0)
_UNREADY_SECONDS: Final = 30.0  # a gateway waits eighteen for an acknowledgement

Layout = Mapping[str, Mapping[int, Sequence[int]]]
"""The nodes that hold each partition of each topic, the preferred leader first."""


async def kill_a_node(arena: Arena) -> None:
    """Long enough that others lead meanwhile, or hardly."""
    if "broker" not in arena.busy:
        await arena.kill_broker(arena.random.choice([0.2, 2.0, 8.0, 15.0]))


async def silent_node(arena: Arena) -> None:
    """Without a reset: it holds its connections, takes new ones and answers nothing. Shorter or longer than Kafka's nine seconds."""
    if "broker" not in arena.busy:
        await arena.freeze_broker(arena.random.choice([4.0, 9.0, 12.0, 25.0]))


async def rolling_restart_of_nodes(arena: Arena) -> None:
    brokers = _cluster_of(arena)
    if "broker" in arena.busy:
        return
    async with arena.holding("broker"):
        for name in brokers.names:
            await asyncio.to_thread(brokers.stop, name)
            await asyncio.to_thread(brokers.restart, name)
            await _until_in_sync(arena)
        arena.counts["rolling restart of the brokers"] += 1


async def below_min_insync(arena: Arena) -> None:
    """Two of three away: nothing can be acknowledged, and the gateway says so."""
    brokers = _cluster_of(arena)
    if "broker" in arena.busy:
        return
    async with arena.holding("broker"):
        names = arena.random.sample(list(brokers.names), 2)
        for name in names:
            await asyncio.to_thread(brokers.kill, name)
        seconds = arena.random.choice(_AWAY_SECONDS)
        if arena.free(GATEWAY):
            async with arena.holding(GATEWAY):
                await see_nothing_acknowledged(arena, seconds, _UNREADY_SECONDS)
                await _bring_back(arena, names)
                await until_gateway_is_ready(arena)
        else:
            await asyncio.sleep(seconds)
            await _bring_back(arena, names)
        arena.counts["below min.insync.replicas"] += 1


async def _bring_back(arena: Arena, names: Sequence[str]) -> None:
    for name in names:
        await asyncio.to_thread(arena.brokers.restart, name)
    await _until_in_sync(arena)


async def cut_off(arena: Arena) -> None:
    """One node hears nothing of the others, while its clients still reach it."""
    brokers = _cluster_of(arena)
    if "broker" in arena.busy:
        return
    async with arena.holding("broker"):
        brokers.network.cut_off(arena.random.choice(list(brokers.names)))
        await asyncio.sleep(arena.random.choice([5.0, 12.0, 25.0]))
        brokers.network.join_again()
        await _until_in_sync(arena)
        arena.counts["a broker cut off from the others"] += 1


async def move_leaders(arena: Arena) -> None:
    """Again and again, another node leads each partition."""
    if "broker" in arena.busy:
        return
    async with arena.holding("broker"):
        for _ in range(4):
            layout = await _layout(arena)
            await _reassign(arena, {topic: {p: [*nodes[1:], nodes[0]] for p, nodes in parts.items()} for topic, parts in layout.items()})
            await _elect(arena, list(layout))
            await asyncio.sleep(arena.random.uniform(0.5, 2.0))
        arena.counts["leaders moved"] += 4


async def reassign(arena: Arena) -> None:
    """Each partition loses a copy, and gets it again: all of it is copied."""
    if "broker" in arena.busy:
        return
    async with arena.holding("broker"):
        before = await _layout(arena)
        await _reassign(arena, {topic: {p: nodes[:-1] for p, nodes in parts.items()} for topic, parts in before.items()})
        await asyncio.sleep(arena.random.uniform(1.0, 3.0))
        await _reassign(arena, before)
        await _until_in_sync(arena)
        arena.counts["reassignment"] += 1


def _cluster_of(arena: Arena) -> ThreeBrokers:
    assert isinstance(arena.brokers, ThreeBrokers), "it takes a cluster"
    return arena.brokers


def _direct(arena: Arena) -> str:
    """The first node itself, without what stands before it."""
    brokers = _cluster_of(arena)
    return f"127.0.0.1:{brokers.cluster.ports(brokers.names[0]).client}"


async def _partitions(arena: Arena) -> dict[str, list[dict[str, Any]]]:
    """What the cluster says of our topics, asked as a client asks: again and again, since the network may be broken as well. Raises TimeoutError."""
    async with asyncio.timeout(_IN_SYNC_SECONDS):
        while True:
            admin = make_admin(arena.installation.kafka, client_id="chaos")
            try:
                await admin.start()
                topics = await admin.describe_topics()
                return {topic["topic"]: topic["partitions"] for topic in topics if topic["topic"].startswith(arena.installation.prefix)}
            except (KafkaError, OSError):
                await asyncio.sleep(0.5)
            finally:
                await admin.close()


async def _layout(arena: Arena) -> dict[str, dict[int, list[int]]]:
    return {topic: {each["partition"]: list(each["replicas"]) for each in parts} for topic, parts in (await _partitions(arena)).items()}


async def _until_in_sync(arena: Arena) -> None:
    """As an operator waits between two steps. Raises TimeoutError."""
    async with asyncio.timeout(_IN_SYNC_SECONDS):
        while not all(len(each["isr"]) == len(each["replicas"]) >= 3 for parts in (await _partitions(arena)).values() for each in parts):  # noqa: ASYNC110
            await asyncio.sleep(0.3)


async def _reassign(arena: Arena, layout: Layout) -> None:
    topics = [
        {"name": topic, "partitions": [{"partition_index": p, "replicas": list(nodes)} for p, nodes in parts.items()]}
        for topic, parts in layout.items()
    ]
    response = await call(_direct(arena), _REASSIGN, 0, {"timeout": _WIRE_SECONDS, "topics": topics})
    assert not response.error_code, response


async def _elect(arena: Arena, topics: Sequence[str]) -> None:
    partitions = list(range(arena.installation.kafka.partitions))
    asked = [{"topic": topic, "partitions": partitions} for topic in topics]
    await call(_direct(arena), _ELECT_LEADERS, 2, {"election_type": _PREFERRED, "topic_partitions": asked, "timeout": _WIRE_SECONDS})
