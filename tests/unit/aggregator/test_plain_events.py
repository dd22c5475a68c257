"""The quick way to read single events says what the long way says, or leaves them to it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import UsageEvent, parse_event

from aggregator.ids.id_index import content_of
from aggregator.reading import plain_events
from aggregator.reading.plain_events import PLAIN_EVENT_BYTES_MAX, PLAIN_EVENTS_MAX, PlainColumns, PlainEvents, first_run
from metering.records.record import Record

FIELDS = frozenset({"input", "output"})
LATEST_MS = 4_000_000_000_000
GOOD: dict[str, Any] = {
    "id": "q-1",
    "source": "inference",
    "time": "2026-11-22T10:00:00.250Z",
    "customer": "c",
    "usage": {"output": 2, "input": 1},
    "dimensions": {"region": "eu", "model": "a"},
}
NUMBERS = [1, 1.0, -1, 10**12, 10**12 + 1, 2**64 - 1]
JSON: st.SearchStrategy[Any] = st.none() | st.booleans() | st.text(max_size=3) | st.sampled_from([[], {}, *NUMBERS])
CHANGES = st.dictionaries(
    st.sampled_from([*GOOD, "specversion", "other"]),
    JSON
    | st.dictionaries(st.sampled_from(["input", "output", "model", "region", "other"]), JSON, max_size=3)
    | st.sampled_from(["c", "foreign", "d", "inference", "other", "x" * 128, "x" * 129, "2026-11-22T10:00:00+01:00", "1969-12-31T23:59:59Z", "\n"])
    | st.sampled_from(["2026-11-22T10:00:00", "2026-11-22", "20261122T100000.5Z", "2026-02-30T10:00:00Z", "0001-01-01T00:00:00+23:59"]),
    max_size=2,
)


def document(change: dict[str, Any], missing: frozenset[str] = frozenset()) -> bytes:
    return orjson.dumps({name: value for name, value in (GOOD | change).items() if name not in missing})


# Deeper than orjson writes, and not deeper than it reads.
DEEP = [document({name: "@"}).replace(b'"@"', 300 * b"[" + 300 * b"]") for name in ("customer", "dimensions", "usage", "id")]
DOCUMENTS = st.just(document({})) | st.builds(document, CHANGES, st.frozensets(st.sampled_from(list(GOOD)), max_size=1))
# Halves that would be well together, two in one, and what is no JSON at all.
VALUES = DOCUMENTS | st.binary(max_size=6) | st.sampled_from([b"", b"[", b"]", b'{"a":', b"1}", document({}) + b"," + document({}), b"null", *DEEP])


def plain_events_of(usage_fields: frozenset[str] = FIELDS) -> PlainEvents:
    return PlainEvents(usage_fields, lambda customer: customer != "foreign", 3)


def read(plain: PlainEvents, values: Sequence[bytes]) -> tuple[Sequence[int], PlainColumns | None]:
    return plain.read(values, np.zeros(len(values), np.int64), np.full(len(values), LATEST_MS))


def events_of(plain: PlainEvents, values: Sequence[bytes]) -> list[tuple[object, ...] | None]:
    """What an event is known and summed by, for each value; None for those that must go the long way."""
    odd, columns = read(plain, values)
    assert list(odd) == sorted(set(odd))
    found: list[tuple[object, ...] | None] = [None] * len(values)
    chosen = [place for place in range(len(values)) if place not in odd]
    assert len(chosen) == (len(columns) if columns is not None else 0)
    for at, place in enumerate(chosen):
        assert columns is not None
        usage = {name: int(column[at]) for name, column in columns.usage.items() if column[at]}
        series = plain.series[columns.series[at]]
        found[place] = (columns.fingerprints[at].tobytes(), int(columns.contents[at]), int(columns.times[at]), series, usage)
    return found


def facts(event: UsageEvent) -> tuple[object, ...]:
    usage = {name: quantity for name, quantity in event.usage if quantity}
    return event.fingerprint, content_of(event.customer, event.dimensions, event.usage), event.time_ms, (event.customer, event.dimensions), usage


@given(st.lists(VALUES, min_size=1, max_size=6), st.booleans())
def test_it_reads_what_the_long_way_reads_or_leaves_it_to_that(values: list[bytes], experienced: bool) -> None:
    plain = plain_events_of()
    if experienced:
        read(plain, [document({})])
    for value, found in zip(values, events_of(plain, values), strict=True):
        if found is not None:
            event = parse_event(orjson.loads(value), arrival_ms=0)
            assert found == facts(event)
            assert event.customer != "foreign"
            assert {name for name, _ in event.usage} <= FIELDS


@given(st.lists(DOCUMENTS, min_size=1, max_size=6))
def test_what_has_our_form_and_is_well_never_goes_the_long_way(values: list[bytes]) -> None:
    for value, found in zip(values, events_of(plain_events_of(), values), strict=True):
        decoded = orjson.loads(value)
        try:
            event = parse_event(decoded, arrival_ms=0)
        except EventRejected:
            continue
        if decoded.keys() == GOOD.keys() and event.customer != "foreign" and {name for name, _ in event.usage} <= FIELDS:
            assert found is not None


def test_one_event_that_is_not_plain_does_not_send_its_neighbours_the_long_way() -> None:
    values = [document({"id": f"q-{number}"}) for number in range(9)]
    values[4] = b"{"
    found = events_of(plain_events_of(), values)
    assert [place for place, facts in enumerate(found) if facts is None] == [4]


def test_events_out_of_their_time_go_the_long_way() -> None:
    time_ms = parse_event(GOOD, arrival_ms=0).time_ms
    values = [document({"id": str(number)}) for number in range(4)]
    earliest, latest = np.array([0, time_ms, time_ms + 1, 0]), np.array([time_ms, LATEST_MS, LATEST_MS, time_ms - 1])
    odd, columns = plain_events_of().read(values, earliest, latest)
    assert list(odd) == [2, 3]
    assert columns is not None
    assert len(columns) == 2


def test_the_order_of_dimensions_makes_no_difference_to_what_an_event_is_known_by() -> None:
    other = document({"dimensions": {"model": "a", "region": "eu"}})
    first, second = events_of(plain_events_of(), [document({}), other])
    assert first == second


def test_a_full_memory_learns_nothing_and_forgets_all_when_it_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_events, "KNOWN_MAX", 2)
    plain = plain_events_of()
    values = [document({"customer": customer}) for customer in "abcab"]
    assert [found is not None for found in events_of(plain, values)] == [True, True, False, True, True]
    full = [plain.is_full]
    plain.forget()
    full.append(plain.is_full)
    assert full == [True, False]
    assert [found is not None for found in events_of(plain, values[2:])] == [True, True, False]


def test_the_longest_series_is_known_with_eight_for_each_dimension() -> None:
    plain = plain_events_of()
    read(plain, [document({"customer": "c" * 5}), document({"customer": "c" * 3})])
    assert plain.longest == 5 + len("regioneumodela") + 16


def run_lengths(records: Sequence[Record]) -> int:
    return len(first_run(records, 0))


def records_of(values: Sequence[bytes | None]) -> list[Record]:
    return [Record(offset, 0, None, value) for offset, value in enumerate(values)]


def test_a_run_ends_before_a_record_that_cannot_be_a_plain_event() -> None:
    for other in (None, b'{"taximeter":1}', b"x" * (PLAIN_EVENT_BYTES_MAX + 1)):
        assert run_lengths(records_of([b"{}", b"{}", other, b"{}"])) == 2
        assert run_lengths(records_of([other, b"{}"])) == 0
    with_headers = [*records_of([b"{}"]), Record(1, 0, None, b"{}", (("ce_id", b"1"),))]
    assert run_lengths(with_headers) == 1


def test_a_run_ends_before_a_gap_between_offsets_and_where_it_is_long_enough() -> None:
    records = records_of([b"{}"] * (PLAIN_EVENTS_MAX + 10))
    assert run_lengths(records) == PLAIN_EVENTS_MAX
    assert run_lengths([*records[:3], *records[4:]]) == 3
    assert run_lengths([*records[:3], *records[2:]]) == 3
    assert len(first_run(records, PLAIN_EVENTS_MAX)) == 10
