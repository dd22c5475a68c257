"""What an emitter does, whichever way its batches go: loses nothing that it has room for, repeats nothing under other numbers, says the last word."""

import os
from functools import partial
from pathlib import Path

import orjson
from taximeter_emitter import Emitter
from taximeter_emitter.buffer.partition_cache import PartitionCache

from metering.records.batch_decoding import decode_batch
from tests.support.emitter_batches_received import batches_of, finals, gaps, quantities
from tests.support.waiting import until
from tests.support.ways_out import WayOut


def emit_numbers(emitter: Emitter, numbers: range) -> int:
    return sum(emitter.emit(customer=f"cus_{number % 17}", usage={"n": number}) for number in numbers)


def assert_exact(way: WayOut, events: int) -> None:
    batches = [batch for batch in batches_of(tuple(way.kafka.log)) if batch.emitter != "gateway"]
    assert quantities(batches) == list(range(events))
    assert gaps(batches) == {}
    assert sum(finals(batches).values()) == events


def test_every_event_arrives_and_the_last_word_says_how_many(way: WayOut) -> None:
    emitter = way.emitter()
    assert emit_numbers(emitter, range(3_000)) == 3_000
    stats = emitter.close()
    assert_exact(way, 3_000)
    assert (stats.counts.sent, stats.counts.lost, stats.counts.refused) == (3_000, 0, 0)
    assert {batch.emitter for batch in batches_of(way.kafka.log)} - {"gateway"} == {stats.emitter}


def test_what_it_speaks_to_may_go_away_and_come_back(way: WayOut, tmp_path: Path) -> None:
    emitter = way.emitter(spool_dir=tmp_path)
    emit_numbers(emitter, range(500))
    until(lambda: emitter.stats().counts.sent == 500)
    way.go_away()
    emit_numbers(emitter, range(500, 1_500))
    until(lambda: emitter.stats().spooled_events == 1_000)
    assert emitter.stats().last_error
    assert set(emitter.stats().counts.failures) == {"unreachable"}
    way.come_back()
    emit_numbers(emitter, range(1_500, 2_000))
    stats = emitter.close(30.0)
    assert (stats.counts.sent, stats.counts.lost, stats.spooled_events) == (2_000, 0, 0)
    assert_exact(way, 2_000)
    assert list(tmp_path.iterdir()) == []


def test_away_at_the_start_the_spool_keeps_everything_and_the_next_life_sends_it(way: WayOut, tmp_path: Path) -> None:
    way.go_away()
    first = way.emitter(spool_dir=tmp_path)
    emit_numbers(first, range(700))
    stats = first.close(0.5)
    assert (stats.counts.spooled, stats.counts.lost) == (700, 0)
    way.come_back()
    second = way.emitter(spool_dir=tmp_path)
    emit_numbers(second, range(700, 1_000))
    stats = second.close(30.0)
    assert (stats.counts.sent, stats.counts.adopted) == (300, 700)
    assert_exact(way, 1_000)
    assert list(tmp_path.iterdir()) == []


def test_a_spool_of_one_way_is_sent_by_the_other(way: WayOut, tmp_path: Path) -> None:
    way.go_away()
    emitter = way.emitter(spool_dir=tmp_path, partitions=4)
    emit_numbers(emitter, range(300))
    emitter.close(0.5)
    kafka = Emitter(source="test", bootstrap_servers="unused:1", new_producer=way.kafka.new_producer, spool_dir=tmp_path, linger_ms=5)
    way.kafka.is_away = False
    assert kafka.close(30.0).counts.adopted == 300
    assert_exact(way, 300)


def test_a_partition_that_is_not_acknowledged_keeps_no_other_waiting(way: WayOut, tmp_path: Path) -> None:
    way.kafka.silent_partitions = {1}
    emitter = way.emitter(spool_dir=tmp_path, give_up_seconds=600.0)
    of_each = PartitionCache(4)
    customers = {of_each.of(f"cus_{number}"): f"cus_{number}" for number in range(40)}
    for round_ in range(20):
        for partition, customer in customers.items():
            assert emitter.emit(customer=customer, usage={"n": 20 * partition + round_})
        until(partial(_has_sent, emitter, 3 * (round_ + 1)))
    until(lambda: emitter.stats().spooled_events == 20)
    way.kafka.wake()
    stats = emitter.close(30.0)
    assert (stats.counts.sent, stats.counts.lost) == (80, 0)
    assert_exact(way, 80)


def _has_sent(emitter: Emitter, events: int) -> bool:
    return emitter.stats().counts.sent >= events


def test_what_is_sent_again_is_sent_as_it_was(way: WayOut) -> None:
    way.kafka.is_silent = True
    emitter = way.emitter(give_up_seconds=0.2)
    emit_numbers(emitter, range(200))
    until(lambda: emitter.stats().counts.batches_retried > 0)
    way.kafka.is_silent = False
    way.kafka.break_producers()
    stats = emitter.close(30.0)
    assert (stats.counts.sent, stats.counts.lost) == (200, 0)
    assert_exact(way, 200)


def test_silence_is_broken_by_heartbeats(way: WayOut) -> None:
    emitter = way.emitter(heartbeat_seconds=0.05)
    emit_numbers(emitter, range(50))
    until(lambda: sum(b'"count":0' in value for _, value in tuple(way.kafka.log)) >= 8)
    assert emitter.stats().connected


def test_a_forked_child_has_a_name_and_numbers_of_its_own(way: WayOut, tmp_path: Path) -> None:
    emitter = way.emitter(spool_dir=tmp_path)
    emit_numbers(emitter, range(100))
    child = os.fork()
    if child == 0:
        # Only the parent has the servers' threads; the child finds nobody, or reaches them over the network.
        emit_numbers(emitter, range(100, 200))
        stats = emitter.close(10.0)
        os._exit(0 if stats.counts.sent + stats.spooled_events == 100 and not stats.counts.lost else 1)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    stats = emitter.close(30.0)
    assert (stats.counts.sent, stats.counts.lost) == (100, 0)
    names = {decoded.emitter for _, value in way.kafka.log if (decoded := decode_batch(orjson.loads(value))).count}
    assert stats.emitter in names


def test_the_same_emitter_is_counted_the_same_on_both_ways(way: WayOut) -> None:
    emitter = way.emitter()
    emit_numbers(emitter, range(10))
    until(lambda: emitter.stats().counts.sent == 10)
    stats = emitter.stats()
    assert (stats.connected, stats.last_error, stats.counts.failures) == (True, "", {})
