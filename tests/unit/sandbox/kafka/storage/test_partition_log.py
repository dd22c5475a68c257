import os
from pathlib import Path

import pytest
from taximeter_sandbox.kafka.storage.batch import parse_header
from taximeter_sandbox.kafka.storage.partition_log import OffsetOutOfRange, PartitionLog
from taximeter_sandbox.kafka.storage.recovery import CorruptLog

from tests.support.broker_wire import record_batch
from tests.support.kafka_partition_log import append, opened
from tests.support.kafka_stored_batches import stored_batches


def test_reading_goes_through_the_whole_log_in_pieces_without_gap(tmp_path: Path) -> None:
    with opened(tmp_path / "0.log") as log:
        for number in range(500):
            append(log, [b"%04d" % number * 20] * (1 + number % 3))
        offset, seen = 0, []
        while offset < log.end_offset:
            batches = stored_batches(log.read(offset, 10_000, at_least_one_batch=True))
            seen += [record.offset for batch in batches for record in batch]
            offset = batches[-1].next_offset
        assert seen == list(range(log.end_offset))


@pytest.mark.parametrize("cut", [1, 30, 60, 61, 62, 90])
def test_a_torn_last_batch_is_cut_off_and_the_next_takes_its_offset(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "0.log"
    with opened(path) as log:
        append(log, [b"kept"])
        append(log, [b"kept"])
        whole = path.stat().st_size
        append(log, [b"x" * 100])
    os.truncate(path, whole + cut)
    with opened(path) as log:
        assert (log.end_offset, log.truncated_bytes) == (2, cut)
        assert path.stat().st_size == whole
        assert append(log, [b"next"]) == 2
        assert [record.value for batch in stored_batches(log.read(0, 10_000, at_least_one_batch=True)) for record in batch][2] == b"next"


def test_a_last_batch_with_a_wrong_byte_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    with opened(path) as log:
        append(log, [b"kept"])
        append(log, [b"damaged"])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with opened(path) as log:
        assert log.end_offset == 1


@pytest.mark.parametrize("position", [3, 10, 16, 18, 70])
def test_damage_before_the_last_batch_is_an_error_and_nothing_is_cut(tmp_path: Path, position: int) -> None:
    path = tmp_path / "0.log"
    with opened(path) as log:
        for _ in range(3):
            append(log, [b"value"])
    content = bytearray(path.read_bytes())
    content[position] ^= 0x11
    path.write_bytes(content)
    with pytest.raises(CorruptLog):
        PartitionLog(path, fsync_each_append=False)
    assert path.read_bytes() == content


def test_a_write_that_fails_leaves_the_log_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "0.log"

    def half(descriptor: int, buffers: list[bytes], offset: int) -> int:
        os.pwrite(descriptor, bytes(buffers[0]), offset)
        raise OSError(28, "No space left on device")

    with opened(path) as log:
        append(log, [b"kept"])
        before = path.read_bytes()
        with monkeypatch.context() as broken:
            broken.setattr(os, "pwritev", half)
            with pytest.raises(OSError, match="No space"):
                append(log, [b"refused"])
        assert path.read_bytes() == before
        assert append(log, [b"next"]) == 1


def test_a_write_in_two_parts_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "0.log") as log:
        monkeypatch.setattr(os, "pwritev", lambda descriptor, buffers, offset: os.pwrite(descriptor, bytes(buffers[0])[:10], offset))
        append(log, [b"whole"])
        (batch,) = stored_batches(log.read(0, 10_000, at_least_one_batch=True))
        assert [record.value for record in batch] == [b"whole"]


def test_times_are_found_also_when_the_clock_went_back(tmp_path: Path) -> None:
    times = [100, 200, 150, 120, 300, 250, 400]
    path = tmp_path / "0.log"
    with opened(path) as log:
        for time in times:
            append(log, [b"x" * 3_000], append_time_ms=time)
    with opened(path) as log:
        for wanted in range(90, 410, 5):
            first = next((offset for offset, time in enumerate(times) if time >= wanted), None)
            found = log.find_time(wanted)
            assert found == (None if first is None else (first, times[first]))


def test_the_start_moves_forward_only_and_survives(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    with opened(path) as log:
        for _ in range(10):
            append(log, [b"x"], append_time_ms=5)
        assert log.delete_before(4) == 4
        assert log.delete_before(2) == 4
        with pytest.raises(OffsetOutOfRange):
            log.delete_before(11)
    with opened(path) as log:
        assert log.start_offset == 4
        with pytest.raises(OffsetOutOfRange):
            log.read(3, 1_000, at_least_one_batch=True)
        assert log.find_time(0) == (4, 5)
        assert log.delete_before(-1) == 10
        assert log.find_time(0) is None


def test_an_idempotent_producer_is_remembered_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    with opened(path) as log:
        append(log, [b"a"], producer_id=3, epoch=0, sequence=0, append_time_ms=9)
    with opened(path) as log:
        duplicate = log.producers.find_duplicate(parse_header(record_batch([b"a"], producer_id=3, epoch=0, sequence=0)))
        assert duplicate is not None
        assert (duplicate.base_offset, duplicate.append_time_ms) == (0, 9)
        assert log.producers.highest_id == 3
