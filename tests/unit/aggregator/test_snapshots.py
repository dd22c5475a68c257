"""What a process leaves of its ids is believed only if it is whole and belongs to this log, and then it answers as the log would."""

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import orjson
import pytest
from taximeter_emitter.wire.limits import HOUR_MS

from aggregator.core.counting import PartitionCounter
from aggregator.ids import id_files, id_index
from aggregator.ids.fingerprints import Fingerprints, Words, asked_one, fingerprints_of
from aggregator.ids.id_archive import IdArchive
from aggregator.ids.id_files import SNAPSHOT, FileStorage, IdFiles
from aggregator.snapshots import IdSnapshots
from aggregator.takeover import CountingTakeover
from metering.process.logs import get_log
from tests.support.aggregator_records import EVENTS, HORIZON_MS, START_MS, TALLIES, Event, Single, encode, rules
from tests.support.metering_memory_log import MemoryLog, finished

LOG = get_log("test")


def packed(ids: Sequence[bytes], contents: Sequence[int]) -> tuple[Fingerprints, Words]:
    return fingerprints_of(b"".join(ids)), np.array(contents, np.uint64)


class Machine:
    """One partition's logs, and processes that come and go on a machine with a disk."""

    def __init__(self, state_dir: Path) -> None:
        self.log = MemoryLog()
        self.log.topics = {EVENTS: [], TALLIES: []}
        self.now_ms = START_MS
        self.state_dir = state_dir
        self.snapshots = self.new_snapshots()

    def new_snapshots(self) -> IdSnapshots:
        return IdSnapshots(self.state_dir, topic=EVENTS, horizon_ms=HORIZON_MS, log=LOG)

    def start(self) -> PartitionCounter:
        """A new process takes over; the one before is gone."""
        self.snapshots.close()
        self.snapshots = self.new_snapshots()
        self.log.reads.clear()
        return finished(self.takeover().take_over(0))

    def takeover(self) -> CountingTakeover:
        return CountingTakeover(self.log, rules(), tallies_topic=TALLIES, found_at_log_start=False, snapshots=self.snapshots)

    def emit(self, *event_ids: str) -> None:
        for event_id in event_ids:
            self.now_ms += 1_000
            value, headers = encode(Single(Event(event_id, "c", (("input", 1),), "m", self.now_ms), "own"))
            self.log.append(EVENTS, value, at_ms=self.now_ms, headers=headers)

    def flush(self, counter: PartitionCounter) -> bytes:
        for record in self.log.topics[EVENTS][counter.position :]:
            if record is not None:
                counter.count(record)
        cut = counter.cut()
        self.now_ms += 1
        offset = self.log.append(TALLIES, cut.value, at_ms=self.now_ms).offset
        assert finished(self.takeover().catch_up(counter, cut.tally, offset))
        self.snapshots.save(counter, cut.value)
        return cut.value

    def events_read(self) -> list[int]:
        """The offsets of usage.events that were read since the process started."""
        return [offset for topic, start, end in self.log.reads if topic == EVENTS for offset in range(start, end)]

    def duplicates(self, counter: PartitionCounter, *event_ids: str) -> int:
        self.emit(*event_ids)
        for record in self.log.topics[EVENTS][counter.position :]:
            if record is not None:
                counter.count(record)
        return counter.cut().tally.events.duplicates


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(id_index.IdIndex.__init__, "__kwdefaults__", {"recent_max": 2})
    return Machine(tmp_path)


def test_a_new_process_reads_only_what_came_after_the_snapshot(machine: Machine) -> None:
    counter = machine.start()
    machine.emit("a", "b", "c")
    machine.flush(counter)
    machine.emit("d")
    machine.flush(counter)
    after = machine.start()
    assert machine.events_read() == [3]
    assert (len(after.ids), after.position) == (4, 4)
    # the same events again, at the same times: only the ids can tell
    assert machine.duplicates(after, "x") == 0
    assert _knows(after, machine, "a", "b", "c", "d")


def test_an_orderly_end_leaves_everything(machine: Machine) -> None:
    counter = machine.start()
    machine.emit("a")
    head = machine.flush(counter)
    machine.snapshots.save_all(counter, head)
    after = machine.start()
    assert machine.events_read() == []
    assert _knows(after, machine, "a")


def test_a_snapshot_of_another_chain_or_another_tally_is_not_believed(machine: Machine) -> None:
    counter = machine.start()
    machine.emit("a", "b", "c")
    machine.flush(counter)
    good = (machine.state_dir / f"{EVENTS}-0" / SNAPSHOT).read_bytes()
    for change in ({"chain_id": "other"}, {"tally_digest": "00"}, {"known_since_ms": machine.now_ms}, {"tally_offset": 7}, {"format": "ids/9"}):
        document = {**orjson.loads(good), **change}
        (machine.state_dir / f"{EVENTS}-0" / SNAPSHOT).write_bytes(orjson.dumps(document))
        after = machine.start()
        assert machine.events_read() == [0, 1, 2], change
        assert len(after.ids) == 3
        machine.flush(after)  # leaves a good one again, which the next change spoils
        (machine.state_dir / f"{EVENTS}-0" / SNAPSHOT).write_bytes(good)


@pytest.mark.parametrize("damage", ["missing", "short", "unreadable"])
def test_a_damaged_snapshot_is_replaced_by_the_log(machine: Machine, damage: str) -> None:
    counter = machine.start()
    machine.emit("a", "b", "c")
    machine.flush(counter)
    folder = machine.state_dir / f"{EVENTS}-0"
    (file,) = folder.glob("*.ids")
    if damage == "missing":
        file.unlink()
    elif damage == "short":
        file.write_bytes(b"")
    else:
        (folder / SNAPSHOT).write_bytes(b"{")
    after = machine.start()
    assert machine.events_read() == [0, 1, 2]
    assert _knows(after, machine, "a", "b", "c")


def test_after_a_crash_of_the_machine_only_an_orderly_end_counts(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = machine.start()
    machine.emit("a", "b", "c")
    head = machine.flush(counter)
    monkeypatch.setattr(id_files, "_boot", lambda: "another boot")
    assert len(machine.start().ids) == 3
    assert machine.events_read() == [0, 1, 2]
    monkeypatch.undo()
    monkeypatch.setattr(id_index.IdIndex.__init__, "__kwdefaults__", {"recent_max": 2})
    counter = machine.start()
    machine.snapshots.save_all(counter, head)
    monkeypatch.setattr(id_files, "_boot", lambda: "another boot")
    assert len(machine.start().ids) == 3
    assert machine.events_read() == []


def test_a_folder_that_another_process_holds_is_left_alone(machine: Machine) -> None:
    machine.start()
    other = machine.new_snapshots()
    assert other.found(0) is None
    archive = other.empty(0, known_since_ms=0)
    archive.add(*packed([bytes(16)], [1]), 0)
    assert list((machine.state_dir / f"{EVENTS}-0").glob("*.ids")) == []


def test_segments_that_were_forgotten_since_are_not_missed(machine: Machine) -> None:
    counter = machine.start()
    machine.emit("a", "b", "c")
    machine.flush(counter)
    machine.now_ms += counter.ids.memory_ms + 2 * HOUR_MS
    counter.ids.archive.forget_before(machine.now_ms)  # deletes the file; the snapshot still names it
    machine.emit("d")
    tally = counter.tallies
    assert tally.chain_id is not None
    machine.flush(counter)
    after = machine.start()
    assert machine.events_read() == [3]
    assert len(after.ids) == 1


def test_a_full_disk_costs_memory_and_no_id(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = IdFiles(tmp_path, LOG)
    archive = IdArchive(folder.storage, span_ms=HOUR_MS)
    ids = [number.to_bytes(16, "little") for number in range(5)]
    archive.add(*packed(ids[:2], [0, 1]), 0)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    monkeypatch.setattr(id_files, "CHUNK_ENTRIES", 1)
    storage = archive.segments[0].storage
    assert isinstance(storage, FileStorage)
    storage.grown(id_files.CHUNK_ENTRIES << 20)
    archive.add(*packed(ids[2:], [2, 3, 4]), 0)
    assert [archive.look_up(asked_one(one)) for one in ids] == [0, 1, 2, 3, 4]
    assert storage.lost
    record = id_files.SnapshotRecord(
        chain_id="c", tally_offset=0, tally_digest="", events_end=0, known_since_ms=0, key="", segments=folder.segments(archive)
    )
    folder.write(replace(record), durable=True)
    assert folder.read() is None, "a snapshot must not claim what is in memory only"
    folder.close()


def test_a_file_grows_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_files, "CHUNK_ENTRIES", 4)
    storage = FileStorage(tmp_path / "1.ids", LOG)
    storage.grown(3)["first"][:3] = np.arange(3)
    assert storage.grown(9)["first"].tolist() == [0, 1, 2, *[0] * 9]
    storage.dispose()
    assert not storage.path.exists()


def _knows(counter: PartitionCounter, machine: Machine, *event_ids: str) -> bool:
    """Whether each of these, sent once more with the same content and time, is called a duplicate."""
    first = {record.offset: record for record in machine.log.topics[EVENTS] if record is not None}
    wanted = [record for record in first.values() if record.value is not None and any(f'"{name}"'.encode() in record.value for name in event_ids)]
    fresh = finished(machine.takeover().take_over(0)) if counter.pending_records else counter
    for record in wanted:
        fresh.count(replace(record, offset=fresh.position))
    return fresh.cut().tally.events.duplicates == len(event_ids)
