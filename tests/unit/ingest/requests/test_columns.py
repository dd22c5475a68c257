"""Reading many events at once must give what reading them one by one gives, and must leave everything doubtful to the latter."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import check_not_in_future, fingerprint, fingerprints, parse_event
from taximeter_emitter.wire.limits import QUANTITY_MAX

from ingest.requests.columns import ColumnReader, RequestPart, parts_of
from tests.support.ingest_rows import rows_of

NOW_MS = 1_763_805_600_000
FIELDS = ("input_tokens", "output_tokens")
EVENT: dict[str, Any] = {
    "id": "r-1",
    "source": "s",
    "time": "2025-11-22T09:59:59.250Z",
    "customer": "cus_1",
    "usage": {"input_tokens": 5, "output_tokens": 7},
    "dimensions": {"model": "alpaca", "region": "eu"},
}

strange = st.sampled_from([None, True, 0, -1, 1.5, "", "x", "a\nb", "x" * 200, QUANTITY_MAX, QUANTITY_MAX + 1, [], [1], {}, {"model": 1}, {"a": "b"}])
times = st.sampled_from(
    [
        *("2025-11-22T10:00:00Z", "2025-11-22t09:00:00z", "2025-11-22 09:00:00.123456Z", "2025-11-22T11:00:00+01:00", "2025-11-22T10:05:00Z"),
        *(
            "2025-11-22T09:00:00.0009999+00:00:00.000001",
            "20251122T090000.123Z",
            "2025-W47-6T09:00:00Z",
            "2025W476T090000.1234+01:00",
            "2025-11-22T10:05:01Z",
        ),
        *("1969-12-31T23:00:00-02:00", "1970-01-01T00:00:00+02:00", "2025-11-22T10:00:00", "2025-11-22T25:00:00Z", "2025-11-22T10:00:00,5Z", "Z"),
        *("9999-12-31T23:59:59-23:00", "0001-01-01T00:00:00+10:00", "2025-11-22T10:00:00.1234567890123456789012Z", "\u0662025-11-22T10:00:00Z"),
    ]
)
changes = st.one_of(
    st.tuples(st.sampled_from([*EVENT, "specversion", "price"]), strange),
    st.tuples(st.just("time"), times),
    st.tuples(st.just("usage"), st.dictionaries(st.sampled_from([*FIELDS, "other", ""]), strange | st.integers(0, QUANTITY_MAX), max_size=3)),
    st.tuples(st.just("dimensions"), st.dictionaries(st.sampled_from(["model", "", "k" * 65]), strange | st.text(max_size=3), max_size=3)),
)
without = st.sets(st.sampled_from([*EVENT]), max_size=2)


def one_by_one(documents: list[Any]) -> list[RequestPart] | None:
    """What the reader of single events makes of them; None when it refuses one."""
    events = []
    for index, document in enumerate(documents):
        try:
            event = parse_event(document, arrival_ms=NOW_MS)
            check_not_in_future(event.time_ms, NOW_MS)
        except EventRejected:
            return None
        if not {name for name, _ in event.usage} <= set(FIELDS):
            return None
        events.append((index, event))
    return parts_of(events)


def plain(parts: list[RequestPart]) -> list[tuple[Any, ...]]:
    """Rows with their fields named, in the order of the request."""
    found = []
    for part in parts:
        for row, index, event_id in zip(rows_of(part.events), part.indexes, part.ids, strict=True):
            customer, dimensions, time_ms, identity, quantities = row
            found.append((index, event_id, customer, dimensions, time_ms, identity, sorted(zip(part.events.fields, quantities, strict=True))))
    return sorted(found, key=lambda row: row[0])


@settings(max_examples=400)
@given(without, st.lists(st.lists(changes, max_size=2), min_size=1, max_size=4))
def test_what_is_read_at_once_is_what_would_be_read_one_by_one(left_out: set[str], mutations: list[list[tuple[str, Any]]]) -> None:
    base = {name: value for name, value in EVENT.items() if name not in left_out}
    documents = orjson.loads(orjson.dumps([base | dict(mutation) | {"id": f"r-{n}"} for n, mutation in enumerate(mutations)]))
    read = ColumnReader(FIELDS).read(documents, NOW_MS)
    if read is not None:
        expected = one_by_one(documents)
        assert expected is not None, "accepted at once, refused one by one"
        assert plain([read]) == plain(expected)
        assert read.events.row_bytes >= max(part.events.row_bytes for part in expected)


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
    for start in range(0, 12_000, 1_000):
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
