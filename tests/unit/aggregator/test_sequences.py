"""An emitter's numbers count once, in any order, and what was folded can be undone."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.core import sequences
from aggregator.core.sequences import EMITTERS_MAX, MEMORY_MS, RANGES_MAX, SequenceIndex, TooManyEmitters, merged
from metering.records.chain import ChainLink
from metering.records.tally import EmitterState, EventCounts, RecordCounts, Tally

claims = st.tuples(st.sampled_from(["e1", "e2"]), st.integers(0, 30), st.integers(1, 8))
steps = st.lists(st.one_of(claims, st.sampled_from(["commit", "rollback", "restore"])), max_size=30)


def tally(ranges: Any = (), finals: Any = (), states: Any = None) -> Tally:
    return Tally(
        chain_id="c",
        partition=0,
        link=ChainLink(0, 0, -1),
        checkpoint=-1,
        instance="i",
        catalogue="k",
        log_time_ms=5,
        records=RecordCounts(),
        events=EventCounts(),
        rows=[],
        ranges=ranges,
        finals=finals,
        emitter_states=states,
    )


def numbers_in(ranges: Any) -> set[int]:
    return {number for first, last in ranges for number in range(first, last + 1)}


@settings(max_examples=300)
@given(steps)
def test_each_number_is_new_once_against_a_set_of_pairs(script: list[Any]) -> None:
    index = SequenceIndex()
    seen: set[tuple[str, int]] = set()
    committed: set[tuple[str, int]] = set()
    for step in script:
        match step:
            case "commit":
                index.commit(5)
                committed = set(seen)
            case "rollback":
                index.rollback()
                seen = set(committed)
            case "restore":  # another process takes in the whole state
                states = index.states()
                index = SequenceIndex()
                index.restore(tally(states=states))
                committed = set(seen)
            case (emitter, first, count):
                fresh = numbers_in(index.claim(emitter, first, count, 5))
                wanted = {number for number in range(first, first + count) if (emitter, number) not in seen}
                assert fresh == wanted
                seen |= {(emitter, number) for number in wanted}
    assert {(state.emitter, number) for state in index.states() for number in numbers_in(state.seen)} == seen
    for state in index.states():
        assert all(a[1] + 1 < b[0] for a, b in zip(state.seen, state.seen[1:], strict=False)), "ranges are sorted, disjoint and joined"


@given(st.lists(claims, max_size=12))
def test_a_reader_of_the_ranges_knows_what_the_writer_knows(script: list[tuple[str, int, int]]) -> None:
    writer, reader = SequenceIndex(), SequenceIndex()
    for emitter, first, count in script:
        fresh = [(emitter, a, b) for a, b in writer.claim(emitter, first, count, 5)]
        writer.commit(5)
        reader.restore(tally(ranges=merged(fresh)))
    assert {s.emitter: s.seen for s in writer.states() if s.seen} == {s.emitter: s.seen for s in reader.states() if s.seen}


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
