"""Error reports that another process recorded are learnt from the ledger, in whatever partition they are, once, and nothing that is older."""

from collections.abc import AsyncGenerator, Sequence

from metering.folds.ledger import Ledger
from metering.kafka.partition_log import LogReader, LogUnavailable
from metering.records.ledger_records import Rejection, encode_receipt, encode_rejection
from metering.records.record import LogRecord
from reporter.webhooks.report_follower import REPORTS_LOOK_SECONDS, ReportFollower
from tests.support.manual_clock import ManualClock
from tests.support.metering_corrections import receipt
from tests.support.metering_memory_log import MemoryLog, finished

LEDGER = "usage.ledger"


class MemoryPartitions(LogReader):
    """A log in memory for each partition."""

    def __init__(self, partitions: int) -> None:
        self.logs = [MemoryLog() for _ in range(partitions)]
        self.silent: set[int] = set()

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        if partition in self.silent:
            raise LogUnavailable("no answer")
        return await self.logs[partition].bounds(topic, partition)

    def records(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[Sequence[LogRecord], None]:
        return self.logs[partition].records(topic, partition, start, end)


def rejection(event_id: str, partition: int = 0) -> Rejection:
    return Rejection(partition, "other", event_id, "tokens", "archived_meter", "inactive", 7, (), 0, 1, 2)


def following(partitions: int) -> tuple[MemoryPartitions, ReportFollower, list[str]]:
    reader, found = MemoryPartitions(partitions), list[str]()
    return reader, ReportFollower(reader, LEDGER, partitions, lambda rejection: found.append(rejection.event_id), ManualClock()), found


def test_what_is_recorded_from_now_on_is_handed_on_once() -> None:
    reader, follower, found = following(1)
    log = reader.logs[0]
    log.append(LEDGER, encode_rejection(rejection("old")), at_ms=1)
    finished(follower.look())
    for value in (encode_rejection(rejection("a")), encode_receipt(receipt(Ledger())), b"not ours", None, encode_rejection(rejection("b"))):
        log.append(LEDGER, value, at_ms=1)
    for _ in range(2):
        finished(follower.look())
    assert found == ["a", "b"]
    assert REPORTS_LOOK_SECONDS < 10


def test_a_report_whose_errors_all_belong_to_another_partition_is_learnt() -> None:
    reader, follower, found = following(3)
    finished(follower.look())
    reader.logs[2].append(LEDGER, encode_rejection(rejection("a", 2)), at_ms=1)
    for _ in range(2):
        finished(follower.look())
    assert found == ["a"]


def test_a_partition_that_cannot_be_read_keeps_no_other_back() -> None:
    reader, follower, found = following(2)
    finished(follower.look())
    for partition, log in enumerate(reader.logs):
        log.append(LEDGER, encode_rejection(rejection(f"of {partition}", partition)), at_ms=1)
    reader.silent.add(0)
    finished(follower.look())
    assert found == ["of 1"]
    reader.silent.clear()
    finished(follower.look())
    assert found == ["of 1", "of 0"]
