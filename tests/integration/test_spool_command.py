"""`taximeter spool`: what dead processes left is listed and sent, once, beside living ones and after interruptions."""

import asyncio
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from taximeter_emitter import Emitter
from taximeter_emitter.wire.batch import Batch

from metering.kafka.clients import KafkaSettings
from tests.support.broker import RunningBroker
from tests.support.emitter_batches_received import batches_of, finals, gaps, quantities
from tests.support.usage_topic import make_topics, read_events_topic, settings_for

pytestmark = pytest.mark.broker

# Nothing listens on the discard port of a machine that runs tests.
BILLED_TO_NOBODY = "127.0.0.1:9"


def leave_spool(kafka: KafkaSettings, folder: Path, first: int, count: int, *, topic: str = "") -> None:
    """What a process that never reached Kafka leaves."""
    emitter = Emitter(bootstrap_servers=BILLED_TO_NOBODY, topic=topic or kafka.topics.events.name, source="test", spool_dir=folder)
    for number in range(first, first + count):
        assert emitter.emit(customer=f"cus_{number % 17}", usage={"n": number})
    assert emitter.close().counts.spooled == count


def command(kafka: KafkaSettings, folder: Path, word: str, *options: str) -> list[str]:
    settings = folder.parent / "taximeter.toml"
    settings.write_text(
        f"[kafka]\nbootstrap_servers = {list(kafka.bootstrap_servers)!r}\npartitions = {kafka.partitions}\n"
        f'topic_prefix = "{kafka.topics.events.name.removesuffix(".events")}"\n'
    )
    return [sys.executable, "-m", "taximeter", "spool", word, str(folder), *options, *(("--config", str(settings)) if word == "send" else ())]


def run(kafka: KafkaSettings, folder: Path, word: str, *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(kafka, folder, word, *options), capture_output=True, text=True, check=False, timeout=120)


def records(kafka: KafkaSettings) -> list[Batch]:
    return batches_of(asyncio.run(read_events_topic(kafka)))


@pytest.fixture
def kafka(broker: str) -> KafkaSettings:
    settings = settings_for(broker)
    asyncio.run(make_topics(settings))
    return settings


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "spool").mkdir()
    return tmp_path / "spool"


def test_what_is_there_is_listed_and_sent_once_and_the_rest_is_left_alone_by_name(kafka: KafkaSettings, folder: Path) -> None:
    for first in range(0, 900, 300):
        leave_spool(kafka, folder, first, 300)
    leave_spool(kafka, folder, 0, 5, topic="elsewhere")
    (folder / "broken.spool").write_bytes(b"no database, but long enough to look like one" * 20)
    listed = run(kafka, folder, "list", "--json")
    spools = json.loads(listed.stdout)["spools"]
    assert listed.returncode == 2
    assert sorted((spool["state"], spool["events"]) for spool in spools) == [("dead", 5), *3 * [("dead", 300)], ("unreadable", 0)]
    assert "not a database" in run(kafka, folder, "list").stdout
    sent = run(kafka, folder, "send", "--yes")
    assert sent.returncode == 0, sent.stdout + sent.stderr
    assert "to send to" in sent.stdout
    assert "sent 900 events; 3 of 3 spools are gone" in sent.stdout
    assert "broken.spool: cannot be read" in sent.stdout
    assert "is for the topic elsewhere" in sent.stdout
    again = json.loads(run(kafka, folder, "send", "--yes", "--json").stdout)
    assert (again["to_send"], again["sent_events"], len(again["left_alone"])) == ([], 0, 2)
    assert len(list(folder.glob("*.spool"))) == 2
    batches = records(kafka)
    assert quantities(batches) == list(range(900))
    assert gaps(batches) == {}
    assert sum(finals(batches).values()) == 900


def test_it_runs_beside_a_living_process_and_leaves_its_spool_alone(kafka: KafkaSettings, folder: Path) -> None:
    leave_spool(kafka, folder, 0, 100)
    with Emitter(bootstrap_servers=BILLED_TO_NOBODY, topic=kafka.topics.events.name, source="test", spool_dir=folder) as alive:
        for number in range(100, 150):
            alive.emit(customer="c", usage={"n": number})
        while alive.stats().spooled_events < 50:
            time.sleep(0.02)
        states = {spool["state"] for spool in json.loads(run(kafka, folder, "list", "--json").stdout)["spools"]}
        assert states == {"alive", "dead"}
        sent = run(kafka, folder, "send", "--yes", "--json")
        assert (sent.returncode, json.loads(sent.stdout)["sent_events"]) == (0, 100)
        assert "lives" in json.loads(sent.stdout)["left_alone"][0]["reason"]
    assert run(kafka, folder, "send", "--yes").returncode == 0
    assert quantities(records(kafka)) == list(range(150))


def test_two_at_once_and_one_that_is_killed_send_each_event_once(kafka: KafkaSettings, folder: Path) -> None:
    for first in range(0, 6_000, 300):
        leave_spool(kafka, folder, first, 300)
    with subprocess.Popen(command(kafka, folder, "send", "--yes"), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as killed:
        while len(list(folder.glob("*.spool"))) == 20 and killed.poll() is None:
            time.sleep(0.01)
        killed.send_signal(signal.SIGKILL)
    both = [subprocess.Popen(command(kafka, folder, "send", "--yes"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    for process in both:
        said = process.communicate(timeout=120)
        assert process.returncode == 0, said
    # The one that was killed may have been about to remove the lock of a spool that was gone already.
    assert not list(folder.glob("*.spool"))
    batches = records(kafka)
    assert quantities(batches) == list(range(6_000))
    assert gaps(batches) == {}
    assert sum({(batch.emitter, batch.partition): batch.first_seq for batch in batches if batch.final}.values()) == 6_000


def test_without_kafka_nothing_is_lost_and_the_exit_code_says_so(running_broker: RunningBroker, folder: Path) -> None:
    if running_broker.broker.name in {"external", "docker"}:
        pytest.skip("this broker is not ours to kill")
    kafka = settings_for(running_broker.bootstrap)
    asyncio.run(make_topics(kafka))
    leave_spool(kafka, folder, 0, 100)
    running_broker.broker.kill()
    try:
        sent = run(kafka, folder, "send", "--yes", "--patience", "2")
    finally:
        running_broker.broker.restart()
    assert sent.returncode == 4, sent.stdout + sent.stderr
    assert "cannot reach topic" in sent.stderr
    assert run(kafka, folder, "send", "--yes").returncode == 0
    assert quantities(records(kafka)) == list(range(100))


def test_nobody_is_asked_where_nobody_can_answer_and_a_directory_that_is_not_there_is_named(kafka: KafkaSettings, folder: Path) -> None:
    assert run(kafka, folder, "send").returncode == 3
    missing = run(kafka, folder / "nowhere", "list")
    assert (missing.returncode, "nowhere is not a directory" in missing.stderr) == (4, True)
    assert not (folder / "nowhere").exists()
    empty = run(kafka, folder, "send", "--yes")
    assert (empty.returncode, "0 spools" in empty.stdout) == (0, True)
    assert list(folder.glob("*.spool*")) == []
