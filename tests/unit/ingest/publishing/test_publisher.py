"""The publisher against a Kafka in memory: each request learns the fate of its own events, and every number given out is accounted for."""

import asyncio

import pytest
from taximeter_emitter.buffer.partition_cache import PartitionCache
from taximeter_emitter.wire.batch import Batch, encode_batch

from ingest.publishing.abandoned_numbers import AbandonedNumbers
from ingest.publishing.emitter_batches import EmitterBatch
from tests.support.emitter_batches_received import batches_of, finals, gaps, quantities
from tests.support.emitter_fake_kafka import FakeKafka
from tests.support.publishing import make, place, running, unknown
from tests.support.waiting import until_async


@pytest.fixture(autouse=True)
def _short_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    """How often the publisher looks around when nothing happens; in service, half a second."""
    monkeypatch.setattr("ingest.publishing.publisher._TURN_SECONDS", 0.02)


async def test_requests_share_batches_and_each_is_answered() -> None:
    kafka = FakeKafka()
    publisher, budget = make(kafka)

    async def request(start: int) -> bool:
        pending, placed = place(publisher, range(start, start + 10))
        await publisher.settled(pending)
        return pending.all_acknowledged and not unknown(pending, placed)

    async with running(publisher):
        assert all(await asyncio.gather(*(request(start) for start in range(0, 2_000, 10))))
        assert budget.in_flight == 0
    batches = batches_of(kafka.log)
    assert quantities(batches) == list(range(2_000))
    assert sum(bool(batch.count) for batch in batches) < 200
    assert gaps(batches) == {}
    assert sum(finals(batches).values()) == 2_000
    assert all(len(batch.ids) == 16 * batch.count for batch in batches)


async def test_a_request_without_events_is_settled_at_once() -> None:
    kafka = FakeKafka()
    publisher, _ = make(kafka)
    async with running(publisher):
        pending = publisher.place([])
        await publisher.settled(pending)
        assert pending.all_acknowledged


async def test_a_late_acknowledgement_is_unknown_to_the_request_and_no_gap_to_the_reader() -> None:
    kafka = FakeKafka(is_silent=True)
    publisher, budget = make(kafka, acknowledge_seconds=0.05)
    async with running(publisher):
        pending, request = place(publisher, [1, 2])
        await publisher.settled(pending)
        assert not pending.all_acknowledged
        assert unknown(pending, request) == [0, 1]
        assert budget.in_flight > 0
        # Long without an acknowledgement: new requests are turned away at once, and then the producer is replaced.
        await until_async(lambda: len(kafka.producers) > 1)
        await until_async(lambda: budget.in_flight == 0)
        kafka.is_silent = False
        await until_async(lambda: publisher.problem() is None)
        again, _ = place(publisher, [3])
        await publisher.settled(again)
        assert again.all_acknowledged
        await until_async(lambda: any(batch.abandoned for batch in batches_of(kafka.log)))
    batches = batches_of(kafka.log)
    assert sorted({(first, last) for batch in batches for first, last in batch.abandoned}) == [(0, 0)]
    assert finals(batches).values()


@pytest.mark.parametrize("heartbeat_seconds", [60.0, 0.05])
async def test_a_client_that_fails_in_an_unforeseen_way_is_replaced_at_once(heartbeat_seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    async def odd(*_arguments: object, **_named: object) -> None:
        raise TypeError("odd")

    kafka = FakeKafka()
    publisher, budget = make(kafka, acknowledge_seconds=30.0, heartbeat_seconds=heartbeat_seconds)
    async with running(publisher):
        monkeypatch.setattr(kafka.producers[0], "append", odd)
        pending, request = place(publisher, [1, 2])
        async with asyncio.timeout(10):
            await publisher.settled(pending)
        assert unknown(pending, request) == [0, 1]
        await until_async(lambda: len(kafka.producers) > 1 and publisher.problem() is None)
        again, _ = place(publisher, [3])
        await publisher.settled(again)
        assert again.all_acknowledged
        assert budget.in_flight == 0


def numbers_of(partition: int, count: int) -> list[int]:
    """Events whose customers are of one partition of four."""
    cache = PartitionCache(4)
    return [number for number in range(17 * count) if cache.of(f"cus_{number % 17}") == partition][:count]


async def test_a_silent_partition_is_refused_alone_and_comes_back_by_itself() -> None:
    kafka = FakeKafka(silent_partitions={1})
    publisher, budget = make(kafka, acknowledge_seconds=0.05)
    stuck, well = numbers_of(1, 3), numbers_of(2, 3)
    async with running(publisher):
        pending, request = place(publisher, stuck + well)
        await publisher.settled(pending)
        assert unknown(pending, request) == [0, 1, 2]
        await until_async(lambda: set(publisher.refused_partitions()) == {1})
        assert publisher.problem() is None
        held = budget.in_flight
        for _ in range(50):
            pending, request = place(publisher, stuck + well)
            await publisher.settled(pending)
            assert unknown(pending, request) == [0, 1, 2]
        # What is refused is not sent, and holds nothing.
        assert budget.in_flight == held
        assert len(kafka.producers) == 1
        kafka.wake()
        await until_async(lambda: not publisher.refused_partitions())
        pending, request = place(publisher, stuck)
        await publisher.settled(pending)
        assert pending.all_acknowledged
        assert budget.in_flight == 0
    # Refused events had no number yet, so nothing is missing.
    assert gaps(batches_of(kafka.log)) == {}
    assert set(finals(batches_of(kafka.log))) == {("gateway", 1), ("gateway", 2)}


async def test_a_partition_that_does_not_move_holds_no_more_than_its_share(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ingest.publishing.partition_lanes.MOVING_SECONDS", 0.02)
    kafka = FakeKafka(silent_partitions={1})
    publisher, budget = make(kafka, budget_bytes=8_000)
    async with running(publisher):
        waiting = []
        for _ in range(100):
            waiting.append(asyncio.create_task(publisher.settled(place(publisher, numbers_of(1, 5))[0])))
            await asyncio.sleep(0.005)
        assert 0 < budget.in_flight < 3_000
        pending, _ = place(publisher, numbers_of(2, 5))
        await publisher.settled(pending)
        assert pending.all_acknowledged
        kafka.wake()
        await asyncio.gather(*waiting)


async def test_all_partitions_refused_is_a_problem_of_the_gateway() -> None:
    kafka = FakeKafka(silent_partitions={0, 1, 2, 3})
    publisher, _ = make(kafka, acknowledge_seconds=0.05)
    async with running(publisher):
        for partition in range(4):
            place(publisher, numbers_of(partition, 1))
        await until_async(lambda: "acknowledged nothing" in (publisher.problem() or ""))
        kafka.wake()
        await until_async(lambda: publisher.problem() is None)


async def test_a_broken_link_fails_what_was_under_way_and_names_its_numbers() -> None:
    kafka = FakeKafka(is_silent=True, keeps=False)
    publisher, budget = make(kafka)
    async with running(publisher):
        pending, request = place(publisher, range(100))
        waiting = asyncio.create_task(publisher.settled(pending))
        await until_async(lambda: budget.in_flight > 0)
        await asyncio.sleep(0.02)
        kafka.is_silent = False
        kafka.break_producers()
        await waiting
        assert unknown(pending, request) == list(range(100))
        await until_async(lambda: publisher.problem() is None)
        retried, _ = place(publisher, range(100))
        await publisher.settled(retried)
        assert retried.all_acknowledged
    batches = batches_of(kafka.log)
    assert quantities(batches) == list(range(100))
    missing = gaps(batches)
    abandoned = {key: list(pairs) for key, pairs in ((("gateway", batch.partition), batch.abandoned) for batch in batches) if pairs}
    # Every number that is missing was named, once.
    assert missing == abandoned


async def test_while_kafka_is_away_the_publisher_says_so_and_comes_back_by_itself() -> None:
    kafka = FakeKafka(is_away=True)
    publisher, _ = make(kafka)
    task = asyncio.create_task(publisher.run())
    await until_async(lambda: len(kafka.producers) > 1)
    assert publisher.problem() == "nobody answers"
    kafka.is_away = False
    await until_async(lambda: publisher.problem() is None)
    await publisher.close(1.0)
    await task


async def test_a_publisher_that_never_reached_kafka_closes() -> None:
    kafka = FakeKafka(is_away=True)
    publisher, _ = make(kafka)
    task = asyncio.create_task(publisher.run())
    await until_async(lambda: len(kafka.producers) > 1)
    await publisher.close(1.0)
    await task


async def test_the_topic_must_not_change_its_partitions() -> None:
    kafka = FakeKafka()
    publisher, _ = make(kafka)
    async with running(publisher):
        pending, _ = place(publisher, [1])
        await publisher.settled(pending)
        kafka.partitions = 8
        kafka.is_silent = True
        place(publisher, [2])
        await asyncio.sleep(0.02)
        kafka.break_producers()
        await until_async(lambda: "8 partitions now" in (publisher.problem() or ""))
        kafka.partitions, kafka.is_silent = 4, False
        await until_async(lambda: publisher.problem() is None)


async def test_silence_is_broken_by_heartbeats() -> None:
    kafka = FakeKafka()
    publisher, _ = make(kafka, heartbeat_seconds=0.01)
    async with running(publisher):
        await publisher.settled(place(publisher, [1])[0])
        await until_async(lambda: sum(not batch.count for batch in batches_of(tuple(kafka.log))) >= 2)


def test_abandoned_numbers_are_told_until_kafka_has_heard_them() -> None:
    numbers = AbandonedNumbers()
    numbers.add(3, 0, 4)
    numbers.add(3, 5, 9)
    numbers.add(3, 20, 20)
    assert numbers.of(3) == ((0, 9), (20, 20))
    # It grows while the heartbeat is under way: what was offered must not change.
    numbers.add(3, 21, 22)
    numbers.told(3)
    assert numbers.of(3) == ((21, 22),)
    numbers.told(3)
    assert not numbers.has(3)
    assert numbers.of(4) == ()
    numbers.told(4)


async def test_the_batches_of_emitters_pass_as_they_are_and_their_numbers_stay_theirs() -> None:
    kafka = FakeKafka(silent_partitions={3})
    publisher, budget = make(kafka, acknowledge_seconds=0.2)
    batches = [EmitterBatch(number % 4, 5, encode_batch(Batch("an emitter", number % 4, 5 * number, 0))) for number in range(12)]
    async with running(publisher):
        assert publisher.partitions == 4
        pending = publisher.pass_on(batches)
        await publisher.settled(pending, seconds_max=0.05)
        assert [batch.partition for batch in batches if pending.is_unknown(batch)] == [3, 3, 3]
        assert [value for partition, value in kafka.log if partition == 2] == [batch.value for batch in batches if batch.partition == 2]
        # The silent partition is refused by now: what is of it fails at once, and nothing else does.
        await until_async(lambda: 3 in publisher.refused_partitions())
        later = publisher.pass_on(batches)
        await publisher.settled(later)
        assert [batch.partition for batch in batches if later.is_unknown(batch)] == [3, 3, 3]
        kafka.break_producers()
        await until_async(lambda: len(kafka.producers) > 1 and publisher.problem() is None)
        # What broke with the producer are numbers of the emitter's, of which the gateway's own heartbeats say nothing.
        await publisher.settled(place(publisher, range(8))[0])
    assert budget.in_flight == 0
    own = [batch for batch in batches_of(kafka.log) if batch.emitter == "gateway"]
    assert [batch for batch in own if batch.abandoned and batch.partition != 3] == []
    assert all(first < 8 for batch in own for first, _ in batch.abandoned)
