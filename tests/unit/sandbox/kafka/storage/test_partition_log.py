import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from taximeter_sandbox.kafka.storage.batch import parse_header
from taximeter_sandbox.kafka.storage.partition_log import OffsetOutOfRange, PartitionLog
from taximeter_sandbox.kafka.storage.recovery import CorruptLog

from tests.support.broker_wire import record_batch
from tests.support.kafka_stored_batches import stored_batches


@contextmanager
def _opened(path: Path) -> Iterator[PartitionLog]:
    with closing(PartitionLog(path, fsync_each_append=False)) as log:
        yield log


def _append(log: PartitionLog, values: list[bytes], *, append_time_ms: int | None = None, **options: int) -> int:
    batch = record_batch(values, **options)
    return log.append(batch, parse_header(batch), append_time_ms=append_time_ms).base_offset


_sizes = st.lists(st.tuples(st.integers(1, 4), st.integers(0, 3_000)), min_size=1, max_size=30)


@given(sizes=_sizes, bytes_max=st.integers(1, 20_000), data=st.data())
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_reading_gives_whole_batches_from_the_one_that_holds_the_offset(
    tmp_path: Path, sizes: list[tuple[int, int]], bytes_max: int, data: st.DataObject
) -> None:
    path = tmp_path / f"{os.urandom(8).hex()}.log"
    ends = []
    with _opened(path) as log:
        for count, size in sizes:
            _append(log, [b"x" * size] * count)
            ends.append(log.end_offset)
    offset = data.draw(st.integers(0, ends[-1] - 1))
    with _opened(path) as log:  # what is read from memory and what is rebuilt from the file must agree
        assert log.end_offset == ends[-1]
        read = log.read(offset, bytes_max, at_least_one_batch=True)
        batches = stored_batches(read)
        assert batches[0].base_offset <= offset < batches[0].next_offset
        assert [batch.base_offset for batch in batches[1:]] == [batch.next_offset for batch in batches[:-1]]
        assert len(read) <= bytes_max or len(batches) == 1
        strict = log.read(offset, bytes_max, at_least_one_batch=False)
        assert strict == (read if len(read) <= bytes_max else b"")


def test_reading_goes_through_the_whole_log_in_pieces_without_gap(tmp_path: Path) -> None:
    with _opened(tmp_path / "0.log") as log:
        for number in range(500):
            _append(log, [b"%04d" % number * 20] * (1 + number % 3))
        offset, seen = 0, []
        while offset < log.end_offset:
            batches = stored_batches(log.read(offset, 10_000, at_least_one_batch=True))
            seen += [record.offset for batch in batches for record in batch]
            offset = batches[-1].next_offset
        assert seen == list(range(log.end_offset))


@pytest.mark.parametrize("cut", [1, 30, 60, 61, 62, 90])
def test_a_torn_last_batch_is_cut_off_and_the_next_takes_its_offset(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "0.log"
    with _opened(path) as log:
        _append(log, [b"kept"])
        _append(log, [b"kept"])
        whole = path.stat().st_size
        _append(log, [b"x" * 100])
    os.truncate(path, whole + cut)
    with _opened(path) as log:
        assert (log.end_offset, log.truncated_bytes) == (2, cut)
        assert path.stat().st_size == whole
        assert _append(log, [b"next"]) == 2
        assert [record.value for batch in stored_batches(log.read(0, 10_000, at_least_one_batch=True)) for record in batch][2] == b"next"


def test_a_last_batch_with_a_wrong_byte_is_cut_off(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    with _opened(path) as log:
        _append(log, [b"kept"])
        _append(log, [b"damaged"])
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    with _opened(path) as log:
        assert log.end_offset == 1


@pytest.mark.parametrize("position", [3, 10, 16, 18, 70])
def test_damage_before_the_last_batch_is_an_error_and_nothing_is_cut(tmp_path: Path, position: int) -> None:
    path = tmp_path / "0.log"
    with _opened(path) as log:
        for _ in range(3):
            _append(log, [b"value"])
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

    with _opened(path) as log:
        _append(log, [b"kept"])
        before = path.read_bytes()
        with monkeypatch.context() as broken:
            broken.setattr(os, "pwritev", half)
            with pytest.raises(OSError, match="No space"):
                _append(log, [b"refused"])
        assert path.read_bytes() == before
        assert _append(log, [b"next"]) == 1


def test_a_write_in_two_parts_is_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with _opened(tmp_path / "0.log") as log:
        monkeypatch.setattr(os, "pwritev", lambda descriptor, buffers, offset: os.pwrite(descriptor, bytes(buffers[0])[:10], offset))
        _append(log, [b"whole"])
        (batch,) = stored_batches(log.read(0, 10_000, at_least_one_batch=True))
        assert [record.value for record in batch] == [b"whole"]


def test_times_are_found_also_when_the_clock_went_back(tmp_path: Path) -> None:
    times = [100, 200, 150, 120, 300, 250, 400]
    path = tmp_path / "0.log"
    with _opened(path) as log:
        for time in times:
            _append(log, [b"x" * 3_000], append_time_ms=time)
    with _opened(path) as log:
        for wanted in range(90, 410, 5):
            first = next((offset for offset, time in enumerate(times) if time >= wanted), None)
            found = log.find_time(wanted)
            assert found == (None if first is None else (first, times[first]))


def test_the_start_moves_forward_only_and_survives(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    with _opened(path) as log:
        for _ in range(10):
            _append(log, [b"x"], append_time_ms=5)
        assert log.delete_before(4) == 4
        assert log.delete_before(2) == 4
        with pytest.raises(OffsetOutOfRange):
            log.delete_before(11)
    with _opened(path) as log:
        assert log.start_offset == 4
        with pytest.raises(OffsetOutOfRange):
            log.read(3, 1_000, at_least_one_batch=True)
        assert log.find_time(0) == (4, 5)
        assert log.delete_before(-1) == 10
        assert log.find_time(0) is None


def test_an_idempotent_producer_is_remembered_from_the_file(tmp_path: Path) -> None:
    path = tmp_path / "0.log"
    with _opened(path) as log:
        _append(log, [b"a"], producer_id=3, epoch=0, sequence=0, append_time_ms=9)
    with _opened(path) as log:
        duplicate = log.producers.find_duplicate(parse_header(record_batch([b"a"], producer_id=3, epoch=0, sequence=0)))
        assert duplicate is not None
        assert (duplicate.base_offset, duplicate.append_time_ms) == (0, 9)
        assert log.producers.highest_id == 3
