"""An emitter's numbers count once, in any order, and what was folded can be undone."""

import pytest

from aggregator.core import sequences
from aggregator.core.sequences import EMITTERS_MAX, MEMORY_MS, RANGES_MAX, SequenceIndex, TooManyEmitters, merged
from metering.records.tally import EmitterState
from tests.support.aggregator_sequence_tallies import tally


def test_the_final_number_is_kept_and_carried_over() -> None:
    index = SequenceIndex()
    index.claim("e", 0, 3, 1)
    index.heartbeat("e", 2, None)
    index.heartbeat("e", 3, 3)
    assert index.states() == [EmitterState("e", ((0, 2),), 3, 3)]
    other = SequenceIndex()
    other.restore(tally(ranges=[("e", 0, 2)], finals=[("e", 3)]))
    assert other.states() == [EmitterState("e", ((0, 2),), 5, 3)]


def test_an_emitter_that_appeared_since_the_commit_is_gone_after_a_rollback() -> None:
    index = SequenceIndex()
    index.claim("e", 0, 3, 1)
    index.rollback()
    assert not len(index)


def test_neighbouring_ranges_are_joined_for_the_record() -> None:
    assert merged([("b", 0, 1), ("a", 5, 6), ("a", 3, 4), ("a", 8, 9)]) == [("a", 3, 6), ("a", 8, 9), ("b", 0, 1)]


def test_too_many_gaps_stop_the_partition() -> None:
    index = SequenceIndex()
    for number in range(0, 2 * RANGES_MAX, 2):
        index.claim("e", number, 1, 1)
    with pytest.raises(TooManyEmitters, match="gaps"):
        index.claim("e", 2 * RANGES_MAX, 1, 1)


def test_silent_emitters_are_forgotten_only_under_pressure_and_too_many_stop_the_partition(monkeypatch: pytest.MonkeyPatch) -> None:
    assert EMITTERS_MAX > 1_000
    monkeypatch.setattr(sequences, "EMITTERS_MAX", 4)
    index = SequenceIndex()
    for number in range(3):
        index.claim(f"old{number}", 0, 1, 0)
    index.commit(MEMORY_MS)
    assert len(index) == 3
    index.commit(MEMORY_MS + 1)
    assert not len(index)
    for number in range(4):
        index.claim(f"new{number}", 0, 1, MEMORY_MS)
    with pytest.raises(TooManyEmitters, match="alive"):
        index.claim("one more", 0, 1, MEMORY_MS)
