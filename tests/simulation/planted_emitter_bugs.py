"""Bugs put in on purpose in what is remembered of emitters, and where one client's events are set aside."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from unittest.mock import patch

from aggregator.core import sequences
from aggregator.core.emitter_numbers import EmitterNumbers
from aggregator.core.pending_tally import Pending
from aggregator.core.sequences import SequenceIndex
from metering.records.dead_letter import DeadLetter
from metering.records.fail_closed import ChainBroken

RUN_MAX = 3


@contextmanager
def emitters_that_are_forgotten_are_believed() -> Iterator[None]:
    """Memory is for one emitter, and late events of those that were forgotten are counted."""
    with (
        patch.object(sequences, "EMITTERS_MAX", 1),
        patch.object(sequences, "NAMED_EMITTERS_MAX", 1),
        patch.object(SequenceIndex, "_forgotten", lambda _self, _latest_ms: None),
    ):
        yield


@contextmanager
def numbers_among_forgotten_gaps_are_taken_for_seen() -> Iterator[None]:
    """Memory is for one gap, and numbers that were missing count as duplicates when they come."""

    def forget_gaps(self: EmitterNumbers) -> None:
        self.firsts[:2] = [self.firsts[0]]
        self.lasts[:2] = [self.lasts[1]]

    with (
        patch.object(sequences, "EMITTER_GAPS_MAX", 0),
        patch.object(EmitterNumbers, "forget_gaps", forget_gaps),
    ):
        yield


@contextmanager
def many_dead_letters_stop_the_partition() -> Iterator[None]:
    """A few events in a row that are set aside stop the partition for everybody."""
    real = Pending.add_dead_letter

    def dead_letter(self: Pending, letter: DeadLetter) -> None:
        real(self, letter)
        if len(self.letters) >= RUN_MAX:
            raise ChainBroken("dead letters are the main output")

    with patch.object(Pending, "add_dead_letter", dead_letter):
        yield


PLANTED_IN_EMITTERS: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    bug.__name__: bug
    for bug in (
        emitters_that_are_forgotten_are_believed,
        numbers_among_forgotten_gaps_are_taken_for_seen,
        many_dead_letters_stop_the_partition,
    )
}
