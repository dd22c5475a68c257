"""Single events that are read at once, against the long way."""

from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import UsageEvent, parse_event

from aggregator.reading import plain_reader
from aggregator.reading.decoding import read as read_the_long_way
from metering.records.record import Record
from tests.support.aggregator_event_texts import OWN, PIECES, TEXTS, by_the_long_way, marks
from tests.support.aggregator_reading import (
    CLOUDEVENT,
    FIELDS,
    GOOD,
    LOG_TIME_MS,
    document,
    facts,
    facts_of,
    in_binary_mode,
    plain_reader_of,
    records_of,
)

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
# Deeper than orjson writes, and not deeper than it reads.
DEEP = [document({name: "@"}).replace(b'"@"', 300 * b"[" + 300 * b"]") for name in ("customer", "dimensions", "usage", "id")]
DOCUMENTS = st.just(document({})) | st.builds(document, CHANGES, st.frozensets(st.sampled_from(list(GOOD)), max_size=1))
# Halves that would be well together, two in one, and what is no JSON at all.
VALUES = DOCUMENTS | st.binary(max_size=6) | st.sampled_from([b"", b"[", b"]", b'{"a":', b"1}", document({}) + b"," + document({}), b"null", *DEEP])


@st.composite
def changed(draw: st.DrawFn) -> bytes:
    """A text of one of the forms in which pieces were replaced."""
    text = draw(st.sampled_from(TEXTS))
    for _ in range(draw(st.integers(0, 2))):
        start = draw(st.sampled_from(marks(text)) | st.integers(0, len(text)))
        end = draw(st.sampled_from([mark for mark in marks(text) if mark >= start][:3]))
        text = text[:start] + draw(st.sampled_from(PIECES) | st.binary(max_size=2)) + text[end:]
    return text


@pytest.fixture(autouse=True, scope="module")
def _at_once() -> Iterator[None]:
    with patch.object(plain_reader, "TYPED_FROM", 1):
        yield


def by_the_long_way_or_none(record: Record) -> tuple[object, ...] | None:
    try:
        return facts(by_the_long_way(record))
    except EventRejected:
        return None


@given(st.lists(VALUES | changed(), min_size=1, max_size=6), st.booleans())
@example([OWN + b"\n" + OWN, OWN], True)
@example([OWN[:60], OWN[60:]], False)
def test_records_are_read_as_the_long_way_reads_them(values: list[bytes], experienced: bool) -> None:
    reader, series = plain_reader_of()
    if experienced:
        reader.read(records_of(TEXTS))
    records = records_of(values)
    assert facts_of(reader.read(records), series, len(records)) == list(map(by_the_long_way_or_none, records))


@given(st.lists(DOCUMENTS | st.sampled_from(TEXTS), min_size=1, max_size=6))
def test_what_is_well_and_of_the_catalogue_never_goes_the_long_way(values: list[bytes]) -> None:
    reader, _ = plain_reader_of()
    reading = reader.read(records_of(values))
    plain = 0
    for record in records_of(values):
        try:
            plain += {name for name, _ in by_the_long_way(record).usage} <= FIELDS
        except EventRejected:
            continue
    assert reading.ways.plain == plain


def test_a_text_that_is_a_little_other_is_read_as_the_long_way_reads_it() -> None:
    reader, series = plain_reader_of()
    reader.read(records_of(TEXTS))
    for text in TEXTS:
        places = marks(text)
        values = [text[:start] + piece + text[end:] for at, start in enumerate(places) for end in places[at : at + 2] for piece in PIECES]
        records = records_of(values)
        reading = reader.read(records)
        assert reading.ways.plain > len(values) // 100
        assert facts_of(reading, series, len(records)) == list(map(by_the_long_way_or_none, records))


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["ce_id", "CE-id", "ce_source", "ce_type", "ce_specversion", "ce_time", "ce_subject", "content-type", "traceparent"])
        | st.sampled_from(["ce_extension", "content-encoding", "taximeter-x", "ce_"]),
        st.none()
        | st.sampled_from([b"1.0", b"", b"q", b"\xff", b"2026-11-22T10:00:00Z", b"application/json", b"application/CloudEvents+json ; x", b"c"])
        | st.just(b"x" * 129),
    ),
    max_size=3,
)


@given(st.sampled_from([CLOUDEVENT, CLOUDEVENT | {"data": GOOD["usage"]}]), HEADERS, st.booleans(), st.sampled_from([*TEXTS, None]))
def test_headers_mean_what_they_mean_by_the_long_way(event: dict[str, Any], headers: list[Any], before: bool, value: bytes | None) -> None:
    binary = in_binary_mode(event)
    whole = (*headers, *binary.headers) if before else (*binary.headers, *headers)
    record = Record(0, LOG_TIME_MS, None, binary.value, whole) if value is None else Record(0, LOG_TIME_MS, None, value, headers)
    reader, series = plain_reader_of()
    try:
        wanted = read_the_long_way(record)
    except EventRejected:
        assert list(reader.read([record]).refusals) == [0]
        return
    assert isinstance(wanted, UsageEvent)
    assert facts_of(reader.read([record]), series, 1) == [facts(wanted)]


def test_each_form_is_read_at_once() -> None:
    structured = [Record(0, LOG_TIME_MS, None, orjson.dumps(CLOUDEVENT)), Record(1, LOG_TIME_MS, None, OWN, (("traceparent", b"x"),))]
    records = [*structured, in_binary_mode(CLOUDEVENT, 2)]
    one = facts(parse_event(CLOUDEVENT, arrival_ms=0))
    reader, series = plain_reader_of()
    reading = reader.read(records)
    assert facts_of(reading, series, 3) == [one, facts(by_the_long_way(records[1])), one]
    assert reading.ways.plain == 3
