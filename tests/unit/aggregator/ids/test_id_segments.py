"""Packed ids answer exactly as a dictionary would, whichever of them meet in the tables."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.limits import HOUR_MS

from aggregator.ids import id_table
from aggregator.ids.fingerprints import asked, asked_one
from aggregator.ids.id_archive import IdArchive, IdSegment
from aggregator.ids.id_table import ABSENT, BUCKETS_MIN, ENTRY, IdTable, MemoryStorage
from tests.support.aggregator_fingerprints import numbers_of, packed, words


def numbered(count: int, salt: int = 0) -> list[bytes]:
    """Different fingerprints."""
    return [(number << 20).to_bytes(8, "little") + salt.to_bytes(8, "little") for number in range(count)]


@given(st.lists(st.binary(min_size=16, max_size=16), min_size=1))
def test_one_is_hashed_as_many_are(ids: list[bytes]) -> None:
    many = asked(packed(ids))
    for position, one in enumerate(map(asked_one, ids)):
        assert (one.first, one.second) == tuple(many.fingerprints[position].tolist())
        assert (one.hash, one.mark) == (int(many.hashes[position]), int(many.marks[position]))


def test_a_table_grows_and_one_that_expects_what_comes_does_not() -> None:
    ids = numbered(BUCKETS_MIN + 1)
    small, large = IdTable(MemoryStorage()), IdTable(MemoryStorage(), expected=len(ids))
    before = large.resident_bytes
    for table in (small, large):
        table.insert(asked(packed(ids[:-1])), words(range(BUCKETS_MIN)))
        table.insert_one(asked_one(ids[-1]), BUCKETS_MIN)
        assert numbers_of(table, ids) == list(range(len(ids)))
        assert table.contents(slice(0, len(ids))).tolist() == list(range(len(ids)))
    assert large.resident_bytes == before


def test_more_than_are_placed_at_once_are_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(id_table, "PLACED_AT_ONCE", 7)
    storage = MemoryStorage()
    IdTable(storage).insert(asked(packed(numbered(100))), words(range(100)))
    after = IdTable(storage)
    after.adopt(60)
    assert numbers_of(after, numbered(100)) == [*range(60), *[ABSENT] * 40]
    assert len(after) == 60
    after.insert(asked(packed(numbered(40, 7))), words(range(40)))
    assert after.content(after.find_one(asked_one(numbered(40, 7)[39]))) == 39


def test_an_entry_takes_24_bytes() -> None:
    assert ENTRY.itemsize == 24


def test_the_archive_begins_a_segment_when_one_is_full_or_spans_enough_and_forgets_it_whole() -> None:
    archive = IdArchive(MemoryStorage, span_ms=HOUR_MS, ids_per_segment_max=10)
    for time_ms, salt in ((0, 1), (HOUR_MS, 2), (2 * HOUR_MS, 3), (2 * HOUR_MS, 4)):
        archive.add(packed(numbered(4, salt)), words([salt] * 4), time_ms)
    archive.add(packed(numbered(4, 5)), words([5] * 4), 2 * HOUR_MS)
    firsts = [numbered(1, salt)[0] for salt in range(1, 7)]
    assert [archive.look_up(asked_one(one)) for one in firsts] == [1, 2, 3, 4, 5, None]
    assert [segment.until_ms for segment in archive.segments] == [HOUR_MS, 2 * HOUR_MS, 2 * HOUR_MS]
    archive.forget_before(HOUR_MS + 1)
    assert sorted(np.concatenate(archive.known(asked(packed(firsts)))).tolist()) == [2, 3, 4]
    assert len(archive) == 12


def test_a_storage_is_disposed_of_with_its_segment() -> None:
    disposed: list[int] = []

    class Noting(MemoryStorage):
        def dispose(self) -> None:
            disposed.append(1)

    archive = IdArchive(Noting, span_ms=0)
    archive.add(packed(numbered(1, 1)), words([1]), 10)
    archive.add(packed(numbered(1, 2)), words([2]), 20)
    archive.forget_before(20)
    assert (disposed, len(archive)) == ([1], 1)


def test_a_segment_says_what_it_spans() -> None:
    segment = IdSegment(MemoryStorage(), since_ms=5, until_ms=9)
    assert (segment.since_ms, segment.until_ms, len(segment)) == (5, 9, 0)
