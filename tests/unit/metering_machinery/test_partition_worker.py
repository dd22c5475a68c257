"""The inbox of a partition's worker: what is handed in comes out in runs without gaps, and its bytes are counted."""

from collections.abc import Sequence

import pytest
from prometheus_client import CollectorRegistry, Counter

from metering.clock import SystemClock
from metering.logs import get_log
from metering.partition_worker import PartitionWorker
from metering.record import LogRecord, Record


class Worker(PartitionWorker):
    """It does nothing by itself."""

    @property
    def chain_end(self) -> int | None:
        return None

    @property
    def wants_records(self) -> bool:
        return True

    @property
    def may_resume(self) -> bool:
        return True

    async def _own(self) -> None:
        return

    def _forget(self) -> None:
        return

    def first(self, records_max: int = 100, bytes_max: int = 10**6) -> Sequence[LogRecord]:
        return self._first_run(records_max, bytes_max)

    def take(self, records: Sequence[LogRecord]) -> None:
        self._take_many(records)

    @property
    def waiting(self) -> tuple[int, int]:
        """Records and bytes."""
        return len(self._inbox), self._inbox_bytes


@pytest.fixture
async def worker() -> Worker:
    unavailable = Counter("unavailable", "Not used.", registry=CollectorRegistry())
    return Worker(0, seek=lambda _partition, _offset: None, clock=SystemClock(), log=get_log("test"), unavailable=unavailable)


def records(*offsets: int, size: int = 10) -> list[Record]:
    return [Record(offset, 0, None, b"x" * size) for offset in offsets]


async def test_a_run_ends_before_a_gap(worker: Worker) -> None:
    worker.hand_in(records(3, 4))
    worker.hand_in(records(5, 8, 9))
    assert [record.offset for record in worker.first()] == [3, 4, 5]
    worker.take(worker.first())
    assert [record.offset for record in worker.first()] == [8, 9]


async def test_a_run_is_bounded_by_records_and_bytes_and_is_never_empty(worker: Worker) -> None:
    worker.hand_in(records(0, 1, 2, 3, 4, 5))
    assert len(worker.first(records_max=2)) == 2
    assert len(worker.first(bytes_max=39)) == 3
    assert len(worker.first(bytes_max=40)) == 4
    assert len(worker.first(bytes_max=1)) == 1


async def test_looking_at_a_run_takes_nothing_out_and_taking_a_part_leaves_the_rest(worker: Worker) -> None:
    worker.hand_in([*records(0, 1, 2), Record(3, 0, None, None)])
    assert worker.waiting == (4, 30)
    worker.take(worker.first()[:1])
    assert worker.waiting == (3, 20)
    worker.take(worker.first())
    assert worker.waiting == (0, 0)
