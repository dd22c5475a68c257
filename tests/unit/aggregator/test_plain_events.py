"""The quick way to read a single event says what the long way says, or nothing."""

from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.deduplication import content_of
from aggregator.plain_events import PlainEvent, PlainEvents
from metering.errors import EventRejected
from metering.event import UsageEvent, parse_event

FIELDS = frozenset({"input", "output"})
GOOD: dict[str, Any] = {
    "id": "q-1",
    "source": "inference",
    "time": "2026-11-22T10:00:00.250Z",
    "customer": "c",
    "usage": {"output": 2, "input": 1},
    "dimensions": {"model": "a"},
}

JSON: st.SearchStrategy[Any] = st.none() | st.booleans() | st.text(max_size=3) | st.just([]) | st.just({})
changes = st.dictionaries(
    st.sampled_from([*GOOD, "specversion", "other"]),
    JSON
    | st.dictionaries(st.sampled_from(["input", "output", "model", "other"]), JSON, max_size=3)
    | st.sampled_from(["c", "inference", "x" * 129, "2026-11-22T10:00:00+01:00", "1969-01-01T00:00:00Z", "\n"]),
    max_size=2,
)


def experienced() -> PlainEvents:
    """It has seen a good event."""
    plain = PlainEvents(FIELDS, lambda customer: customer != "foreign")
    plain.learn(parse_event(GOOD, arrival_ms=0))
    return plain


def long_way(document: object) -> UsageEvent | str:
    try:
        return parse_event(document, arrival_ms=0)
    except EventRejected as rejected:
        return f"{rejected.reason} {rejected.field}"


def quick_way(document: object) -> PlainEvent | str | None:
    try:
        return experienced().read(document)
    except EventRejected as rejected:
        return f"{rejected.reason} {rejected.field}"


@given(changes, st.sets(st.sampled_from(list(GOOD)), max_size=1))
def test_it_reads_what_the_long_way_reads_or_leaves_it_to_that(change: dict[str, Any], missing: set[str]) -> None:
    document = orjson.loads(orjson.dumps({name: value for name, value in (GOOD | change).items() if name not in missing}))
    found = quick_way(document)
    if isinstance(found, str):
        assert found == long_way(document)
    elif found is not None:
        assert found.event == long_way(document)
        assert found.fingerprint == found.event.fingerprint
        assert found.content == content_of(found.event.customer, found.event.dimensions, found.event.usage)


def test_an_event_like_one_before_is_read_the_quick_way() -> None:
    found = experienced().read(GOOD | {"id": "q-2", "usage": {"input": 5}})
    assert found is not None
    assert found.event.event_id == "q-2"


@pytest.mark.parametrize(
    "change", [{"customer": "new"}, {"customer": "foreign"}, {"source": "new"}, {"dimensions": {"model": []}}, {"usage": {"n": 1}}]
)
def test_what_was_not_seen_before_goes_the_long_way(change: dict[str, Any]) -> None:
    plain = experienced()
    plain.learn(parse_event(GOOD | {"customer": "foreign"}, arrival_ms=0))
    assert plain.read(GOOD | change) is None


def test_quantities_that_no_event_may_have_go_the_long_way() -> None:
    for quantity in (True, 1.0, -1, 10**12 + 1, None):
        assert experienced().read(GOOD | {"usage": {"input": quantity}}) is None
