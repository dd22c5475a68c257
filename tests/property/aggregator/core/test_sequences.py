"""Sequence numbers against a set of pairs, also where memory is short."""

from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.limits import CLOCK_AHEAD_MAX_MS

from aggregator.core.sequences import SequenceIndex, merged
from metering.records.tally import Tally
from tests.support.aggregator_sequence_tallies import checkpoint, tally

MEMORY_MS = 5 * 3_600_000
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


@settings(max_examples=300, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.integers(0, 12), st.integers(0, 12), st.integers(1, 4)),
            st.sampled_from(["commit", "commit", "rollback", "checkpoint", "tallies", "later", "much later"]),
            st.tuples(st.integers(0, 12), st.just("close")),
        ),
        max_size=60,
    ),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_no_event_is_counted_twice_however_small_the_memory(script: list[Any], emitters_max: int, named_max: int, gaps_max: int) -> None:
    small = {"EMITTERS_MAX": emitters_max, "NAMED_EMITTERS_MAX": named_max, "GAPS_MAX": gaps_max, "EMITTER_GAPS_MAX": 2, "MEMORY_MS": MEMORY_MS}
    with ExitStack() as bounds:
        for name, bound in small.items():
            bounds.enter_context(patch(f"aggregator.core.sequences.{name}", bound))
        _Pressed().run(script)


class _Pressed:
    """A writer under pressure: whether an event counts is decided as PartitionCounter decides it."""

    def __init__(self) -> None:
        self.index = SequenceIndex()
        self.now_ms = 10**12
        self.times: dict[tuple[str, int], int] = {}
        self.counted: set[tuple[str, int]] = set()
        self.pending: list[tuple[str, int]] = []
        self.ranges: list[tuple[str, int, int]] = []
        self.since_checkpoint: list[Tally] = []
        self.last_checkpoint = checkpoint(self.index)

    def run(self, script: list[Any]) -> None:
        for step in script:
            match step:
                case (int(emitter), "close"):
                    self.index.heartbeat(f"e{emitter}", self.now_ms, max((n + 1 for e, n in self.times if e == f"e{emitter}"), default=0))
                case (int(emitter), int(first), int(count)):
                    self._claim(f"e{emitter}", first, count)
                case "later":
                    self.now_ms += 60_000
                case "much later":
                    self.now_ms += 3_600_000
                case "rollback":
                    self.index.rollback()
                    self.pending.clear()
                    self.ranges.clear()
                case _:
                    self._commit()
                    if step == "checkpoint":
                        self.last_checkpoint = checkpoint(self.index)
                        self.since_checkpoint = []
                    elif step == "tallies":  # another process takes over
                        self.index = SequenceIndex()
                        for known in (self.last_checkpoint, *self.since_checkpoint):
                            self.index.restore(known)

    def _claim(self, emitter: str, first: int, count: int) -> None:
        times = [self.times.setdefault((emitter, number), self.now_ms + CLOCK_AHEAD_MAX_MS) for number in range(first, first + count)]
        try:
            fresh = self.index.claim(emitter, first, count, self.now_ms, latest_ms=max(times))
        except EventRejected:
            return
        self.ranges += [(emitter, a, b) for a, b in fresh]
        for number in numbers_in(fresh):
            if self.times[emitter, number] >= max(self.index.known_from(emitter), self.now_ms - MEMORY_MS + 1_000):
                assert (emitter, number) not in self.counted
                assert (emitter, number) not in self.pending
                self.pending.append((emitter, number))

    def _commit(self) -> None:
        self.index.commit(self.now_ms)
        told = tally(ranges=merged(self.ranges), log_time_ms=self.now_ms, emitters_from_ms=self.index.known_from_ms)
        self.since_checkpoint.append(told)
        self.counted.update(self.pending)
        self.pending.clear()
        self.ranges.clear()
