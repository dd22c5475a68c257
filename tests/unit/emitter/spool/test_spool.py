"""The spool keeps what it took, gives it back in order, and belongs to one living process."""

import os
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
from taximeter_emitter.spool import spool as spool_module
from taximeter_emitter.spool.encoded_batch import EncodedBatch
from taximeter_emitter.spool.outbox import Outbox
from taximeter_emitter.spool.spool import LEFT_FREE_BYTES, Spool
from taximeter_emitter.spool.spool_directory import SpoolDirectory
from taximeter_emitter.spool.spool_failed import SpoolFailed
from taximeter_emitter.spool.spool_file import look_at, take_over
from taximeter_emitter.spool.spool_lock import try_lock

from tests.support.small_disks import SmallDisks

TOPIC = "usage.events"


def batch(number: int, *, count: int = 2) -> EncodedBatch:
    return EncodedBatch(number % 3, 10 * number, count, f"value {number}".encode())


def directory_of(path: Path, *, topic: str = TOPIC) -> SpoolDirectory:
    return SpoolDirectory(path, topic=topic, bytes_max=1_000_000)


def adopt(path: Path, *, partitions: int = 3) -> list[Spool]:
    return directory_of(path).adopt(partitions, excluding=[], spools_max=9).adopted


def values(batches: list[EncodedBatch]) -> list[bytes]:
    return [batch.value for batch in batches]


def test_batches_come_back_in_order_and_leave_when_deleted(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, emitter="e", topic=TOPIC)
    batches = [batch(number) for number in range(5)]
    spool.append(batches)
    assert spool.events_held == 10
    assert values(spool.read(after=0, batches_max=3)) == [b"value 0", b"value 1", b"value 2"]
    assert values(spool.read(after=batches[2].row, batches_max=9)) == [b"value 3", b"value 4"]
    spool.delete(batches[:4])
    assert values(spool.read(after=0, batches_max=9)) == [b"value 4"]
    spool.delete(batches[4:])
    assert (spool.bytes_held, spool.events_held) == (0, 0)
    spool.close()
    assert list(tmp_path.iterdir()) == []


def test_what_is_left_when_it_closes_is_adopted_whole(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, emitter="dead", topic=TOPIC)
    spool.append([batch(1), batch(2)])
    spool.close()
    assert directory_of(tmp_path).bytes_elsewhere(excluding=[]) > 0
    (adopted,) = adopt(tmp_path)
    found = adopted.read(after=0, batches_max=9)
    assert [(p.partition, p.first_seq, p.count, p.value) for p in found] == [(1, 10, 2, b"value 1"), (2, 20, 2, b"value 2")]
    assert adopted.events_held == 4
    adopted.delete(found)
    adopted.close()
    assert adopt(tmp_path) == []


def test_nobody_adopts_what_a_living_process_holds_or_what_is_for_another_topic(tmp_path: Path) -> None:
    alive = Spool.create(tmp_path, emitter="alive", topic=TOPIC)
    alive.append([batch(1)])
    other = Spool.create(tmp_path, emitter="other", topic="elsewhere")
    other.append([batch(2)])
    other.close()
    assert adopt(tmp_path) == []
    with pytest.raises(SpoolFailed, match="in use"):
        Spool.create(tmp_path, emitter="alive", topic=TOPIC)
    alive.close()


def test_what_a_killed_process_wrote_is_there(tmp_path: Path) -> None:
    script = (
        "import sys, time\nfrom pathlib import Path\nfrom taximeter_emitter.spool.encoded_batch import EncodedBatch\n"
        "from taximeter_emitter.spool.spool import Spool\n"
        f"spool = Spool.create(Path({str(tmp_path)!r}), emitter='killed', topic={TOPIC!r})\n"
        "spool.append([EncodedBatch(0, number, 1, b'x' * 1000) for number in range(100)])\n"
        "print('written', flush=True)\ntime.sleep(60)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        assert adopt(tmp_path) == []
        child.kill()
    deadline = time.monotonic() + 10
    while not (adopted := adopt(tmp_path)):
        assert time.monotonic() < deadline
    assert [found.first_seq for found in adopted[0].read(after=0, batches_max=200)] == list(range(100))
    adopted[0].close()


def test_what_is_for_partitions_that_the_topic_does_not_have_is_left_alone(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, emitter="elsewhere", topic=TOPIC)
    spool.append([batch(2)])
    spool.close()
    assert adopt(tmp_path, partitions=2) == []
    (adopted,) = adopt(tmp_path)
    adopted.close()


def test_a_damaged_file_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "broken.spool").write_bytes(b"this is no database at all, but it is long enough to look like one" * 10)
    assert adopt(tmp_path) == []
    assert (tmp_path / "broken.spool").exists()


def test_a_directory_that_cannot_be_made_is_an_error_with_a_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(SpoolFailed):
        Spool.create(tmp_path / "file" / "spool", emitter="e", topic=TOPIC)


def test_a_forked_child_does_not_keep_the_lock(tmp_path: Path) -> None:
    spool = Spool.create(tmp_path, emitter="parent", topic=TOPIC)
    spool.append([batch(1)])
    spool.disown()
    (adopted,) = adopt(tmp_path)
    adopted.close()
    spool._connection.close()  # only in this test: its parent and its child are one process, and Python 3.13 tells of what nobody closed


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disks = SmallDisks()
    folder = disks.mount(tmp_path / "small")
    if folder is None:
        pytest.skip("only root may mount a small file system")
    yield folder
    disks.unmount()


def fill_spool(spool: Spool) -> int:
    """Until it takes no more; how many batches it took."""
    number = 0
    with suppress(SpoolFailed):
        while number < 10_000:
            spool.append([EncodedBatch(0, number, 1, b"x" * 8_000)])
            number += 1
    return number


def fill_disk(path: Path) -> None:
    """Until there is no space left at all."""
    with path.open("wb", buffering=0) as ballast, suppress(OSError):
        while ballast.write(b"\0" * 4096):
            pass


def test_a_spool_leaves_enough_of_the_disk_free_to_be_emptied(small_disk: Path) -> None:
    spool = Spool.create(small_disk, emitter="large", topic=TOPIC)
    written = fill_spool(spool)
    assert shutil.disk_usage(small_disk).free >= LEFT_FREE_BYTES
    spool.close()
    (adopted,) = adopt(small_disk, partitions=1)
    found = adopted.read(after=0, batches_max=10_000)
    assert len(found) == written
    adopted.delete(found)
    adopted.close()
    assert list(small_disk.iterdir()) == []


def test_a_spool_that_kafka_has_goes_although_somebody_else_filled_the_disk(small_disk: Path) -> None:
    outbox = Outbox(Spool.create(small_disk, emitter="e", topic=TOPIC))
    outbox.put(EncodedBatch(0, 0, 1, b"x" * 100_000))
    outbox.secure(10**6)
    (small_disk / "ballast").touch()
    fill_disk(small_disk / "ballast")
    batch = outbox.take()
    assert batch is not None
    assert outbox.settle(batch)
    assert outbox.take() is None
    with pytest.raises(SpoolFailed):
        outbox.forget_settled()
    outbox.close()
    assert [path.name for path in small_disk.iterdir()] == ["ballast"]


def test_a_spool_with_something_left_to_send_stays(tmp_path: Path) -> None:
    outbox = Outbox(Spool.create(tmp_path, emitter="e", topic=TOPIC))
    outbox.put(batch(1))
    outbox.secure(10**6)
    outbox.close()
    (adopted,) = adopt(tmp_path)
    assert adopted.events_held == 2
    adopted.close()


STATEMENTS = [statement for statement in spool_module._SCHEMA.split(";") if statement.strip()]


@pytest.mark.parametrize("done", range(len(STATEMENTS) + 1))
def test_a_file_whose_process_was_killed_while_it_made_it_holds_nothing_and_goes(tmp_path: Path, done: int) -> None:
    path = tmp_path / "killed.spool"
    path.touch()
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in STATEMENTS[:done]:
            connection.execute(statement)
    lock = try_lock(path)
    assert lock is not None
    being_made = look_at(path)
    assert being_made is not None
    assert (being_made.state, being_made.why) == ("alive", "")
    os.close(lock)
    found = look_at(path)
    assert found is not None
    assert (found.state, found.events) == ("empty", 0)
    assert "nothing is in it" in found.why
    assert take_over(path, topic="usage.events", partitions=4) is None
    assert list(tmp_path.iterdir()) == []


def test_a_file_without_its_topic_that_holds_something_is_no_empty_one(tmp_path: Path) -> None:
    path = tmp_path / "odd.spool"
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(spool_module._SCHEMA)
        connection.execute("INSERT INTO batches (partition, first_seq, count, value) VALUES (0, 0, 1, 'x')")
    found = look_at(path)
    assert found is not None
    assert (found.state, found.events) == ("dead", 1)
    assert path.exists()
