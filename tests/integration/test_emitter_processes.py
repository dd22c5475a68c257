"""Emitters in processes of every kind: what each emitted arrives, under a name and numbers of its own."""

import asyncio
import subprocess
import sys
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from taximeter_emitter.wire.batch import Batch

from metering.kafka.clients import KafkaSettings
from tests.support.emitter_batches_received import batches_of, finals, gaps, quantities
from tests.support.gateway_process import gateway
from tests.support.usage_topic import make_topics, read_events_topic, settings_for

pytestmark = pytest.mark.broker

BEGIN = """
import concurrent.futures, multiprocessing, os, pickle, sys, time
from taximeter_emitter import Emitter

WAY, SPOOL = {way!r}, {spool!r}


def new_emitter():
    return Emitter(**WAY, source="test", spool_dir=SPOOL, linger_ms=5_000)


def emit(first, emitter=None):
    for number in range(first, first + 100):
        assert (emitter or EMITTER).emit(customer="cus_%d" % (number % 17), usage=dict(n=number))


def work(first):
    # A worker of a pool that was spawned has no emitter yet.
    global EMITTER
    if "EMITTER" not in globals():
        EMITTER = new_emitter()
    emit(first)


def work_with(emitter, first):
    emit(first, emitter)

"""

# What a program does, and how many processes emit; each emits numbers of its own, from 0 on without a gap.
PROGRAMS = {
    "fork": (
        """
        EMITTER = new_emitter()
        emit(0)
        context = multiprocessing.get_context("fork")
        children = [context.Process(target=emit, args=(100 * place,)) for place in (1, 2, 3)]
        [child.start() for child in children]
        [child.join() for child in children]
        """,
        400,
    ),
    "fork that fails": (
        """
        EMITTER = new_emitter()
        def fail(first):
            emit(first)
            raise RuntimeError("a fault of the child")
        child = multiprocessing.get_context("fork").Process(target=fail, args=(0,))
        child.start()
        child.join()
        assert child.exitcode == 1
        """,
        100,
    ),
    "spawn": (
        """
        context = multiprocessing.get_context("spawn")
        children = [context.Process(target=work, args=(100 * place,)) for place in (0, 1)]
        [child.start() for child in children]
        [child.join() for child in children]
        assert [child.exitcode for child in children] == [0, 0]
        """,
        200,
    ),
    "forkserver": (
        """
        child = multiprocessing.get_context("forkserver").Process(target=work, args=(0,))
        child.start()
        child.join()
        """,
        100,
    ),
    "pool": (
        """
        EMITTER = new_emitter()
        pool = multiprocessing.get_context("fork").Pool(3)
        pool.map(work, range(0, 1_000, 100))
        pool.close()
        pool.join()
        """,
        1_000,
    ),
    "executor": (
        """
        EMITTER = new_emitter()
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("fork")) as executor:
            list(executor.map(work, range(0, 1_000, 100)))
        """,
        1_000,
    ),
    "os.fork": (
        """
        EMITTER = new_emitter()
        emit(0)
        for place in (1, 2):
            if os.fork() == 0:
                emit(100 * place)
                sys.exit(0)
        os.wait(), os.wait()
        """,
        300,
    ),
    "a child of a child": (
        """
        EMITTER = new_emitter()
        context = multiprocessing.get_context("fork")
        def middle():
            emit(100)
            child = context.Process(target=emit, args=(200,))
            child.start()
            child.join()
        emit(0)
        child = context.Process(target=middle)
        child.start()
        child.join()
        """,
        300,
    ),
    "an emitter as an argument": (
        """
        EMITTER = new_emitter()
        emit(0)
        child = multiprocessing.get_context("spawn").Process(target=work_with, args=(EMITTER, 100))
        child.start()
        child.join()
        assert child.exitcode == 0
        """,
        200,
    ),
}


def records(kafka: KafkaSettings) -> list[Batch]:
    return batches_of(asyncio.run(read_events_topic(kafka)))


@pytest.fixture(scope="module")
def gateway_on(broker: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[KafkaSettings, str]]:
    """Topics, and the URL of a gateway that writes to them."""
    kafka = settings_for(broker)
    asyncio.run(make_topics(kafka))
    with gateway(kafka, tmp_path_factory.mktemp("gateway")) as running:
        yield kafka, running.url.removesuffix("/v1/events")


@pytest.mark.parametrize("kind", PROGRAMS)
def test_what_each_process_emitted_arrives_under_its_own_name(kind: str, broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    asyncio.run(make_topics(kafka))
    run_program(kind, {"bootstrap_servers": broker, "topic": kafka.topics.events.name}, tmp_path)
    assert_all_arrived(kind, records(kafka), tmp_path)


@pytest.mark.parametrize("kind", PROGRAMS)
def test_the_same_through_a_gateway(kind: str, gateway_on: tuple[KafkaSettings, str], tmp_path: Path) -> None:
    kafka, url = gateway_on
    earlier = {batch.emitter for batch in records(kafka)}
    run_program(kind, {"url": url}, tmp_path)
    assert_all_arrived(kind, [batch for batch in records(kafka) if batch.emitter not in earlier], tmp_path)


def run_program(kind: str, way: Mapping[str, str], folder: Path) -> None:
    """Run it in a process of its own, which must end well."""
    script = folder / "program.py"
    begin = BEGIN.format(way=way, spool=str(folder / "spool"))
    script.write_text(begin + 'if __name__ == "__main__":\n' + textwrap.indent(textwrap.dedent(PROGRAMS[kind][0]), "    "))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr


def assert_all_arrived(kind: str, batches: Sequence[Batch], folder: Path) -> None:
    events = PROGRAMS[kind][1]
    assert quantities(batches) == list(range(events))
    assert gaps(batches) == {}
    assert sum(finals(batches).values()) == events
    assert not list((folder / "spool").glob("*.spool"))


def test_children_that_never_reach_kafka_leave_what_they_emitted_on_disk(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    asyncio.run(make_topics(kafka))
    script = tmp_path / "program.py"
    text, events = PROGRAMS["pool"]
    # Nothing listens on the discard port of a machine that runs tests.
    begin = BEGIN.format(way={"bootstrap_servers": "127.0.0.1:9", "topic": kafka.topics.events.name}, spool=str(tmp_path / "spool"))
    script.write_text(begin + 'if __name__ == "__main__":\n' + textwrap.indent(textwrap.dedent(text), "    "))
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stderr
    later = (
        BEGIN.format(way={"bootstrap_servers": broker, "topic": kafka.topics.events.name}, spool=str(tmp_path / "spool")) + "new_emitter().close()\n"
    )
    assert subprocess.run([sys.executable, "-c", later], check=False, timeout=120).returncode == 0
    batches = records(kafka)
    assert quantities(batches) == list(range(events))
    assert gaps(batches) == {}
