"""Plain events, read at once, against the long way."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import parse_event

from tests.support.aggregator_plain_events import FIELDS, GOOD, document, events_of, facts, plain_events_of, read

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
