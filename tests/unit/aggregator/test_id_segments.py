"""Packed ids answer exactly as a dictionary would."""

from collections.abc import Callable, Sequence

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from aggregator.deduplication import IdIndex, Seen
from aggregator.id_segments import ABSENT, ARRAYS_FROM, ENTRY, SLOTS_MIN, IdArchive, IdSegment, MemoryStorage, Words, words_of
from metering.limits import HOUR_MS

# Few different halves, and the bits that choose slot and tag all alike: every walk from slot to slot is needed.
halves = st.sampled_from([0, 1, 2, SLOTS_MIN, SLOTS_MIN + 1, 2 * SLOTS_MIN - 1, 1 << 56, (255 << 56) + 1, (1 << 64) - 1])
prints = st.builds(lambda first, second: first.to_bytes(8, "little") + second.to_bytes(8, "little"), halves, halves)


def numbered(count: int, salt: int = 0) -> list[bytes]:
    """Different fingerprints that all begin at one slot."""
    return [(number << 20).to_bytes(8, "little") + salt.to_bytes(8, "little") for number in range(count)]


@given(st.lists(st.lists(prints, unique=True), max_size=6), st.lists(prints))
def test_a_segment_knows_what_was_inserted_and_nothing_else(groups: list[list[bytes]], asked: list[bytes]) -> None:
    segment, known = IdSegment(MemoryStorage(), since_ms=0), dict[bytes, int]()
    for group in groups:
        fresh = [one for one in group if one not in known]
        contents = list(range(len(known), len(known) + len(fresh)))
        known.update(zip(fresh, contents, strict=True))
        if fresh:
            segment.insert(*words_of(fresh), _words(contents))
    assert len(segment) == len(known)
    everything = [*known, *asked]
    found = segment.find(*words_of(everything)).tolist() if everything else []
    for one, number in zip(everything, found, strict=True):
        assert segment.find_one(int.from_bytes(one[:8], "little"), int.from_bytes(one[8:], "little")) == number
        assert (segment.content(number) if number != ABSENT else None) == known.get(one)


def test_a_segment_grows_and_one_that_expects_what_comes_does_not() -> None:
    ids = numbered(SLOTS_MIN)
    small, large = IdSegment(MemoryStorage(), since_ms=0), IdSegment(MemoryStorage(), since_ms=0, expected=len(ids))
    before = small.resident_bytes, large.resident_bytes
    for segment in (small, large):
        segment.insert(*words_of(ids), _words(range(len(ids))))
        assert (segment.find(*words_of(ids)) == range(len(ids))).all()
    assert (small.resident_bytes, large.resident_bytes) == (2 * before[0], before[1])


def test_the_archive_begins_a_segment_when_one_is_full_or_spans_enough_and_forgets_it_whole() -> None:
    archive = IdArchive(MemoryStorage, span_ms=HOUR_MS, ids_per_segment_max=10)
    for time_ms, salt in ((0, 1), (HOUR_MS, 2), (2 * HOUR_MS, 3), (2 * HOUR_MS, 4)):
        archive.add(numbered(4, salt), [salt] * 4, time_ms)
    archive.add(numbered(4, 5), [5] * 4, 2 * HOUR_MS)
    assert [archive.look_up(numbered(1, salt)[0]) for salt in range(1, 7)] == [1, 2, 3, 4, 5, None]
    archive.forget_before(HOUR_MS + 1)
    assert archive.known([numbered(1, salt)[0] for salt in range(1, 6)]) == [False, False, True, True, True]
    assert len(archive) == 12


def test_many_are_asked_at_once_with_the_answers_of_one_by_one() -> None:
    archive = IdArchive(MemoryStorage, span_ms=HOUR_MS, ids_per_segment_max=50)
    for salt in range(3):
        archive.add(numbered(40, salt), range(40), 0)
    asked = [one for salt in range(4) for one in numbered(60, salt)]
    assert len(asked) > ARRAYS_FROM
    assert archive.known(asked) == [archive.look_up(one) is not None for one in asked]
    assert sum(archive.known(asked)) == 120


def test_a_storage_is_disposed_of_with_its_segment() -> None:
    disposed: list[int] = []

    class Noting(MemoryStorage):
        def dispose(self) -> None:
            disposed.append(1)

    archive = IdArchive(Noting, span_ms=0)
    archive.add(numbered(1, 1), [1], 10)
    archive.add(numbered(1, 2), [1], 20)
    archive.forget_before(20)
    assert (disposed, len(archive)) == ([1], 1)


def test_entries_that_an_earlier_process_wrote_are_adopted() -> None:
    storage = MemoryStorage()
    before = IdSegment(storage, since_ms=5)
    before.insert(*words_of(numbered(100)), _words(range(100)))
    after = IdSegment(storage, since_ms=5)
    after.adopt(60, 9)
    found = after.find(*words_of(numbered(100))).tolist()
    assert (found, len(after), after.until_ms) == ([*range(60), *[ABSENT] * 40], 60, 9)
    after.insert(*words_of(numbered(40, 7)), _words(range(40)))
    assert after.content(after.find_one(39 << 20, 7)) == 39


def test_an_entry_takes_24_bytes() -> None:
    assert ENTRY.itemsize == 24


class Model:
    """What an index must answer, in the plainest way."""

    def __init__(self) -> None:
        self.kept: dict[bytes, int] = {}
        self.pending: dict[bytes, int] = {}

    def look_up(self, one: bytes, content: int) -> Seen:
        known = self.pending.get(one, self.kept.get(one))
        return Seen.NEVER if known is None else Seen.SAME if known == content else Seen.OTHER_CONTENT


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), prints, st.integers(0, 3)),
        st.tuples(st.just("add all"), st.lists(prints, min_size=1, max_size=5), st.integers(0, 3)),
        st.tuples(st.just("remember"), st.lists(prints, max_size=5), st.integers(0, 3)),
        st.tuples(st.sampled_from(["commit", "rollback"]), st.none(), st.none()),
    ),
    max_size=30,
)


@given(steps, st.integers(0, 6))
def test_an_index_that_archives_early_answers_like_one_dictionary(taken: list[tuple[str, object, object]], recent_max: int) -> None:
    index, model = IdIndex(24 * HOUR_MS, recent_max=recent_max), Model()
    act: dict[str, Callable[..., None]] = {"add": _add, "add all": _add_all, "remember": _remember, "commit": _commit, "rollback": _rollback}
    seen: set[bytes] = set()
    for name, what, content in taken:
        act[name](index, model, what, content)
        seen.update([what] if isinstance(what, bytes) else what if isinstance(what, list) else [])
        for one in seen:
            for asked in range(4):
                assert index.look_up(one, asked) is model.look_up(one, asked)
        assert len(index) == len(model.kept) + len(model.pending)


def _add(index: IdIndex, model: Model, one: bytes, content: int) -> None:
    if model.look_up(one, content) is Seen.NEVER:
        index.add(one, content)
        model.pending[one] = content


def _add_all(index: IdIndex, model: Model, many: list[bytes], content: int) -> None:
    new = len(set(many)) == len(many) and all(model.look_up(one, 0) is Seen.NEVER for one in many)
    assert index.add_all_if_new(many, [content] * len(many)) is new
    if new:
        model.pending.update(dict.fromkeys(many, content))


def _remember(index: IdIndex, model: Model, many: list[bytes], content: int) -> None:
    _commit(index, model, None, None)
    index.remember(many, [content + number for number in range(len(many))], 0)
    for number, one in enumerate(many):
        model.kept.setdefault(one, content + number)


def _commit(index: IdIndex, model: Model, _what: None, _content: None) -> None:
    index.commit(0)
    model.kept.update(model.pending)
    model.pending = {}


def _rollback(index: IdIndex, model: Model, _what: None, _content: None) -> None:
    index.rollback()
    model.pending = {}


def _words(numbers: Sequence[int]) -> Words:
    return np.array(numbers, np.uint64)
