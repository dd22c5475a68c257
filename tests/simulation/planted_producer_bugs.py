"""Bugs put in on purpose where producers are killed, close, write in transactions, or send what is set aside."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

from taximeter_emitter.wire.batch import Batch

from aggregator.core.numbering import Numbering
from aggregator.core.pending_tally import Pending
from aggregator.core.sequences import SequenceIndex
from aggregator.ids.fingerprints import Fingerprints
from aggregator.reading import plain_reader
from aggregator.takeover import CountingTakeover
from metering.records.dead_letter import DeadLetter
from metering.records.fail_closed import FailClosed
from tests.simulation.world import World

RUN_MAX = 5


@contextmanager
def lives_of_an_emitter_share_their_numbers() -> Iterator[None]:
    """A process that is started again numbers from 0, and that is taken for what its former life has sent."""
    claim, following = SequenceIndex.claim, SequenceIndex.claim_following

    def claim_(self: SequenceIndex, emitter: str, *more: Any, **named: Any) -> Sequence[tuple[int, int]]:
        return claim(self, emitter.partition(".")[0], *more, **named)

    def following_(self: SequenceIndex, emitters: Sequence[str], *more: Any, **named: Any) -> Sequence[tuple[str, int, int]]:
        return following(self, [emitter.partition(".")[0] for emitter in emitters], *more, **named)

    with patch.object(SequenceIndex, "claim", claim_), patch.object(SequenceIndex, "claim_following", following_):
        yield


@contextmanager
def ids_of_numbered_events_are_not_looked_up() -> Iterator[None]:
    """What a host emits again after a crash has a new number, and counts again."""
    real = plain_reader._ids

    def ids(batches: Sequence[Batch], events: int) -> Fingerprints:
        return real([batch._replace(ids=b"") if batch.emitter.startswith("sdk") else batch for batch in batches], events)

    with patch.object(plain_reader, "_ids", ids):
        yield


@contextmanager
def what_an_emitter_says_at_its_end_counts_as_seen() -> Iterator[None]:
    """The final number of an emitter overtakes its events, which are then taken for repeated ones."""
    real = SequenceIndex.heartbeat

    def heartbeat(self: SequenceIndex, emitter: str, log_time_ms: int, final: int | None) -> None:
        real(self, emitter, log_time_ms, final)
        if final:
            self.claim(emitter, 0, final, log_time_ms)

    with patch.object(SequenceIndex, "heartbeat", heartbeat):
        yield


@contextmanager
def who_only_closes_is_not_written_down() -> Iterator[None]:
    """The end of an emitter that has sent nothing is in no tally."""
    real = Numbering._heartbeat

    def heartbeat(self: Numbering, pending: Pending, beat: Batch, moment: int) -> None:
        if not beat.final or beat.first_seq:
            real(self, pending, beat, moment)

    with patch.object(Numbering, "_heartbeat", heartbeat):
        yield


@contextmanager
def an_emitter_that_was_forgotten_is_new() -> Iterator[None]:
    """There are too many to remember all, and which may have been forgotten is not."""

    def forgotten(_self: SequenceIndex, _latest_ms: int) -> None:
        return

    with patch.object(SequenceIndex, "_forgotten", forgotten):
        yield


@contextmanager
def who_closes_is_forgotten() -> Iterator[None]:
    """An emitter that has closed with nothing missing is not remembered, and what its spool sends again counts again."""

    def digest(self: SequenceIndex, emitter: str) -> None:
        del self._emitters[emitter]

    with patch.object(SequenceIndex, "_digest", digest):
        yield


@contextmanager
def transactions_are_read_before_they_end() -> Iterator[None]:
    """What is aborted later has been counted then."""

    def end_of(self: World, topic: str, partition: int) -> int:
        return len(self.logs[topic, partition])

    with patch.object(World, "end_of", end_of):
        yield


@contextmanager
def a_marker_is_taken_for_a_record_that_is_missing() -> Iterator[None]:
    """An offset without a record stops its partition."""

    async def holds_no_record(_self: CountingTakeover, *_: Any) -> bool:
        return False

    with patch.object(CountingTakeover, "holds_no_record", holds_no_record):
        yield


@contextmanager
def a_record_that_is_missing_is_taken_for_a_marker() -> Iterator[None]:
    """Whatever the client passes over counts as skipped."""

    async def holds_no_record(_self: CountingTakeover, *_: Any) -> bool:
        return True

    with patch.object(CountingTakeover, "holds_no_record", holds_no_record):
        yield


@contextmanager
def a_flood_of_bad_events_stops_the_partition() -> Iterator[None]:
    """Who sends a few of them in a row stops all others."""
    real = Pending.add_dead_letter

    def dead_letter(self: Pending, letter: DeadLetter) -> None:
        real(self, letter)
        if len(self.letters) > RUN_MAX:
            raise FailClosed(f"more than {RUN_MAX} events were set aside")

    with patch.object(Pending, "add_dead_letter", dead_letter):
        yield


PLANTED_FOR_PRODUCERS: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    bug.__name__: bug
    for bug in (
        lives_of_an_emitter_share_their_numbers,
        ids_of_numbered_events_are_not_looked_up,
        what_an_emitter_says_at_its_end_counts_as_seen,
        who_only_closes_is_not_written_down,
        an_emitter_that_was_forgotten_is_new,
        who_closes_is_forgotten,
        transactions_are_read_before_they_end,
        a_marker_is_taken_for_a_record_that_is_missing,
        a_record_that_is_missing_is_taken_for_a_marker,
        a_flood_of_bad_events_stops_the_partition,
    )
}
