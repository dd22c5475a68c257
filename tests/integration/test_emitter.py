"""The Emitter against a real broker: away, back, killed, and the emitter's own process killed."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest
from taximeter_emitter import Emitter
from taximeter_emitter.wire.batch import Batch

from metering.kafka.clients import KafkaSettings
from tests.support.broker import RunningBroker
from tests.support.emitter_batches_received import batches_of, finals, gaps, quantities
from tests.support.usage_topic import make_topics, read_events_topic, settings_for
from tests.support.waiting import until

pytestmark = pytest.mark.broker

# Nothing listens on the discard port of a machine that runs tests.
BILLED_TO_NOBODY = "127.0.0.1:9"


def emit_numbers(emitter: Emitter, numbers: range) -> None:
    for number in numbers:
        assert emitter.emit(customer=f"cus_{number % 17}", usage={"n": number}, dimensions={"model": "alpaca"})


def records(kafka: KafkaSettings) -> list[Batch]:
    return batches_of(asyncio.run(read_events_topic(kafka)))


def test_every_event_is_in_the_topic_once_and_the_last_word_is_said(broker: str) -> None:
    kafka = settings_for(broker)
    asyncio.run(make_topics(kafka))
    with Emitter(kafka=kafka.options(), topic=kafka.topics.events.name, source="test") as emitter:
        emit_numbers(emitter, range(20_000))
    stats = emitter.stats()
    batches = records(kafka)
    assert (stats.counts.sent, stats.counts.lost, stats.counts.dropped) == (20_000, 0, 0)
    assert quantities(batches) == list(range(20_000))
    assert gaps(batches) == {}
    assert sum(finals(batches).values()) == 20_000


def test_a_killed_broker_costs_nothing_and_the_disk_bridges_its_absence(running_broker: RunningBroker, tmp_path: Path) -> None:
    if running_broker.broker.name in {"external", "docker"}:
        pytest.skip("this broker is not ours to kill")
    kafka = settings_for(running_broker.bootstrap)
    asyncio.run(make_topics(kafka))
    emitter = Emitter(kafka=kafka.options(), topic=kafka.topics.events.name, source="test", spool_dir=tmp_path, give_up_seconds=2.0)
    try:
        emit_numbers(emitter, range(1_000))
        until(lambda: emitter.stats().counts.sent == 1_000)
        running_broker.broker.kill()
        try:
            emit_numbers(emitter, range(1_000, 3_000))
            until(lambda: emitter.stats().spooled_events == 2_000)
        finally:
            running_broker.broker.restart()
        emit_numbers(emitter, range(3_000, 4_000))
        until(lambda: emitter.stats().counts.sent == 4_000)
    finally:
        stats = emitter.close()
    batches = records(kafka)
    assert quantities(batches) == list(range(4_000))
    assert gaps(batches) == {}
    assert sum(finals(batches).values()) == 4_000
    assert (stats.counts.lost, stats.spooled_events) == (0, 0)


CHILD = """
import sys, time
from taximeter_emitter import Emitter
emitter = Emitter(bootstrap_servers={nobody!r}, topic={topic!r}, source="test", spool_dir={spool!r}, partitions=4)
for number in range(1_000):
    emitter.emit(customer=f"cus_{{number % 17}}", usage={{"n": number}})
while emitter.stats().spooled_events < 1_000:
    time.sleep(0.01)
print("spooled", flush=True)
time.sleep(60)
"""


def test_what_a_killed_process_had_on_disk_is_sent_by_the_next_life(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    asyncio.run(make_topics(kafka))
    script = CHILD.format(nobody=BILLED_TO_NOBODY, topic=kafka.topics.events.name, spool=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        try:
            assert child.stdout.readline() == b"spooled\n"
        finally:
            child.kill()
    with Emitter(kafka=kafka.options(), topic=kafka.topics.events.name, source="test", spool_dir=tmp_path) as emitter:
        emit_numbers(emitter, range(1_000, 1_500))
        until(lambda: (emitter.stats().counts.adopted, emitter.stats().counts.sent) == (1_000, 500))
    batches = records(kafka)
    assert quantities(batches) == list(range(1_500))
    assert gaps(batches) == {}
    assert len({batch.emitter for batch in batches}) == 2
    assert not list(tmp_path.glob("*.spool*"))


STRANGER = """
import sys, time
from taximeter_emitter import Emitter
emitter = Emitter(bootstrap_servers={nobody!r}, topic={topic!r}, source="test", spool_dir={spool!r})
for number in range({first}, {first} + 1_000):
    emitter.emit(customer=f"cus_{{number % 17}}", usage={{"n": number}})
if {killed}:
    while emitter.stats().spooled_events < 1_000:
        time.sleep(0.01)
    print("spooled", flush=True)
    time.sleep(60)
assert emitter.close().counts.lost == 0
"""


def test_processes_that_never_reached_kafka_lose_nothing_and_one_that_lives_a_second_sends_it(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    asyncio.run(make_topics(kafka))
    for first, killed in ((0, False), (1_000, True)):
        script = STRANGER.format(nobody=BILLED_TO_NOBODY, topic=kafka.topics.events.name, spool=str(tmp_path), first=first, killed=killed)
        with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            assert child.stdout is not None
            assert child.stdout.readline() == (b"spooled\n" if killed else b"")
            if killed:
                child.kill()
        assert killed or child.returncode == 0
    with Emitter(kafka=kafka.options(), topic=kafka.topics.events.name, source="test", spool_dir=tmp_path) as emitter:
        emit_numbers(emitter, range(2_000, 2_010))
    stats = emitter.stats()
    assert (stats.counts.adopted, stats.counts.sent, stats.spools_left) == (2_000, 10, 0)
    batches = records(kafka)
    assert quantities(batches) == list(range(2_010))
    assert gaps(batches) == {}
    assert sum(finals(batches).values()) == 2_010
    assert not list(tmp_path.glob("*.spool*"))


def test_a_process_that_just_ends_still_delivers(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    asyncio.run(make_topics(kafka))
    script = (
        "from taximeter_emitter import Emitter\n"
        f"emitter = Emitter(bootstrap_servers={broker!r}, topic={kafka.topics.events.name!r}, source='test', spool_dir={str(tmp_path)!r})\n"
        "for number in range(100):\n    emitter.emit(customer='c', usage={'n': number})\n"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, timeout=60).returncode == 0
    batches = records(kafka)
    assert quantities(batches) == list(range(100))
    assert sum(finals(batches).values()) == 100


def test_without_kafka_and_without_a_disk_the_loss_has_a_number() -> None:
    emitter = Emitter(bootstrap_servers=BILLED_TO_NOBODY, source="test", partitions=4)
    emit_numbers(emitter, range(10))
    assert emitter.close(0.5).counts.lost == 10
