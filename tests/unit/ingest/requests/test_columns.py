"""Reading many events at once must give what reading them one by one gives, and must leave everything doubtful to the latter."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.event import fingerprint, fingerprints, parse_event

from ingest.requests.request_columns import ColumnReader, parts_of
from tests.support.ingest_columns import EVENT, FIELDS, NOW_MS, one_by_one, plain, times


@given(times, times)
def test_a_time_read_in_two_pieces_is_the_time_read_whole(first: str, second: str) -> None:
    reader = ColumnReader(FIELDS)
    documents = [EVENT | {"time": first}, EVENT | {"time": second}]
    read, expected = reader.read(documents, NOW_MS), one_by_one(documents)
    assert read is None or (expected is not None and plain([read]) == plain(expected))
    # The second time the pieces are known.
    again = reader.read(documents, NOW_MS)
    assert (again is None) == (read is None)
    assert again is None or read is None or again.events == read.events


@pytest.mark.parametrize(
    "change",
    [
        {},
        {"time": "2025-11-22T11:00:00+01:00"},
        {"usage": {"input_tokens": 1}},
        {"dimensions": {}},
        {"dimensions": {"model": 'quo"te'}},
        {"customer": "k\u00fcnde"},
    ],
)
def test_ordinary_events_are_read_at_once(change: dict[str, Any]) -> None:
    documents = [EVENT | change | {"id": f"r-{number}"} for number in range(5)]
    read, expected = ColumnReader(FIELDS).read(documents, NOW_MS), one_by_one(documents)
    assert read is not None
    assert expected is not None
    assert plain([read]) == plain(expected)


@pytest.mark.parametrize("document", [None, 1, "text", "id", [], ["id", "customer", "usage"], {}, {"specversion": "1.0"}])
def test_what_is_no_event_is_left_to_the_other_reader(document: Any) -> None:
    assert ColumnReader(FIELDS).read([document], NOW_MS) is None
    assert ColumnReader(FIELDS).read([EVENT, document], NOW_MS) is None


def test_the_caches_of_times_are_bounded() -> None:
    reader = ColumnReader(FIELDS)
    for start in range(0, 6_000, 1_000):
        documents = [
            EVENT | {"time": f"2025-11-{1 + n // 3600:02d}T{n // 3600:02d}:{n // 60 % 60:02d}:{n % 60:02d}.{n:05d}Z"}
            for n in range(start, start + 1_000)
        ]
        read = reader.read(documents, NOW_MS)
        assert read is not None
        assert plain([read]) == plain(one_by_one(documents) or [])
    assert len(reader._seconds) <= 4_096
    assert len(reader._fractions) <= 4_096


@given(st.text(max_size=20), st.lists(st.text(max_size=20), max_size=5))
def test_many_fingerprints_are_those_of_each(source: str, ids: list[str]) -> None:
    assert fingerprints(source, ids) == [fingerprint(source, event_id) for event_id in ids]


def test_ids_are_kept_as_texts_where_that_is_set() -> None:
    documents = [{**EVENT, "id": f"e{number}", "source": "gpu"} for number in range(3)]
    kept = ["gpu\te0", "gpu\te1", "gpu\te2"]
    read = ColumnReader(FIELDS, keep_ids=True).read(documents, NOW_MS)
    assert read is not None
    assert list(read.events.kept_ids) == kept
    (part,) = parts_of([(index, parse_event(document, arrival_ms=NOW_MS)) for index, document in enumerate(documents)], keep_ids=True)
    assert list(part.events.kept_ids) == kept
    without = ColumnReader(FIELDS).read(documents, NOW_MS)
    assert without is not None
    assert not without.events.kept_ids
