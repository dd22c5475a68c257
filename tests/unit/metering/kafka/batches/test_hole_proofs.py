"""Offsets without a record are proved to be markers, with few fetches; what was taken away is lost, and what was passed over is said."""

import pytest
from aiokafka.errors import KafkaTimeoutError

from metering.kafka.batch_fetcher import Fetched
from metering.kafka.batches.hole_proofs import HoleProofs
from metering.records.fail_closed import HistoryLost
from tests.support.kafka_log_batches import ABORT, COMMIT, compacted, marker, stored
from tests.support.metering_memory_log import finished


class StoredLog:
    """Batches, and how often they were fetched; a fetch gives `batches_max` of them."""

    def __init__(self, *batches: tuple[int, bytes], aborted: tuple[tuple[int, int], ...] = (), batches_max: int = 100) -> None:
        self.batches = batches
        self.aborted = aborted
        self.batches_max = batches_max
        self.fetches: list[int] = []

    async def fetch(self, _topic: str, _partition: int, offset: int, *, bytes_max: int) -> Fetched:
        assert bytes_max
        self.fetches.append(offset)
        found = [data for end, data in self.batches if end > offset][: self.batches_max]
        end = max((end for end, _ in self.batches), default=0)
        return Fetched(end, end, self.aborted, b"".join(found))


def empty(log: StoredLog, start: int, end: int) -> bool:
    return finished(HoleProofs(log.fetch).holds_no_record("events", 0, start, end))


SMALL = [
    (2 * number + offset + 1, stored(2 * number, 1, producer=7, transactional=True) if not offset else marker(2 * number + 1, COMMIT, producer=7))
    for number in range(50)
    for offset in (0, 1)
]


def test_one_fetch_proves_the_markers_of_many_small_transactions() -> None:
    log = StoredLog(*SMALL)
    proofs = HoleProofs(log.fetch)
    assert not proofs.is_proved("events", 0, 1, 2)
    assert all(finished(proofs.holds_no_record("events", 0, 2 * number + 1, 2 * number + 2)) for number in range(50))
    assert log.fetches == [1]
    assert proofs.is_proved("events", 0, 99, 100)
    assert not proofs.is_proved("events", 0, 99, 101)
    assert not proofs.is_proved("events", 0, 98, 100)
    assert not proofs.is_proved("events", 1, 99, 100)


def test_a_long_hole_is_proved_part_by_part() -> None:
    batches = [(number + 1, stored(number, 1, producer=7, transactional=True)) for number in range(9)]
    log = StoredLog(*batches, (10, marker(9, ABORT, producer=7)), aborted=((7, 0),), batches_max=3)
    assert empty(log, 1, 10)
    assert log.fetches == [1, 4, 7]


def test_a_record_in_the_range_is_no_hole() -> None:
    assert not empty(StoredLog(*SMALL), 1, 3)
    assert not empty(StoredLog(*SMALL), 0, 1)


def test_offsets_that_nothing_accounts_for_are_lost() -> None:
    log = StoredLog((3, stored(0, 3)), (8, stored(7, 1)))
    with pytest.raises(HistoryLost, match="offsets 3 to 6 of events/0 hold neither a record nor a transaction marker"):
        empty(log, 3, 7)
    with pytest.raises(HistoryLost, match="offsets 4 to 5 of"):
        empty(log, 4, 6)
    with pytest.raises(HistoryLost, match="offsets 2 to 6 of"):
        empty(StoredLog((2, marker(1, COMMIT, producer=7)), (8, stored(7, 1))), 1, 7)


def test_records_that_are_taken_away_later_are_lost_all_the_same() -> None:
    log = StoredLog((3, stored(0, 3)), (8, stored(3, 5)))
    proofs = HoleProofs(log.fetch)
    assert not finished(proofs.holds_no_record("events", 0, 1, 3))
    log.batches = ((8, stored(3, 5)),)
    with pytest.raises(HistoryLost):
        finished(proofs.holds_no_record("events", 0, 1, 3))


def test_records_taken_out_of_a_batch_are_lost_and_those_left_are_not() -> None:
    log = StoredLog((5, compacted(0, 5, left=(0, 3))), (8, stored(7, 1)))
    with pytest.raises(HistoryLost, match="offsets 1 to 2 of"):
        empty(log, 1, 3)
    proofs = HoleProofs(log.fetch)
    assert [finished(proofs.lost_to("events", 0, offset)) for offset in (0, 1, 2, 3, 4, 7)] == [0, 3, 3, 3, 7, 7]


def test_where_nothing_is_to_be_had_nothing_is_said() -> None:
    with pytest.raises(KafkaTimeoutError):
        empty(StoredLog((3, stored(0, 3))), 3, 4)
