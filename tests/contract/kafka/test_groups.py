"""What Taximeter relies on when consumer groups share out the partitions."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, OffsetAndMetadata, TopicPartition
from aiokafka.errors import CommitFailedError
from kio.schema.errors import ErrorCode

from tests.support.broker_clients import admin_on, consumer_on, poll_until, producer_on, read_records
from tests.support.broker_topics import make_topic, unique_name
from tests.support.broker_wire import call

#: Sessions short enough for a test and long enough for a machine that is busy.
QUICK = {"session_timeout_ms": 1_500, "heartbeat_interval_ms": 200, "rebalance_timeout_ms": 5_000, "max_poll_interval_ms": 10_000}

_MEMBER_PROGRAM = """
import asyncio, sys
from aiokafka import AIOKafkaConsumer

async def main(bootstrap, topic, group, instance):
    consumer = AIOKafkaConsumer(
        topic, bootstrap_servers=bootstrap, group_id=group, group_instance_id=instance or None, enable_auto_commit=False,
        auto_offset_reset="earliest", session_timeout_ms=1500, heartbeat_interval_ms=200,
    )
    await consumer.start()
    while True:
        await consumer.getmany(timeout_ms=100)

asyncio.run(main(*sys.argv[1:]))
"""


class _Rebalances(ConsumerRebalanceListener):  # type: ignore[misc]  # aiokafka ships no types
    """Counts the assignments that a member has been through."""

    def __init__(self) -> None:
        self.assigned: list[set[int]] = []

    async def on_partitions_revoked(self, revoked: set[TopicPartition]) -> None:
        """Nothing to give up."""

    async def on_partitions_assigned(self, assigned: set[TopicPartition]) -> None:
        self.assigned.append({partition.partition for partition in assigned})


@contextmanager
def _member_process(bootstrap: str, topic: str, group: str, instance: str = "") -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", _MEMBER_PROGRAM, bootstrap, topic, group, instance])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def _shares(*members: AIOKafkaConsumer) -> list[int]:
    return sorted(len(member.assignment()) for member in members)


def _disjoint(*members: AIOKafkaConsumer) -> bool:
    everything = [partition for member in members for partition in member.assignment()]
    return len(everything) == len(set(everything))


async def test_two_members_split_the_partitions_and_one_takes_all_when_the_other_leaves(kafka: str) -> None:
    topic = await make_topic(kafka, partitions=6)
    group = unique_name("group")
    options = {"group_id": group, "auto_offset_reset": "earliest", **QUICK}
    async with consumer_on(kafka, topic, **options) as first:
        await poll_until([first], lambda: _shares(first) == [6])
        async with consumer_on(kafka, topic, **options) as second:
            await poll_until([first, second], lambda: _shares(first, second) == [3, 3] and _disjoint(first, second))
            async with producer_on(kafka) as producer:
                for partition in range(6):
                    await producer.send_and_wait(topic, b"x", partition=partition)
            got = {record.partition for member in (first, second) for record in await read_records(member, 3)}
            assert got == set(range(6))
        await poll_until([first], lambda: _shares(first) == [6])


@pytest.mark.parametrize("static", [False, True], ids=["dynamic", "static"])
async def test_the_partitions_of_a_killed_member_move_when_its_session_ends(kafka: str, static: bool) -> None:
    topic = await make_topic(kafka, partitions=4)
    group = unique_name("group")
    with _member_process(kafka, topic, group, "other" if static else "") as process:
        own = {"group_instance_id": "own"} if static else {}
        async with consumer_on(kafka, topic, group_id=group, auto_offset_reset="earliest", **QUICK, **own) as survivor:
            await poll_until([survivor], lambda: _shares(survivor) == [2])
            os.kill(process.pid, signal.SIGKILL)
            await poll_until([survivor], lambda: _shares(survivor) == [4])


async def test_a_static_member_that_restarts_in_time_gets_its_partitions_back_without_a_rebalance(kafka: str) -> None:
    topic = await make_topic(kafka, partitions=4)
    group = unique_name("group")
    options = {"group_id": group, "auto_offset_reset": "earliest", **QUICK, "session_timeout_ms": 8_000}
    rebalances = _Rebalances()
    steady = AIOKafkaConsumer(bootstrap_servers=kafka, enable_auto_commit=False, group_instance_id="steady", **options)
    steady.subscribe([topic], listener=rebalances)
    await steady.start()
    try:
        async with consumer_on(kafka, topic, group_instance_id="restarted", **options) as other:
            await poll_until([steady, other], lambda: _shares(steady, other) == [2, 2])
            before = other.assignment()
        assignments = len(rebalances.assigned)
        async with consumer_on(kafka, topic, group_instance_id="restarted", **options) as other:
            await poll_until([steady, other], lambda: other.assignment() == before)
            for _ in range(10):
                await steady.getmany(timeout_ms=50)
            assert len(rebalances.assigned) == assignments
            assert _disjoint(steady, other)
    finally:
        await steady.stop()


async def test_the_predecessor_of_a_static_member_is_fenced(kafka: str) -> None:
    topic = await make_topic(kafka, partitions=1)
    group = unique_name("group")
    options = {"group_id": group, "auto_offset_reset": "earliest", "group_instance_id": "same", **QUICK}
    async with consumer_on(kafka, topic, **options) as old:
        await poll_until([old], lambda: _shares(old) == [1])
        old_member, old_generation = old._coordinator.member_id, old._coordinator.generation
        async with consumer_on(kafka, topic, **options) as new:
            await poll_until([new], lambda: _shares(new) == [1])
            assert await _commit(kafka, group, topic, old_member, old_generation, instance="same") is ErrorCode.fenced_instance_id
            assert await _commit(kafka, group, topic, new._coordinator.member_id, new._coordinator.generation) is ErrorCode.none


async def test_a_commit_of_an_old_generation_or_a_stranger_is_refused(kafka: str) -> None:
    topic = await make_topic(kafka, partitions=2)
    group = unique_name("group")
    async with consumer_on(kafka, topic, group_id=group, auto_offset_reset="earliest", **QUICK) as member:
        await poll_until([member], lambda: _shares(member) == [2])
        member_id, generation = member._coordinator.member_id, member._coordinator.generation
        assert await _commit(kafka, group, topic, member_id, generation - 1) is ErrorCode.illegal_generation
        assert await _commit(kafka, group, topic, "stranger", generation) is ErrorCode.unknown_member_id
        assert await _commit(kafka, group, topic, "", -1) is ErrorCode.unknown_member_id
        assert await _commit(kafka, group, topic, member_id, generation) is ErrorCode.none


async def test_a_member_that_lost_its_place_cannot_commit(kafka: str) -> None:
    topic = await make_topic(kafka, partitions=1)
    group = unique_name("group")
    async with consumer_on(kafka, topic, group_id=group, auto_offset_reset="earliest", **QUICK) as member:
        await poll_until([member], lambda: _shares(member) == [1])
        leave = {"group_id": group, "member_id": member._coordinator.member_id}
        await call(kafka, 13, 1, leave)
        with pytest.raises(CommitFailedError):
            await member.commit({TopicPartition(topic, 0): 1})


async def test_a_commit_comes_back_with_its_metadata(kafka: str) -> None:
    topic = await make_topic(kafka, partitions=2)
    group = unique_name("group")
    first, second = TopicPartition(topic, 0), TopicPartition(topic, 1)
    async with producer_on(kafka) as producer:
        for number in range(10):
            await producer.send_and_wait(topic, b"%d" % number, partition=0)
    async with consumer_on(kafka, topic, group_id=group, auto_offset_reset="earliest", **QUICK) as member:
        await poll_until([member], lambda: _shares(member) == [2])
        await member.commit({first: OffsetAndMetadata(7, '{"chain": 41, "é": 1}'), second: OffsetAndMetadata(0, "")})
    async with admin_on(kafka) as admin:
        committed = await admin.list_consumer_group_offsets(group)
        assert {key: (value.offset, value.metadata) for key, value in committed.items()} == {
            first: (7, '{"chain": 41, "é": 1}'),
            second: (0, ""),
        }
    async with consumer_on(kafka, topic, group_id=group, **QUICK) as member:
        (record, *_) = await read_records(member, 3)
        assert (record.partition, record.offset) == (0, 7)
        assert await member.committed(first) == 7


async def test_offsets_of_an_empty_group_can_be_set_from_outside(kafka: str) -> None:
    topic = await make_topic(kafka)
    group = unique_name("group")
    assert await _commit(kafka, group, topic, "", -1, offset=3) is ErrorCode.none
    async with admin_on(kafka) as admin:
        committed = await admin.list_consumer_group_offsets(group)
        assert committed[TopicPartition(topic, 0)].offset == 3


async def test_groups_are_listed_and_described(kafka: str) -> None:
    topic = await make_topic(kafka, partitions=2)
    group = unique_name("group")
    async with consumer_on(kafka, topic, group_id=group, auto_offset_reset="earliest", **QUICK) as member, admin_on(kafka) as admin:
        await poll_until([member], lambda: _shares(member) == [2])
        assert (group, "consumer") in await admin.list_consumer_groups()
        assert await _described(admin, group) == ("Stable", 1)
        await member.commit({TopicPartition(topic, 0): 0})
        await member.stop()
        assert await _described(admin, group) == ("Empty", 0)


async def test_ten_members_come_and_go_and_each_record_is_seen_by_its_owner(kafka: str) -> None:
    topic = await make_topic(kafka, partitions=10)
    group = unique_name("group")
    options = {"group_id": group, "auto_offset_reset": "earliest", **QUICK}
    members = [AIOKafkaConsumer(topic, bootstrap_servers=kafka, enable_auto_commit=False, **options) for _ in range(5)]
    try:
        await asyncio.gather(*(member.start() for member in members))
        await poll_until(members, lambda: _shares(*members) == [2] * 5 and _disjoint(*members))
        await asyncio.gather(*(member.stop() for member in members[:3]))
        await poll_until(members[3:], lambda: _shares(*members[3:]) == [5, 5] and _disjoint(*members[3:]))
    finally:
        await asyncio.gather(*(member.stop() for member in members))


async def _described(admin: object, group: str) -> tuple[str, int]:
    (response,) = await admin.describe_consumer_groups([group])  # type: ignore[attr-defined]  # aiokafka ships no types
    (described,) = response.groups
    return described[2], len(described[5])


async def _commit(bootstrap: str, group: str, topic: str, member: str, generation: int, *, instance: str | None = None, offset: int = 1) -> ErrorCode:
    """Commit as anyone, in any generation; waits for a coordinator that is still loading."""
    request = {
        "group_id": group,
        "generation_id_or_member_epoch": generation,
        "member_id": member,
        "group_instance_id": instance,
        "topics": [{"name": topic, "partitions": [{"partition_index": 0, "committed_offset": offset, "committed_metadata": ""}]}],
    }
    for _ in range(100):
        response = await call(bootstrap, 8, 7, request)
        error: ErrorCode = response.topics[0].partitions[0].error_code
        if error not in {ErrorCode.coordinator_load_in_progress, ErrorCode.not_coordinator, ErrorCode.coordinator_not_available}:
            return error
        await asyncio.sleep(0.05)
    raise AssertionError("the coordinator never came")
