import asyncio
from dataclasses import replace

import pytest
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.limits import DAY_MS, EVENT_RECORD_BYTES_MAX

from metering.kafka.clients import KafkaSettings
from metering.kafka.provision import TopicState, check_topics, ensure_topics, ensure_topics_unless_stopped
from metering.kafka.topics import TopicSpec, topics_named
from metering.records.service_limits import CHAIN_RECORD_BYTES_MAX

TOPICS = topics_named("usage")


def as_created(spec: TopicSpec, changed: dict[str, str] | None = None, *, replicas: int = 1) -> TopicState:
    configuration = spec.configuration(min_insync_replicas=2 if replicas >= 3 else 1) | (changed or {})
    return TopicState(name=spec.name, partitions=spec.partitions_of(4), replicas=replicas, configuration=configuration)


def problems(state: TopicState, *, copies: int = 1) -> list[str]:
    return check_topics([TOPICS.events], {TOPICS.events.name: state}, partitions=4, copies=copies)


def test_retention_and_sizes_are_what_the_design_says() -> None:
    by_name = {spec.name: spec.configuration(min_insync_replicas=2) for spec in TOPICS}
    assert by_name["usage.events"]["retention.ms"] == str(40 * DAY_MS)
    assert by_name["usage.tallies"]["retention.ms"] == "-1"
    assert by_name["usage.ledger"]["retention.ms"] == "-1"
    assert by_name["usage.deadletters"]["retention.ms"] == str(400 * DAY_MS)
    for configuration in by_name.values():
        assert configuration["message.timestamp.type"] == "LogAppendTime"
        assert configuration["cleanup.policy"] == "delete"
        assert configuration["min.insync.replicas"] == "2"
    assert int(by_name["usage.events"]["max.message.bytes"]) > EVENT_RECORD_BYTES_MAX
    assert int(by_name["usage.ledger"]["max.message.bytes"]) > CHAIN_RECORD_BYTES_MAX
    assert int(by_name["usage.deadletters"]["max.message.bytes"]) > int(by_name["usage.events"]["max.message.bytes"])


def test_topics_as_they_are_created_have_no_problem() -> None:
    for replicas in (1, 3):
        states = {spec.name: as_created(spec, replicas=replicas) for spec in TOPICS}
        assert check_topics(TOPICS, states, partitions=4, copies=replicas) == []


@pytest.mark.parametrize(
    ("changed", "fragment"),
    [
        ({"message.timestamp.type": "CreateTime"}, "message.timestamp.type=CreateTime"),
        ({"cleanup.policy": "compact,delete"}, "cleanup.policy=compact,delete"),
        ({"retention.ms": str(40 * DAY_MS - 1)}, "kept for at least 40 days"),
        ({"retention.bytes": "1000000000"}, "retention by size"),
        ({"max.message.bytes": "1000000"}, "would be refused"),
        ({"unclean.leader.election.enable": "true"}, "unclean.leader.election.enable"),
    ],
)
def test_a_setting_that_would_lose_usage_is_named_with_the_way_out(changed: dict[str, str], fragment: str) -> None:
    (problem,) = problems(as_created(TOPICS.events, changed))
    assert fragment in problem
    assert "Set it with kafka-configs --add-config" in problem


def test_unlimited_retention_is_enough() -> None:
    assert problems(as_created(TOPICS.events, {"retention.ms": "-1"})) == []


def test_three_copies_need_two_in_sync_and_one_copy_cannot() -> None:
    (problem,) = problems(as_created(TOPICS.events, {"min.insync.replicas": "1"}, replicas=3))
    assert "min.insync.replicas=1" in problem
    assert problems(as_created(TOPICS.events, replicas=1)) == []


def test_fewer_copies_than_were_asked_for_are_a_problem_and_so_is_a_quorum_of_all() -> None:
    (problem,) = problems(as_created(TOPICS.events, replicas=2), copies=3)
    assert "a partition with 2 of 3 copies" in problem
    assert "TAXIMETER_KAFKA_REPLICATION_FACTOR=2" in problem
    assert problems(as_created(TOPICS.events, replicas=2), copies=2) == []
    assert problems(as_created(TOPICS.events, replicas=5), copies=3) == []
    (problem,) = problems(as_created(TOPICS.events, {"min.insync.replicas": "3"}, replicas=3), copies=3)
    assert "nothing could be written while any broker is away" in problem


def test_fewer_than_three_copies_are_no_default() -> None:
    assert KafkaSettings(bootstrap_servers=("a:1",)).replication_factor == 3


def test_a_topic_says_its_copies_and_how_many_acknowledge() -> None:
    assert str(as_created(TOPICS.events)) == "usage.events: 4 partitions, 1 copy, 1 in sync to acknowledge"
    assert str(as_created(TOPICS.events, replicas=3)) == "usage.events: 4 partitions, 3 copies, 2 in sync to acknowledge"


def test_a_setting_that_the_cluster_does_not_tell_is_a_problem_where_money_depends_on_it() -> None:
    silent = TopicState(name="usage.events", partitions=4, replicas=1, configuration={})
    assert [problem.split("=")[0] for problem in problems(silent)] == [
        "topic usage.events has message.timestamp.type",
        "topic usage.events has cleanup.policy",
        "topic usage.events has retention.ms",
        "topic usage.events has max.message.bytes",
    ]


def test_another_number_of_partitions_is_refused() -> None:
    (problem,) = problems(replace(as_created(TOPICS.events), partitions=6))
    assert "has 6 partitions, TAXIMETER_KAFKA_PARTITIONS is 4" in problem


def test_a_topic_without_leaders_is_a_problem() -> None:
    (problem,) = check_topics([TOPICS.events], {}, partitions=4, copies=1)
    assert "usage.events" in problem
    assert "without a leader" in problem


async def test_the_wait_for_a_cluster_ends_when_the_service_has_to_stop() -> None:
    settings = KafkaSettings(bootstrap_servers=("127.0.0.1:1",), startup_timeout_seconds=60.0)
    stop = asyncio.Event()
    waiting = asyncio.create_task(ensure_topics_unless_stopped(settings, settings.topics, clock=SystemClock(), stop=stop))
    await asyncio.sleep(0.2)
    assert not waiting.done()
    stop.set()
    async with asyncio.timeout(5):
        assert await waiting is None


async def test_a_cluster_that_cannot_be_reached_is_the_problem() -> None:
    settings = KafkaSettings(bootstrap_servers=("127.0.0.1:1",), startup_timeout_seconds=0.3)
    (problem,) = await ensure_topics(settings, settings.topics, clock=SystemClock())
    assert problem.startswith("the topics cannot be checked on 127.0.0.1:1: ")
