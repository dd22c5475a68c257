"""Packed ids against a dictionary."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.limits import HOUR_MS

from aggregator.ids import fingerprints, id_index, id_table
from aggregator.ids.fingerprints import Keys, asked, asked_one, repeated
from aggregator.ids.id_index import IdIndex, Seen
from aggregator.ids.id_table import ABSENT, IdTable, MemoryStorage
from tests.support.aggregator_fingerprints import numbers_of, packed, words

HALVES = st.sampled_from([0, 1, 2, 1 << 32, 1 << 56, (255 << 56) + 1, (1 << 64) - 1])
PRINTS = st.builds(lambda first, second: first.to_bytes(8, "little") + second.to_bytes(8, "little"), HALVES, HALVES)
# With the first keys all ids meet in one bucket and have one tag; with the second, those that begin alike.
KEYS = st.sampled_from([bytes(32), (1 << 63).to_bytes(8, "little") + bytes(24), bytes(range(1, 33))])
SHORTEST = st.sampled_from([0, 3, 1_000])  # from how many on arrays are used


@contextmanager
def walking(keys: bytes, arrays_from: int) -> Iterator[None]:
    """Tables that are made within hash with these keys; what is measured to be quick does not matter."""
    hashing = patch.object(fingerprints, "_keys", Keys(keys))
    with hashing, patch.object(id_index, "IDS_AS_ARRAYS_FROM", arrays_from), patch.object(id_table, "FEW", arrays_from):
        yield


@given(st.lists(st.lists(PRINTS, unique=True), max_size=6), st.lists(PRINTS), st.data(), KEYS, SHORTEST)
def test_a_table_knows_what_was_inserted_and_nothing_else(
    groups: list[list[bytes]], wanted: list[bytes], data: st.DataObject, keys: bytes, arrays_from: int
) -> None:
    with walking(keys, arrays_from):
        table, known = IdTable(MemoryStorage()), dict[bytes, int]()
        for group in groups:
            fresh = [one for one in group if one not in known]
            contents = list(range(len(known), len(known) + len(fresh)))
            known.update(zip(fresh, contents, strict=True))
            if data.draw(st.booleans()):
                table.insert(asked(packed(fresh)), words(contents))
            else:
                for one, content in zip(fresh, contents, strict=True):
                    table.insert_one(asked_one(one), content)
        assert len(table) == len(known)
        everything = [*known, *wanted]
        for one, number in zip(everything, numbers_of(table, everything), strict=True):
            assert table.find_one(asked_one(one)) == number
            assert (table.content(number) if number != ABSENT else None) == known.get(one)


@given(st.lists(PRINTS))
def test_who_stands_further_left_too_is_told(ids: list[bytes]) -> None:
    assert repeated(packed(ids)) == [position for position, one in enumerate(ids) if one in ids[:position]]


class Model:
    """What an index must answer, in the plainest way."""

    def __init__(self) -> None:
        self.kept: dict[bytes, int] = {}
        self.pending: dict[bytes, int] = {}

    def look_up(self, one: bytes, content: int) -> Seen:
        known = self.pending.get(one, self.kept.get(one))
        return Seen.NEVER if known is None else Seen.SAME if known == content else Seen.OTHER_CONTENT


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), PRINTS, st.integers(0, 3)),
        st.tuples(st.just("claim"), st.lists(PRINTS, max_size=8), st.integers(0, 3)),
        st.tuples(st.just("remember"), st.lists(PRINTS, max_size=8), st.integers(0, 3)),
        st.tuples(st.sampled_from(["commit", "rollback", "archive"]), st.just([]), st.just(0)),
    ),
    max_size=30,
)


@given(STEPS, st.sampled_from([0, 1, 3, 6, 100]), KEYS, SHORTEST)
def test_an_index_answers_like_one_dictionary_however_early_it_archives(
    taken: list[tuple[str, bytes | list[bytes], int]], recent_max: int, keys: bytes, arrays_from: int
) -> None:
    with walking(keys, arrays_from):
        index, model = IdIndex(24 * HOUR_MS, recent_max=recent_max), Model()
        seen: set[bytes] = set()
        for name, what, content in taken:
            many = [what] if isinstance(what, bytes) else what
            ACTS[name](index, model, many, content)
            seen.update(many)
            for one in seen:
                for number in range(4):
                    assert index.look_up(one, number) is model.look_up(one, number)
            assert len(index) == len(model.kept) + len(model.pending)
            assert index.pending == len(model.pending)


def _add(index: IdIndex, model: Model, many: list[bytes], content: int) -> None:
    if model.look_up(many[0], content) is Seen.NEVER:
        index.claim(packed(many[:1]), words([content]))
        model.pending[many[0]] = content


def _claim(index: IdIndex, model: Model, many: list[bytes], content: int) -> None:
    new = []
    contents = [(content + position) % 4 for position in range(len(many))]
    for position, one in enumerate(many):
        new.append(model.look_up(one, 0) is Seen.NEVER)
        if new[-1]:
            model.pending[one] = contents[position]
    assert index.claim(packed(many), words(contents)).tolist() == new


def _remember(index: IdIndex, model: Model, many: list[bytes], content: int) -> None:
    _commit(index, model, [], 0)
    index.remember(packed(many), words([content + number for number in range(len(many))]), 0)
    for number, one in enumerate(many):
        model.kept.setdefault(one, content + number)


def _commit(index: IdIndex, model: Model, _many: list[bytes], _content: int) -> None:
    index.commit(0)
    model.kept.update(model.pending)
    model.pending = {}


def _rollback(index: IdIndex, model: Model, _many: list[bytes], _content: int) -> None:
    index.rollback()
    model.pending = {}


def _archive(index: IdIndex, model: Model, _many: list[bytes], _content: int) -> None:
    _commit(index, model, [], 0)
    index.archive_all(0)
    assert not index.recent


ACTS: dict[str, Callable[[IdIndex, Model, list[bytes], int], None]] = {
    "add": _add,
    "claim": _claim,
    "remember": _remember,
    "commit": _commit,
    "rollback": _rollback,
    "archive": _archive,
}
