"""Positions of partitions when Kafka answers about some only."""

import asyncio
from dataclasses import replace

import pytest
from taximeter_emitter.clock import SystemClock

from audit import positions
from audit.positions import PartitionPosition, Positions, all_settled
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogUnavailable

KAFKA = KafkaSettings(bootstrap_servers=("127.0.0.1:9",), partitions=20)


async def _position(_reader: object, partition: int, _hours: float) -> PartitionPosition:
    if partition % 5 == 3:
        raise LogUnavailable("nobody leads it")
    if partition % 5 == 4:
        await asyncio.sleep(600)
    return replace(PartitionPosition.not_read(partition, ""), events_end=0, readable_end=0, counted_to=0, tallies_end=0, reported_to=0)


@pytest.fixture(autouse=True)
def _kafka(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("audit.positions._PositionReader._partition", _position)


async def test_a_partition_that_kafka_does_not_answer_about_is_a_row_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "PARTITION_SECONDS_MAX", 0.05)
    found = await Positions(KAFKA, SystemClock()).read()
    assert [each.partition for each in found] == list(range(20))
    assert {each.partition for each in found if each.unread} == {partition for partition in range(20) if partition % 5 >= 3}
    assert found[3].unread == "nobody leads it"
    assert "did not answer within" in found[4].unread
    assert found[3].uncounted == found[3].unreported == 0
    assert not all_settled(found)
    assert all_settled([each for each in found if not each.unread])


async def test_all_of_it_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(positions, "READERS", 2)
    found = await Positions(KAFKA, SystemClock()).read(seconds_max=0.05)
    assert [each.partition for each in found] == list(range(20))
    assert found[0].unread == ""
    assert found[19].unread.startswith("not asked")
