"""Bugs put in on purpose where the aggregator keeps numbers, ids and snapshots, and where it takes an append for accepted."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from aggregator.core.counting import PartitionCounter
from aggregator.core.sequences import SequenceIndex
from aggregator.ids.id_archive import IdArchive
from aggregator.ids.id_files import SnapshotRecord
from aggregator.ids.id_index import IdIndex
from aggregator.takeover import CountingTakeover
from aggregator.worker import CountingWorker
from metering.kafka.partition_log import LogUnavailable


@contextmanager
def numbers_are_off_by_one() -> Iterator[None]:
    """The last number of each batch is not marked as seen."""
    real = SequenceIndex._claim

    def claim(self: SequenceIndex, emitter: str, first: int, last: int, *times_ms: int) -> Sequence[tuple[int, int]]:
        fresh = real(self, emitter, first, last, *times_ms)
        known = self._emitters[emitter]
        if last > first and known.lasts[-1] == last:
            known.lasts[-1] -= 1
        return fresh

    with patch.object(SequenceIndex, "_claim", claim):
        yield


@contextmanager
def numbers_are_not_restored_on_takeover() -> Iterator[None]:
    """A new owner does not take in which numbers the tallies have counted."""

    def restore(_self: SequenceIndex, _tally: object) -> None:
        return

    with patch.object(SequenceIndex, "restore", restore):
        yield


@contextmanager
def what_was_read_is_committed_in_finally() -> Iterator[None]:
    """Counting goes on behind what was read, also when nobody acknowledged the tally."""
    real = CountingWorker._flush

    async def flush(self: CountingWorker, counter: PartitionCounter) -> None:
        end = counter.position
        try:
            await real(self, counter)
        except LogUnavailable:
            counter._rollback(end)
            counter.tallies.chain.end = end

    with patch.object(CountingWorker, "_flush", flush):
        yield


@contextmanager
def a_lost_tally_keeps_its_ids() -> Iterator[None]:
    """Another writer's tally came first, and the ids that were not counted by us are not taken out again."""

    def rollback(self: IdIndex) -> None:
        self.commit(0)

    with patch.object(IdIndex, "rollback", rollback):
        yield


@contextmanager
def a_snapshot_is_believed_whatever_it_is_of() -> Iterator[None]:
    """Whose chain it is of, and whether it reaches back far enough, is not checked."""

    async def usable(self: CountingTakeover, partition: int, *_: Any) -> SnapshotRecord | None:
        return self._snapshots.found(partition)

    with patch.object(CountingTakeover, "_usable_snapshot", usable):
        yield


@contextmanager
def a_snapshot_counts_as_the_whole() -> Iterator[None]:
    """Ids that were counted after the snapshot are not read from the log."""
    real = CountingTakeover.remember

    async def remember(self: CountingTakeover, counter: PartitionCounter, start: int, end: int) -> None:
        await real(self, counter, end if len(counter.ids.archive) and not counter.ids.recent else start, end)

    with patch.object(CountingTakeover, "remember", remember):
        yield


@contextmanager
def the_archive_forgets_early() -> Iterator[None]:
    """A segment goes when the next one begins."""
    real = IdArchive.forget_before

    def forget_before(self: IdArchive, log_time_ms: int) -> None:
        newest = max((segment.since_ms for segment in self.segments), default=0)
        real(self, max(log_time_ms, newest))

    with patch.object(IdArchive, "forget_before", forget_before):
        yield


@contextmanager
def the_archive_is_not_asked() -> Iterator[None]:
    """Only the recent ids are looked up."""

    def look_up(_self: IdArchive, _fingerprint: bytes) -> int | None:
        return None

    with patch.object(IdArchive, "look_up", look_up):
        yield


PLANTED_IN_LOGS: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    bug.__name__: bug
    for bug in (
        numbers_are_off_by_one,
        numbers_are_not_restored_on_takeover,
        what_was_read_is_committed_in_finally,
        a_lost_tally_keeps_its_ids,
        a_snapshot_is_believed_whatever_it_is_of,
        a_snapshot_counts_as_the_whole,
        the_archive_forgets_early,
        the_archive_is_not_asked,
    )
}
