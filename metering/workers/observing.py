"""What others see of the owned partitions: lag, progress, what stopped them, and committed offsets for lag tools."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError
from aiokafka.structs import OffsetAndMetadata
from prometheus_client import Gauge

from metering.kafka.stop_notes import running_note, stop_note
from metering.process.health import Progress
from metering.process.logs import RateLimited
from metering.process.service import ServiceContext, installed_version
from metering.workers.group_metrics import GroupMetrics
from metering.workers.owned_partitions import OwnedPartitions

PUBLISH_SECONDS: Final = 2.0


@dataclass(frozen=True, slots=True)
class HeldBack:
    """Records from `offset` on that cannot be read before a transaction ends; `since`: monotonic seconds."""

    offset: int
    records: int
    since: float


class Observing:
    """`by_partition`: gauges beside the lag that are labelled by partition, whose series go with it."""

    def __init__(
        self, context: ServiceContext, owned: OwnedPartitions[Any], metrics: GroupMetrics, *, by_partition: Sequence[Gauge], stall_seconds: float
    ) -> None:
        self.progress = Progress(context.clock, what=f"records of {owned.topic}", stall_seconds=stall_seconds)
        self._context = context
        self._owned = owned
        self._metrics = metrics
        self._by_partition = (metrics.lag, metrics.open_transaction_seconds, *by_partition)
        self._stall_seconds = stall_seconds
        self._held_back: dict[int, HeldBack] = {}
        self._published: dict[int, int] = {}  # the latest offset of each partition
        self._warnings = RateLimited(context.clock)
        self._ends = 0
        self._exported: set[int] = set()

    def observe(self, consumer: AIOKafkaConsumer) -> None:
        """Look at how far each partition is."""
        assignment = consumer.assignment()
        lag = ends = 0
        for partition, worker in self._owned.workers.items():
            end, place = worker.chain_end, self._owned.place(partition)
            if end is None or place not in assignment:
                lag += 1  # not known, and not nothing: a partition that never gets to work must not look idle
                continue
            ends += max(0, end)
            settled, log_end = max(0, worker.settled_to or 0), consumer.highwater(place) or 0
            readable = self._look_behind(partition, consumer.last_stable_offset(place), log_end)
            worker.tell_readable_end(readable)
            self._metrics.lag.labels(str(partition)).set(max(0, log_end - settled))
            lag += max(0, readable - settled)
        self.progress.pending(lag)
        if ends != self._ends:
            self._ends = ends
            self.progress.moved()

    def _look_behind(self, partition: int, stable_end: int | None, log_end: int) -> int:
        """Note what an open transaction holds back. Returns how far the partition can be read; a broker that knows no transactions does not say."""
        readable = log_end if stable_end is None or stable_end < 0 else min(stable_end, log_end)
        before, now = self._held_back.pop(partition, None), self._context.clock.monotonic()
        if readable < log_end:
            since = before.since if before is not None and before.offset == readable else now
            self._held_back[partition] = HeldBack(readable, log_end - readable, since)
            self._metrics.open_transaction_seconds.labels(str(partition)).set(now - since)
        else:
            self._metrics.open_transaction_seconds.labels(str(partition)).set(0)
        return readable

    def open_transactions(self) -> str | None:
        """Which open transactions of other producers have held records back for too long, in words; None when none does."""
        now = self._context.clock.monotonic()
        found = [
            f"partition {partition}: an open transaction of another producer at offset {held.offset} holds back {held.records} records"
            f" for {now - held.since:.0f} s"
            for partition, held in sorted(self._held_back.items())
            if partition in self._owned.workers and now - held.since > self._stall_seconds
        ]
        return "; ".join(found) or None

    def forget_others(self) -> None:
        """Drop the series of partitions that are not owned any more: what another process knows better must not be shown as it was here."""
        for partition in self._exported - self._owned.workers.keys():
            for metric in self._by_partition:
                with suppress(KeyError):
                    metric.remove(str(partition))
        self._exported = set(self._owned.workers)

    def stopped_partitions(self) -> str | None:
        """What stops partitions now, in words; None when nothing does."""
        stopped = {partition: worker.stopped for partition, worker in self._owned.workers.items() if worker.stopped is not None} | self._owned.unread
        self._metrics.note_stops([type(error).__name__ for error in stopped.values()])
        if not stopped:
            return None
        return "; ".join(f"partition {partition}: {type(error).__name__}: {error}" for partition, error in sorted(stopped.items()))

    def not_taken_over(self) -> str | None:
        """What this process owns and has not begun to work on, in words; None when there is nothing such."""
        if not self._owned.settled:
            return "the group has not agreed yet who owns which partition"
        waiting = [partition for partition, worker in self._owned.workers.items() if worker.chain_end is None and worker.stopped is None]
        return f"partitions that are not taken over yet: {', '.join(map(str, sorted(waiting)))}" if waiting else None

    async def publish(self, consumer: AIOKafkaConsumer) -> None:
        """Commit up to where nothing waits, again and again, until cancelled."""
        while True:
            await self._context.clock.sleep(PUBLISH_SECONDS)
            await self.publish_once(consumer)

    async def publish_once(self, consumer: AIOKafkaConsumer) -> None:
        """Commit up to where nothing waits, for lag tools only; and beside it what stopped a partition."""
        if not self._owned.settled:
            return  # a commit in the middle of a rebalance fails, and makes the client join once more: the group would never settle
        try:
            for partition, worker in list(self._owned.workers.items()):
                if worker.stopped is not None and partition not in self._published:
                    self._published[partition] = await consumer.committed(self._owned.place(partition)) or 0
            offsets = self._publishable(consumer.assignment())
            if offsets and self._owned.settled:
                await consumer.commit(offsets)
        except KafkaError as error:
            self._warnings.warning(self._context.log, "offsets could not be published", reason=repr(error))

    def _publishable(self, assignment: Collection[TopicPartition]) -> dict[TopicPartition, OffsetAndMetadata]:
        offsets = {}
        for partition, worker in self._owned.with_kept():
            end, place = worker.settled_to, self._owned.place(partition)
            if place not in assignment:
                continue
            if worker.stopped is not None and partition in self._published:
                offsets[place] = OffsetAndMetadata(self._published[partition], stop_note(worker.stopped))
            elif end is not None and end >= 0:
                self._published[partition] = end
                offsets[place] = OffsetAndMetadata(end, running_note(installed_version()))
        return offsets
