"""The Emitter against a Kafka in memory: never raises, loses nothing that it has room for, counts whatever it lets go."""

import asyncio
import copy
import os
import pickle
import signal
import threading
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from taximeter_emitter.buffer.batching import Batcher, PartitionBatch
from taximeter_emitter.buffer.partition_cache import PartitionCache
from taximeter_emitter.deadlines import work_to_the_end
from taximeter_emitter.emitter import MEBIBYTE, Emitter
from taximeter_emitter.spool.encoded_batch import EncodedBatch
from taximeter_emitter.spool.spool import Spool
from taximeter_emitter.spool.spool_file import take_over
from taximeter_emitter.transports.batch_producer import ProducerFailed, RecordHeaders
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import fingerprint

from tests.support.emitter_batches_received import batches_of, finals, gaps, quantities
from tests.support.emitter_fake_kafka import FakeKafka, FakeProducer
from tests.support.waiting import until


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """How long the background work waits when nothing happens, after a crash, and until a batch is safe on disk."""
    monkeypatch.setattr("taximeter_emitter.sender._IDLE_SECONDS", 0.05)
    monkeypatch.setattr("taximeter_emitter.background._RESTART_SECONDS", 0.05)
    monkeypatch.setattr("taximeter_emitter.emitter._SECURE_SECONDS", 0.1)


@pytest.fixture
def kafka() -> FakeKafka:
    return FakeKafka()


@pytest.fixture
def opened() -> Iterator[list[Emitter]]:
    emitters: list[Emitter] = []
    yield emitters
    for emitter in emitters:
        emitter.close(0.5)


def make(kafka: FakeKafka, opened: list[Emitter], **options: Any) -> Emitter:
    chosen: dict[str, Any] = {"linger_ms": 5, "give_up_seconds": 0.3, "source": "test", "bootstrap_servers": "unused:1"} | options
    emitter = Emitter(new_producer=kafka.new_producer, **chosen)
    opened.append(emitter)
    return emitter


def emit_numbers(emitter: Emitter, numbers: range) -> int:
    return sum(emitter.emit(customer=f"cus_{number % 17}", usage={"n": number}) for number in numbers)


def test_every_event_arrives_and_the_last_word_says_how_many(kafka: FakeKafka, opened: list[Emitter]) -> None:
    emitter = make(kafka, opened)
    assert emit_numbers(emitter, range(3_000)) == 3_000
    stats = emitter.close()
    batches = batches_of(kafka.log)
    assert quantities(batches) == list(range(3_000))
    assert gaps(batches) == {}
    assert sum(finals(batches).values()) == 3_000 == stats.counts.sent == stats.counts.emitted
    assert stats.counts.lost == stats.counts.dropped == 0
    assert emitter.close().counts == stats.counts


@pytest.mark.parametrize("with_disk", [True, False])
def test_a_partition_that_kafka_does_not_take_keeps_no_other_waiting(
    kafka: FakeKafka, opened: list[Emitter], tmp_path: Path, with_disk: bool
) -> None:
    kafka.silent_partitions = {1}
    emitter = make(kafka, opened, spool_dir=tmp_path if with_disk else None, give_up_seconds=600.0)
    of_each = PartitionCache(4)
    customers = {of_each.of(f"cus_{number}"): f"cus_{number}" for number in range(40)}
    silent = 0
    for round_ in range(60):
        for partition, customer in customers.items():
            assert emitter.emit(customer=customer, usage={"n": 10_000 * partition + round_})
            silent += partition == 1
        until(partial(_has_sent, emitter, 3 * (round_ + 1)))
    stats = emitter.stats()
    assert stats.counts.sent == 3 * 60
    assert len(kafka.producers) == 1
    if with_disk:
        # Of the silent partition alone, batches go to disk.
        until(lambda: emitter.stats().spooled_events == silent)
    kafka.wake()
    stats = emitter.close(20.0)
    assert stats.counts.sent == stats.counts.emitted
    assert stats.counts.lost == 0
    batches = batches_of(kafka.log)
    assert gaps(batches) == {}
    assert quantities(batches) == sorted(10_000 * partition + number for partition in range(4) for number in range(60))


def _has_sent(emitter: Emitter, events: int) -> bool:
    return emitter.stats().counts.sent >= events


def test_events_carry_what_was_given(kafka: FakeKafka, opened: list[Emitter]) -> None:
    emitter = make(kafka, opened)
    time = datetime(2025, 11, 22, 10, 0, 0, 250_000, tzinfo=UTC)
    assert emitter.emit(customer="cus_1", usage={"n": 7}, dimensions={"model": "alpaca"}, event_id="r-1", time=time)
    assert emitter.emit(customer="cus_1", usage={"n": 8}, time="2025-11-22T11:00:00+01:00")
    emitter.close()
    (batch,) = [batch for batch in batches_of(kafka.log) if batch.count]
    assert [batch.base_time_ms + offset for offset in batch.time] == [1_763_805_600_250, 1_763_805_600_000]
    assert [batch.dimensions[batch.series_dimensions[at]] for at in batch.at] == [(("model", "alpaca"),), ()]
    assert batch.ids == fingerprint("test", "r-1") + bytes(16)
    assert batch.stamped is False


def test_a_batch_says_which_times_the_emitter_set(kafka: FakeKafka, opened: list[Emitter]) -> None:
    emitter = make(kafka, opened)
    assert emitter.emit(customer="cus_1", usage={"n": 1})
    assert emitter.emit(customer="cus_1", usage={"n": 2}, time="1970-01-01T00:00:00Z")
    emitter.close()
    (batch,) = [batch for batch in batches_of(kafka.log) if batch.count]
    assert not isinstance(batch.stamped, bool)
    assert list(batch.stamped) == [1, 0]
    assert batch.base_time_ms + batch.time[1] == 0
    other = make(kafka, opened)
    assert other.emit(customer="cus_1", usage={"n": 1})
    other.close()
    assert [batch.stamped for batch in batches_of(kafka.log) if batch.emitter == other.stats().emitter and batch.count] == [True]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"customer": ""}, Reason.MISSING_FIELD),
        ({"customer": None}, Reason.NULL_VALUE),
        ({"customer": "c" * 129}, Reason.TOO_LONG),
        ({"customer": "\ud800"}, Reason.WRONG_TYPE),
        ({"usage": {}}, Reason.MISSING_FIELD),
        ({"usage": None}, Reason.NULL_VALUE),
        ({"usage": {"n": 1.5}}, Reason.NOT_AN_INTEGER),
        ({"usage": {"n": True}}, Reason.WRONG_TYPE),
        ({"usage": {"n": -1}}, Reason.NEGATIVE),
        ({"usage": {"n": 10**5_000}}, Reason.WRONG_TYPE),
        ({"usage": {7: 1}}, Reason.WRONG_TYPE),
        ({"usage": {"other": 1}}, Reason.UNKNOWN_USAGE_FIELD),
        ({"dimensions": {"model": 1}}, Reason.WRONG_TYPE),
        ({"dimensions": {"model": "\ud800"}}, Reason.WRONG_TYPE),
        ({"dimensions": 7}, Reason.WRONG_TYPE),
        ({"event_id": "i" * 129}, Reason.TOO_LONG),
        ({"event_id": 3}, Reason.WRONG_TYPE),
        ({"time": datetime(2025, 1, 1)}, Reason.BAD_TIME),  # noqa: DTZ001  # that is the fault
        ({"time": "soon"}, Reason.BAD_TIME),
        ({"time": datetime(2100, 1, 1, tzinfo=UTC)}, Reason.IN_FUTURE),
        ({"time": 3}, Reason.WRONG_TYPE),
    ],
)
def test_bad_arguments_are_counted_by_reason_and_never_raise(kafka: FakeKafka, opened: list[Emitter], change: dict[str, Any], reason: Reason) -> None:
    told: list[tuple[Reason, Mapping[str, Any]]] = []

    def on_rejected(refusal: EventRejected, arguments: Mapping[str, Any]) -> None:
        told.append((refusal.reason, arguments))
        raise RuntimeError("the callback is broken, too")

    emitter = make(kafka, opened, on_rejected=on_rejected, usage_fields=["n"])
    good: dict[str, Any] = {"customer": "cus_1", "usage": {"n": 1}}
    assert emitter.emit(**(good | change)) is False
    assert emitter.emit(**good) is True
    stats = emitter.close()
    assert stats.counts.rejected == {reason: 1}
    assert stats.counts.callback_failures == 1
    assert [reason_told for reason_told, _ in told] == [reason]
    assert told[0][1]["customer"] == (good | change)["customer"]
    assert stats.counts.sent == 1


@pytest.mark.parametrize("usage_fields", [None, ["n"]])
def test_zeros_of_unknown_fields_are_taken_as_the_gateway_takes_them(kafka: FakeKafka, opened: list[Emitter], usage_fields: list[str] | None) -> None:
    emitter = make(kafka, opened, usage_fields=usage_fields)
    for usage in ({"other": 0}, {"n": 1, "other": 0}, {"another": 0, "other": 0}, {"other": 0}):
        assert emitter.emit(customer="cus_1", usage=usage)
    assert emitter.emit(customer="cus_1", usage={"other": 1}) is (usage_fields is None)
    counts = emitter.close().counts
    assert counts.rejected == ({} if usage_fields is None else {Reason.UNKNOWN_USAGE_FIELD: 1})
    assert sum(quantity for batch in batches_of(kafka.log) for quantity in batch.usage.get("n", ())) == 1


def test_the_caller_may_change_its_dict_afterwards(kafka: FakeKafka, opened: list[Emitter]) -> None:
    emitter = make(kafka, opened)
    usage = {"n": 1}
    for number in range(10):
        usage["n"] = number
        emitter.emit(customer="c", usage=usage)
    emitter.close()
    assert quantities(batches_of(kafka.log)) == list(range(10))


def test_what_fails_is_sent_again_as_it_was(kafka: FakeKafka, opened: list[Emitter]) -> None:
    kafka.is_silent = True
    emitter = make(kafka, opened)
    emit_numbers(emitter, range(500))
    until(lambda: len(kafka.log) >= 4)
    until(lambda: len(kafka.producers) >= 3)  # it gave up twice, because nothing was acknowledged
    kafka.is_silent = False
    stats = emitter.close()
    batches = batches_of(kafka.log)
    assert quantities(batches) == list(range(500))
    assert len(batches) > len({(batch.partition, batch.first_seq, batch.count) for batch in batches})
    assert stats.counts.sent == 500
    assert stats.counts.batches_retried > 0


def test_while_kafka_is_away_batches_go_to_disk_and_come_back_in_order(kafka: FakeKafka, opened: list[Emitter], tmp_path: Path) -> None:
    emitter = make(kafka, opened, spool_dir=tmp_path)
    emit_numbers(emitter, range(100))
    until(lambda: emitter.stats().counts.sent == 100)
    kafka.is_away = True
    emit_numbers(emitter, range(100, 600))
    until(lambda: emitter.stats().spooled_events == 500)
    assert emitter.stats().memory_bytes == 0
    emit_numbers(emitter, range(600, 900))
    kafka.is_away = False
    until(lambda: emitter.stats().counts.sent == 900)
    stats = emitter.close()
    batches = batches_of(kafka.log)
    assert quantities(batches) == list(range(900))
    for partition in range(kafka.partitions):
        firsts = [batch.first_seq for batch in batches if batch.partition == partition]
        assert firsts == sorted(firsts)
    assert (stats.spooled_events, stats.counts.lost) == (0, 0)
    assert not list(tmp_path.glob("*.spool"))


def test_the_next_life_sends_what_a_closed_one_had_to_leave_on_disk(kafka: FakeKafka, opened: list[Emitter], tmp_path: Path) -> None:
    kafka.is_away = True
    first = make(kafka, opened, spool_dir=tmp_path, partitions=4)
    emit_numbers(first, range(200))
    stats = first.close()
    assert (stats.counts.spooled, stats.counts.sent, stats.counts.lost) == (200, 0, 0)
    kafka.is_away = False
    second = make(kafka, opened, spool_dir=tmp_path)
    emit_numbers(second, range(200, 300))
    until(lambda: second.stats().counts.adopted == 200)
    second.close()
    batches = batches_of(kafka.log)
    assert quantities(batches) == list(range(300))
    assert sum(finals(batches).values()) == 300
    assert gaps(batches) == {}
    assert not list(tmp_path.glob("*.spool*"))


def test_without_partitions_events_wait_in_memory_and_are_counted_as_lost_at_the_end(kafka: FakeKafka, opened: list[Emitter]) -> None:
    kafka.is_away = True
    emitter = make(kafka, opened)
    emit_numbers(emitter, range(10))
    stats = emitter.close(0.3)
    assert (stats.counts.lost, stats.counts.numbered) == (10, 0)
    assert "nobody answers" in stats.last_error


def test_a_full_buffer_drops_and_counts_and_says_so_in_the_last_word(kafka: FakeKafka, opened: list[Emitter]) -> None:
    kafka.is_away = True
    emitter = make(kafka, opened, memory_bytes_max=MEBIBYTE)
    taken = emit_numbers(emitter, range(20_000))
    assert 0 < taken < 20_000
    assert emitter.stats().memory_bytes <= MEBIBYTE
    kafka.is_away = False
    stats = emitter.close()
    batches = batches_of(kafka.log)
    assert stats.counts.dropped == 20_000 - taken
    assert quantities(batches) == list(range(taken))
    # Told once: one partition speaks for all of the emitter's drops.
    assert sum(batch.dropped for batch in batches if batch.final) == stats.counts.dropped
    assert emitter.emit(customer="late", usage={"n": 1}) is False
    assert emitter.stats().counts.dropped == stats.counts.dropped + 1


def test_a_full_spool_bounds_the_disk_and_then_memory_fills(kafka: FakeKafka, opened: list[Emitter], tmp_path: Path) -> None:
    kafka.is_away = True
    emitter = make(kafka, opened, spool_dir=tmp_path, spool_bytes_max=MEBIBYTE, memory_bytes_max=MEBIBYTE, partitions=4)
    number = 0

    def emit_until_full() -> bool:
        nonlocal number
        for _ in range(1_000):
            if not emitter.emit(customer=f"customer {number} {'x' * 100}", usage={"n": number}):
                return emitter.stats().spool_bytes > 0.7 * MEBIBYTE
            number += 1
        return False

    until(emit_until_full)
    assert emitter.stats().spool_bytes <= MEBIBYTE
    kafka.is_away = False
    until(lambda: emitter.stats().counts.sent == number)
    emitter.close()
    assert quantities(batches_of(kafka.log)) == list(range(number))


def test_block_waits_for_room(kafka: FakeKafka, opened: list[Emitter]) -> None:
    kafka.is_away = True
    emitter = make(kafka, opened, memory_bytes_max=MEBIBYTE, when_full="block")
    thread = threading.Thread(target=emit_numbers, args=(emitter, range(20_000)))
    thread.start()
    until(lambda: emitter.stats().memory_bytes > 0.99 * MEBIBYTE)
    kafka.is_away = False
    thread.join()
    stats = emitter.close()
    assert (stats.counts.dropped, stats.counts.sent) == (0, 20_000)
    assert quantities(batches_of(kafka.log)) == list(range(20_000))


def test_a_blocked_caller_is_let_go_when_the_emitter_closes(kafka: FakeKafka, opened: list[Emitter]) -> None:
    kafka.is_away = True
    emitter = make(kafka, opened, memory_bytes_max=MEBIBYTE, when_full="block")
    thread = threading.Thread(target=emit_numbers, args=(emitter, range(20_000)))
    thread.start()
    until(lambda: emitter.stats().memory_bytes > 0.99 * MEBIBYTE)
    stats = emitter.close(0.2)
    thread.join()
    counts = emitter.stats().counts
    assert counts.emitted + counts.dropped == 20_000
    assert stats.counts.lost == counts.emitted


def test_many_threads_emit_at_once(kafka: FakeKafka, opened: list[Emitter]) -> None:
    emitter = make(kafka, opened)
    threads = [threading.Thread(target=emit_numbers, args=(emitter, range(start, start + 1_000))) for start in range(0, 4_000, 1_000)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    emitter.close()
    assert quantities(batches_of(kafka.log)) == list(range(4_000))


async def test_async_code_emits_and_closes_without_blocking_its_loop(kafka: FakeKafka) -> None:
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            ticks += 1
            await asyncio.sleep(0.001)

    ticking = asyncio.create_task(tick())
    async with Emitter(source="test", bootstrap_servers="unused:1", new_producer=kafka.new_producer, linger_ms=50) as emitter:
        emit_numbers(emitter, range(100))
        before = ticks
    assert ticks > before
    ticking.cancel()
    assert quantities(batches_of(kafka.log)) == list(range(100))


def test_silence_is_broken_by_heartbeats(kafka: FakeKafka, opened: list[Emitter]) -> None:
    emitter = make(kafka, opened, heartbeat_seconds=0.02)
    emit_numbers(emitter, range(50))
    until(lambda: len([batch for batch in batches_of(tuple(kafka.log)) if not batch.count]) >= 8)
    beats = [batch for batch in batches_of(tuple(kafka.log)) if not batch.count]
    assert not any(beat.final for beat in beats)
    assert gaps(batches_of(tuple(kafka.log))) == {}


class CrashingProducer(FakeProducer):
    async def append(self, partition: int, value: bytes, *, secret: str = "", headers: RecordHeaders = ()) -> "asyncio.Future[object]":  # noqa: ARG002  # as the protocol says
        raise ZeroDivisionError(f"a fault in the program, at partition {partition} with {len(value)} bytes")


def test_a_crash_of_the_background_work_starts_it_anew(kafka: FakeKafka, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    made: list[FakeProducer] = []

    def new_producer() -> FakeProducer:
        made.append(CrashingProducer(kafka) if not made else kafka.new_producer())
        return made[-1]

    emitter = Emitter(source="test", bootstrap_servers="unused:1", spool_dir=tmp_path, new_producer=new_producer, linger_ms=5)
    emit_numbers(emitter, range(100))
    until(lambda: emitter.stats().counts.restarts == 1)
    emit_numbers(emitter, range(100, 200))
    until(lambda: emitter.stats().counts.adopted + emitter.stats().counts.sent == 200)
    stats = emitter.close()
    assert stats.counts.lost == 0
    assert quantities(batches_of(kafka.log)) == list(range(200))
    assert any("crashed" in record.message for record in caplog.records)


def test_events_that_a_crash_caught_before_they_were_numbered_are_counted_as_lost(
    kafka: FakeKafka, opened: list[Emitter], monkeypatch: pytest.MonkeyPatch
) -> None:
    take_all = Batcher.take_all
    crashes = iter([True])

    def crashing_once(batcher: Batcher) -> list[PartitionBatch]:
        if batcher.open_bytes and next(crashes, False):
            raise ZeroDivisionError("a fault in the program")
        return take_all(batcher)

    monkeypatch.setattr(Batcher, "take_all", crashing_once)
    emitter = make(kafka, opened)
    emit_numbers(emitter, range(100))
    until(lambda: emitter.stats().counts.restarts == 1)
    emit_numbers(emitter, range(100, 200))
    counts = emitter.close().counts
    assert counts.lost > 0
    assert counts.emitted == 200 == counts.sent + counts.lost
    assert len(quantities(batches_of(kafka.log))) == counts.sent


def test_a_forked_child_has_an_emitter_of_its_own(kafka: FakeKafka, opened: list[Emitter], tmp_path: Path) -> None:
    kafka.is_away = True
    emitter = make(kafka, opened, spool_dir=tmp_path, partitions=4)
    emit_numbers(emitter, range(100))
    until(lambda: emitter.stats().spooled_events == 100)
    child = os.fork()
    if child == 0:
        # Only what os._exit reports counts here: pytest must not go on in the child.
        signal.alarm(20)
        emit_numbers(emitter, range(100, 150))
        counts = emitter.close().counts
        os._exit(0 if (counts.emitted, counts.spooled, counts.lost) == (50, 50, 0) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    kafka.is_away = False
    # The parent takes over what its child, which is dead now, left on disk.
    until(lambda: (emitter.stats().counts.sent, emitter.stats().counts.adopted) == (100, 50))
    emitter.close()
    batches = batches_of(kafka.log)
    assert quantities(batches) == list(range(150))
    assert len({batch.emitter for batch in batches}) == 2
    assert gaps(batches) == {}


def test_metrics_follow_the_counts(kafka: FakeKafka, opened: list[Emitter]) -> None:
    registry = CollectorRegistry()
    emitter = make(kafka, opened, registry=registry)
    emit_numbers(emitter, range(10))
    emitter.emit(customer="c", usage={"n": -1})
    emitter.close()
    assert registry.get_sample_value("taximeter_emitter_events_total", {"outcome": "emitted"}) == 10
    assert registry.get_sample_value("taximeter_emitter_events_total", {"outcome": "sent"}) == 10
    assert registry.get_sample_value("taximeter_emitter_events_total", {"outcome": "lost"}) == 0
    assert registry.get_sample_value("taximeter_emitter_rejected_total", {"reason": "negative"}) == 1
    assert registry.get_sample_value("taximeter_emitter_buffered_bytes") == 0


@pytest.mark.parametrize(
    "options",
    [
        {"source": ""},
        {"source": "s" * 129},
        {"memory_bytes_max": 1},
        {"when_full": "panic"},
        {"linger_ms": 0},
        {"partitions": 0},
    ],
)
def test_arguments_that_cannot_be_right_are_refused_at_once(kafka: FakeKafka, options: dict[str, Any]) -> None:
    chosen: dict[str, Any] = {"source": "s", "bootstrap_servers": "unused:1"} | options
    with pytest.raises(ValueError):  # noqa: PT011  # each case is one argument that is out of bounds
        Emitter(new_producer=kafka.new_producer, **chosen)
    assert kafka.producers == []


def test_a_topic_with_other_partitions_than_given_is_not_written_to(kafka: FakeKafka, opened: list[Emitter]) -> None:
    emitter = make(kafka, opened, partitions=8)
    emit_numbers(emitter, range(10))
    until(lambda: "partitions" in emitter.stats().last_error)
    assert emitter.close(0.3).counts.lost == 10
    assert kafka.log == []


async def test_a_link_that_is_not_open_says_so(kafka: FakeKafka) -> None:
    with pytest.raises(ProducerFailed):
        await kafka.new_producer().append(0, b"")


def test_the_spool_works_from_the_first_event_on_although_kafka_was_never_reached(kafka: FakeKafka, opened: list[Emitter], tmp_path: Path) -> None:
    kafka.is_away = True
    first = make(kafka, opened, spool_dir=tmp_path)
    emit_numbers(first, range(1_000))
    stats = first.close()
    assert (stats.counts.spooled, stats.counts.unplaced, stats.counts.lost, stats.buffered_events) == (1_000, 1_000, 0, 0)
    kafka.is_away = False
    second = make(kafka, opened, spool_dir=tmp_path)
    emit_numbers(second, range(1_000, 1_100))
    stats = second.close()
    assert (stats.counts.adopted, stats.counts.sent, stats.counts.lost, stats.spools_left) == (1_000, 100, 0, 0)
    batches = batches_of(kafka.log)
    assert quantities(batches) == list(range(1_100))
    assert gaps(batches) == {}
    assert sum(finals(batches).values()) == 1_100
    assert not list(tmp_path.glob("*.spool*"))


def test_an_emitter_sends_itself_what_it_kept_before_it_reached_kafka(kafka: FakeKafka, opened: list[Emitter], tmp_path: Path) -> None:
    kafka.is_away = True
    emitter = make(kafka, opened, spool_dir=tmp_path)
    emit_numbers(emitter, range(500))
    until(lambda: emitter.stats().spooled_events == 500)
    emit_numbers(emitter, range(500, 900))
    kafka.is_away = False
    until(lambda: emitter.stats().counts.sent == 900)
    emit_numbers(emitter, range(900, 1_000))
    stats = emitter.close()
    assert (stats.counts.sent, stats.counts.numbered, stats.counts.unplaced, stats.counts.lost) == (1_000, 1_000, 0, 0)
    batches = batches_of(kafka.log)
    assert quantities(batches) == list(range(1_000))
    assert gaps(batches) == {}
    assert sum(finals(batches).values()) == 1_000
    assert not list(tmp_path.glob("*.spool*"))


def test_a_close_without_any_time_keeps_what_was_emitted(kafka: FakeKafka, opened: list[Emitter], tmp_path: Path) -> None:
    kafka.is_away = True
    for options in ({}, {"partitions": 4}):
        emitter = make(kafka, opened, spool_dir=tmp_path, linger_ms=60_000, **options)
        emit_numbers(emitter, range(2_500))
        stats = emitter.close(0)
        assert (stats.counts.spooled, stats.counts.lost) == (2_500, 0)


def spooled(emitter: Emitter, events: int) -> bool:
    return emitter.stats().spooled_events == events


@pytest.mark.parametrize("crashes_at", range(1, 8))
def test_a_process_that_dies_while_it_places_changes_no_number(
    kafka: FakeKafka, opened: list[Emitter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crashes_at: int
) -> None:
    monkeypatch.setattr("taximeter_emitter.spool.spool._PLACED_EVENTS", 100)
    kafka.is_away = True
    first = make(kafka, opened, spool_dir=tmp_path)
    for number in range(0, 800, 100):
        emit_numbers(first, range(number, number + 100))
        until(partial(spooled, first, number + 100))
    first.close()
    kafka.is_away = False
    # As often as it takes, a process places some and is gone with what it has sent, or not, on the way.
    (path,) = tmp_path.glob("*.spool")
    for placed in range(crashes_at):
        spool = take_over(path, topic="usage.events", partitions=kafka.partitions)
        assert isinstance(spool, Spool)
        assert spool.place(kafka.partitions) == 100
        if placed % 2:
            kafka.log += [(batch.partition, batch.value) for batch in spool.read(after=0, batches_max=1_000)]
        spool.close()
    make(kafka, opened, spool_dir=tmp_path).close()
    batches = batches_of(kafka.log)
    assert quantities(batches) == list(range(800))
    assert gaps(batches) == {}
    assert sum(finals(batches).values()) == 800


def test_processes_that_live_for_a_moment_take_over_what_others_left(kafka: FakeKafka, opened: list[Emitter], tmp_path: Path) -> None:
    kafka.is_away = True
    for start in range(0, 2_000, 100):
        emitter = make(kafka, opened, spool_dir=tmp_path)
        emit_numbers(emitter, range(start, start + 100))
        assert emitter.close().counts.spooled == 100
    kafka.is_away = False
    emitter = make(kafka, opened, spool_dir=tmp_path)
    emit_numbers(emitter, range(2_000, 2_010))
    stats = emitter.close()
    assert (stats.counts.adopted, stats.counts.sent, stats.spools_left) == (2_000, 10, 0)
    assert quantities(batches_of(kafka.log)) == list(range(2_010))
    assert not list(tmp_path.glob("*.spool*"))


def test_files_that_are_no_spools_of_ours_stay_and_are_named(
    kafka: FakeKafka, opened: list[Emitter], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "broken.spool").write_bytes(b"not a database, but long enough to look like one" * 20)
    (tmp_path / "empty.spool").touch()
    newer = Spool.create(tmp_path, emitter="newer", topic="usage.events")
    newer.append([EncodedBatch(0, 0, 1, b"x")])
    newer._connection.execute("PRAGMA user_version = 99")
    newer.close()
    emitter = make(kafka, opened, spool_dir=tmp_path)
    emit_numbers(emitter, range(10))
    stats = emitter.close()
    assert (stats.counts.sent, stats.counts.adopted, stats.spools_left, stats.spools_unreadable) == (10, 0, 0, 2)
    assert not (tmp_path / "empty.spool").exists()
    said = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    for name, why in (("broken", "not a database"), ("newer", "form 99")):
        assert any(f"{name}.spool" in text and why in text for text in said)
        assert (tmp_path / f"{name}.spool").exists()


@pytest.mark.parametrize("where", ["a file", "below a file", "a dangling link", "a read-only file system"])
def test_a_spool_directory_that_cannot_be_used_is_a_wrong_argument(kafka: FakeKafka, tmp_path: Path, where: str) -> None:
    file, link = tmp_path / "file", tmp_path / "link"
    file.touch()
    link.symlink_to(tmp_path / "nowhere")
    chosen = {"a file": file, "below a file": file / "spool", "a dangling link": link, "a read-only file system": Path("/proc/taximeter")}[where]
    with pytest.raises(ValueError, match=f"spool_dir {chosen} cannot be used: ..."):
        Emitter(source="test", bootstrap_servers="unused:1", new_producer=kafka.new_producer, spool_dir=chosen)


def test_a_full_disk_is_found_when_the_emitter_is_made(kafka: FakeKafka, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taximeter_emitter.spool.spool_directory.LEFT_FREE_BYTES", 2**62)
    with pytest.raises(ValueError, match="its disk is full"):
        Emitter(source="test", bootstrap_servers="unused:1", new_producer=kafka.new_producer, spool_dir=tmp_path)


def test_a_link_to_a_directory_is_a_spool_directory(kafka: FakeKafka, opened: list[Emitter], tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    kafka.is_away = True
    emitter = make(kafka, opened, spool_dir=tmp_path / "link")
    emit_numbers(emitter, range(10))
    assert emitter.close().counts.spooled == 10
    assert len(list((tmp_path / "real").glob("*.spool"))) == 1


def test_events_that_are_lost_are_an_error_in_the_log_with_their_number_and_why(
    kafka: FakeKafka, opened: list[Emitter], caplog: pytest.LogCaptureFixture
) -> None:
    kafka.is_away = True
    emitter = make(kafka, opened)
    emit_numbers(emitter, range(10))
    stats = emitter.close(0.2)
    assert (stats.counts.lost, stats.buffered_events, stats.memory_bytes) == (10, 0, 0)
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.name == "taximeter.emitter"
    assert "10 events are lost" in record.getMessage()
    assert "nobody answers" in record.getMessage()
    assert "no spool_dir" in record.getMessage()


def test_a_disk_that_fails_after_the_start_keeps_events_in_memory_and_loses_none_while_kafka_comes_back(
    kafka: FakeKafka, opened: list[Emitter], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("taximeter_emitter.spool.spool.LEFT_FREE_BYTES", 2**62)
    kafka.is_away = True
    emitter = make(kafka, opened, spool_dir=tmp_path)
    emit_numbers(emitter, range(3_000))
    until(lambda: emitter.stats().counts.spool_failures > 0)
    kafka.is_away = False
    stats = emitter.close()
    assert (stats.counts.sent, stats.counts.spooled, stats.counts.lost) == (3_000, 0, 0)
    assert quantities(batches_of(kafka.log)) == list(range(3_000))


def test_a_pickled_emitter_is_the_same_one_in_its_own_process_and_a_new_one_when_that_is_closed(opened: list[Emitter]) -> None:
    registry = CollectorRegistry()
    emitter = Emitter(bootstrap_servers="127.0.0.1:9", source="test", memory_bytes_max=2 * MEBIBYTE, registry=registry)
    opened.append(emitter)
    pickled = pickle.dumps(emitter)
    assert pickle.loads(pickled) is emitter
    assert copy.deepcopy(emitter) is emitter
    emitter.close(0)
    rebuilt = pickle.loads(pickled)
    opened.append(rebuilt)
    assert rebuilt is not emitter
    assert rebuilt.stats().emitter != emitter.stats().emitter or not rebuilt.stats().emitter
    assert rebuilt.emit(customer="c", usage={"n": 1})
    assert pickle.loads(pickled) is rebuilt is pickle.loads(pickle.dumps(rebuilt))


async def test_a_loop_does_by_itself_what_its_executor_refuses_at_the_end() -> None:
    loop = asyncio.get_running_loop()
    work_to_the_end(loop)
    assert await loop.run_in_executor(None, len, "abc") == 3
    await loop.shutdown_default_executor()
    assert await loop.run_in_executor(None, len, "abcd") == 4
    assert await loop.getaddrinfo("127.0.0.1", 9)
    with pytest.raises(ZeroDivisionError):
        await loop.run_in_executor(None, divmod, 1, 0)
