"""Sequence numbers against a set of pairs."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aggregator.core.sequences import SequenceIndex, merged
from tests.support.aggregator_sequence_tallies import tally

claims = st.tuples(st.sampled_from(["e1", "e2"]), st.integers(0, 30), st.integers(1, 8))
steps = st.lists(st.one_of(claims, st.sampled_from(["commit", "rollback", "restore"])), max_size=30)


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
