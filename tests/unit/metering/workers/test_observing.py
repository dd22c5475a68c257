"""What is seen of owned partitions: how far they are behind, what an open transaction holds back, and what is committed of a stopped one."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from aiokafka import TopicPartition
from aiokafka.structs import OffsetAndMetadata
from prometheus_client import CollectorRegistry

from metering.kafka.stop_notes import NOTE_CHARS_MAX, running_note, running_version, stop_note, stop_reason
from metering.process.logs import get_log
from metering.process.service import installed_version
from metering.records.fail_closed import ChainBroken, FailClosed, HistoryLost
from metering.workers.group_metrics import GroupMetrics
from metering.workers.observing import Observing
from tests.support.manual_clock import ManualClock

PLACE = TopicPartition("events", 0)


@dataclass
class Worker:
    """As far as it is looked at."""

    settled_to: int | None = 5
    stopped: FailClosed | None = None
    readable_end: int = 0

    @property
    def chain_end(self) -> int | None:
        return self.settled_to

    def tell_readable_end(self, end: int) -> None:
        self.readable_end = end


@dataclass
class Consumer:
    """One partition at the broker."""

    end: int = 5
    stable: int | None = 5
    before: int | None = None
    commits: list[dict[TopicPartition, OffsetAndMetadata]] = field(default_factory=list)

    def assignment(self) -> set[TopicPartition]:
        return {PLACE}

    def highwater(self, _place: TopicPartition) -> int:
        return self.end

    def last_stable_offset(self, _place: TopicPartition) -> int | None:
        return self.stable

    async def committed(self, _place: TopicPartition) -> int | None:
        return self.before

    async def commit(self, offsets: dict[TopicPartition, OffsetAndMetadata]) -> None:
        self.commits.append(offsets)


class Owned:
    """The one partition that this process owns."""

    def __init__(self, worker: Worker) -> None:
        self.topic = "events"
        self.workers = {0: worker}
        self.unread: dict[int, FailClosed] = {}
        self.settled = True

    def place(self, partition: int) -> TopicPartition:
        return TopicPartition(self.topic, partition)

    def with_kept(self) -> Any:
        return self.workers.items()


class Subject:
    """An Observing, and what it sees."""

    def __init__(self) -> None:
        self.clock, self.worker, self.consumer = ManualClock(), Worker(), Consumer()
        self.metrics = GroupMetrics.create(CollectorRegistry(), "taximeter_test", lag="Lag.", paused="Paused.", takeover="Takeover.", stop_reasons=())
        self.owned = Owned(self.worker)
        context: Any = SimpleNamespace(clock=self.clock, log=get_log("test"))
        owned: Any = self.owned
        self.observing = Observing(context, owned, self.metrics, by_partition=(), stall_seconds=60)

    def look(self, seconds: float = 0.0) -> str | None:
        consumer: Any = self.consumer
        self.clock.advance(seconds)
        self.observing.observe(consumer)
        return self.observing.open_transactions()

    async def publish(self) -> OffsetAndMetadata:
        consumer: Any = self.consumer
        await self.observing.publish_once(consumer)
        return self.consumer.commits[-1][PLACE]

    @property
    def lag(self) -> float:
        return float(self.metrics.lag.labels("0")._value.get())


def test_an_open_transaction_is_named_once_it_has_stood_for_long_and_is_not_taken_for_a_standstill() -> None:
    subject = Subject()
    subject.consumer.end, subject.consumer.stable = 25, 5
    assert subject.look() is None
    assert (subject.lag, subject.worker.readable_end) == (20, 5)
    subject.consumer.end = 26
    assert subject.look(61) == "partition 0: an open transaction of another producer at offset 5 holds back 21 records for 61 s"
    assert subject.observing.progress.problem() is None
    # Another one took its place: the first has ended, and what lies before the second can be read.
    subject.consumer.stable = 9
    assert subject.look() is None
    assert subject.look(61) is not None
    assert subject.observing.progress.problem() is not None
    subject.consumer.stable, subject.worker.settled_to = 26, 26
    assert subject.look() is None
    assert (subject.lag, subject.worker.readable_end) == (0, 26)


def test_a_broker_that_knows_no_transactions_can_be_read_to_its_end() -> None:
    for stable in (None, -1):
        subject = Subject()
        subject.consumer.end, subject.consumer.stable = 9, stable
        subject.look()
        assert (subject.look(61), subject.worker.readable_end) == (None, 9)


async def test_why_a_partition_stopped_is_committed_beside_its_last_offset() -> None:
    subject = Subject()
    assert await subject.publish() == OffsetAndMetadata(5, running_note(installed_version()))
    subject.worker.stopped, subject.worker.settled_to = HistoryLost("gone"), None
    assert await subject.publish() == OffsetAndMetadata(5, "stopped: HistoryLost: gone")
    fresh = Subject()
    fresh.worker.stopped, fresh.worker.settled_to, fresh.consumer.before = HistoryLost("gone"), None, 3
    assert (await fresh.publish()).offset == 3
    fresh.worker.stopped, fresh.worker.settled_to = None, 7
    assert await fresh.publish() == OffsetAndMetadata(7, running_note(installed_version()))


def test_a_note_says_what_stopped_a_partition_and_other_notes_nothing() -> None:
    assert stop_reason(stop_note(ChainBroken("odd"))) == "ChainBroken: odd"
    assert len(stop_note(ChainBroken("x" * 5_000))) == NOTE_CHARS_MAX
    assert [stop_reason(note) for note in ("", None, "mine")] == [None, None, None]
    assert running_version(running_note("0.1.0")) == "0.1.0"
    assert [running_version(note) for note in ("", None, "mine", stop_note(ChainBroken("odd")))] == [None] * 4
    assert stop_reason(running_note("0.1.0")) is None
