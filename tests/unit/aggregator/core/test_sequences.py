"""An emitter's numbers count once, in any order, and what was folded can be undone; bounds are kept, whoever passes them pays."""

import pytest
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.limits import CLOCK_AHEAD_MAX_MS

from aggregator.core import sequences
from aggregator.core.sequences import EMITTERS_MAX, MEMORY_MS, SequenceIndex, merged
from metering.records.tally import EmitterState
from tests.support.aggregator_sequence_tallies import checkpoint, tally


def small_bounds(monkeypatch: pytest.MonkeyPatch, **bounds: int) -> None:
    for name, bound in bounds.items():
        monkeypatch.setattr(sequences, name, bound)


def test_the_final_number_is_kept_and_carried_over() -> None:
    index = SequenceIndex()
    index.claim("e", 0, 3, 1)
    index.heartbeat("e", 2, None)
    index.heartbeat("e", 3, 4)
    assert index.states() == [EmitterState("e", ((0, 2),), 3, 4, 1 + CLOCK_AHEAD_MAX_MS)]
    other = SequenceIndex()
    other.restore(tally(ranges=[("e", 0, 2)], finals=[("e", 4)]))
    assert other.states() == [EmitterState("e", ((0, 2),), 5, 4, 5 + CLOCK_AHEAD_MAX_MS)]


def test_an_emitter_that_appeared_since_the_commit_is_gone_after_a_rollback() -> None:
    index = SequenceIndex()
    index.claim("e", 0, 3, 1)
    index.rollback()
    assert not len(index)


def test_neighbouring_ranges_are_joined_for_the_record() -> None:
    assert merged([("b", 0, 1), ("a", 5, 6), ("a", 3, 4), ("a", 8, 9)]) == [("a", 3, 6), ("a", 8, 9), ("b", 0, 1)]


def test_an_emitter_that_closed_with_nothing_missing_costs_a_digest_and_its_repeats_are_known() -> None:
    index = SequenceIndex()
    index.claim("e", 0, 10, 1, latest_ms=1)
    index.heartbeat("e", 2, 10)
    index.commit(2)
    assert (index.states(), len(index), index.following("e")) == ([], 1, 10)
    assert index.claim("e", 3, 7, 3) == ()
    assert index.claim_following(["e"], [10], [5], [4], latest_ms=4) == ()
    other = SequenceIndex()
    other.restore(checkpoint(index))
    for known in (index, other):
        assert list(known.claim("e", 8, 5, 4, latest_ms=1)) == [(10, 12)]
        assert known.states() == [EmitterState("e", ((0, 12),), 4, None, 1_000)]
        assert len(known) == 1


def test_an_emitter_that_only_closes_costs_nothing_and_one_whose_numbers_never_came_a_name() -> None:
    index = SequenceIndex()
    index.heartbeat("idle", 1, None)
    index.heartbeat("idle", 1, 0)
    index.heartbeat("lost", 1, 5)
    index.commit(1)
    assert index.states() == [EmitterState("lost", (), 1, 5)]
    assert len(index) == 1


def test_a_hundred_thousand_lives_in_a_month_stop_nothing_and_fit_into_a_record() -> None:
    index = SequenceIndex()
    for number in range(EMITTERS_MAX):
        index.claim(f"host-{number % 300}-{number:016x}", 0, 20, number * 20_000)
        index.heartbeat(f"host-{number % 300}-{number:016x}", number * 20_000, 20)
        if not number % 500:
            index.commit(number * 20_000)
    index.commit(EMITTERS_MAX * 20_000)
    assert len(index) == EMITTERS_MAX
    assert index.known_from_ms == 0
    other = SequenceIndex()
    other.restore(checkpoint(index))
    assert other.claim("host-7-" + f"{7:016x}", 0, 20, EMITTERS_MAX * 20_000) == ()


def test_what_is_older_than_anything_billable_is_forgotten_and_asks_nothing_of_others(monkeypatch: pytest.MonkeyPatch) -> None:
    small_bounds(monkeypatch, EMITTERS_MAX=16, NAMED_EMITTERS_MAX=4)
    index = SequenceIndex()
    for number in range(100):
        index.claim(f"e{number}", 0, 1, number * MEMORY_MS // 5)
        index.commit(number * MEMORY_MS // 5)
    assert len(index) <= 16 + 4
    assert index.known_from_ms == 0


def test_of_too_many_emitters_the_oldest_are_forgotten_and_older_events_of_unknown_ones_are_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    small_bounds(monkeypatch, EMITTERS_MAX=16, NAMED_EMITTERS_MAX=4)
    index = SequenceIndex()
    index.claim("before", 0, 1, 0)
    for number in range(100):
        now_ms = number * 1_000
        index.claim("before", number + 1, 1, now_ms)
        index.claim(f"e{number}", 0, 1, now_ms)
        index.commit(now_ms)
    assert len(index) <= 16 + 4
    assert list(index.claim("e0", 0, 1, 100_000)) == [(0, 0)]
    # It was forgotten: whoever asks learns that an event as old as that may have been counted.
    assert CLOCK_AHEAD_MAX_MS < index.known_from("e0") < 100_000 + CLOCK_AHEAD_MAX_MS
    assert index.known_from("before") == 0
    assert not index.claim("before", 50, 1, 100_000)
    assert index.claim_following(["new"], [0], [1], [100_001], latest_ms=100_001) == ()


def test_gaps_are_forgotten_where_there_are_most_and_numbers_among_them_are_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    small_bounds(monkeypatch, EMITTER_GAPS_MAX=50, GAPS_MAX=60)
    index = SequenceIndex()
    for emitter in ("torn", "torn too"):
        for number in range(0, 100, 2):
            index.claim(emitter, number, 1, 1)
    for number in range(0, 6, 2):
        index.claim("fine", number, 1, 1)
    index.commit(1)
    assert index.gaps <= 60
    for emitter in ("torn", "torn too"):
        with pytest.raises(EventRejected, match="remembered from"):
            index.claim(emitter, 1, 1, 2)
        assert list(index.claim(emitter, 99, 3, 2)) == [(99, 101)]
        assert list(index.claim(emitter, 97, 1, 2)) == [(97, 97)]
    assert list(index.claim("fine", 1, 1, 2)) == [(1, 1)]
    assert index.known_from("torn") == index.known_from("fine") == 0
    index.commit(2)
    other = SequenceIndex()
    other.restore(checkpoint(index))
    assert other.states() == index.states()
    assert other.gaps == index.gaps


def test_one_emitter_with_endless_gaps_is_bounded_and_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    small_bounds(monkeypatch, EMITTER_GAPS_MAX=50)
    index = SequenceIndex()
    for number in range(0, 10_000, 2):
        assert list(index.claim("torn", number, 1, 1)) == [(number, number)]
        index.commit(1)
        assert index.gaps <= 51
