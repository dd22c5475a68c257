"""Any object is an event or a rejection."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import parse_event, parse_time, parse_times
from taximeter_emitter.wire.limits import QUANTITY_MAX

NOW_MS = 1_763_805_600_000


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.sampled_from(["id", "source", "time", "customer", "usage", "dimensions", "specversion", "data", "x"]), JSON, max_size=6))
def test_any_object_is_either_read_or_rejected(value: dict[str, Any]) -> None:
    try:
        event = parse_event(value, arrival_ms=NOW_MS)
    except EventRejected:
        return
    assert all(type(quantity) is int and 0 <= quantity <= QUANTITY_MAX for _, quantity in event.usage)
    assert orjson.dumps(event.customer)
    assert event.time_ms >= 0


TIMES = st.datetimes().map(lambda moment: moment.isoformat() + "Z") | st.sampled_from(
    [
        "2026-11-22T10:00:00Z",
        "2026-11-22T10:00:00.250999+01:00",
        "1970-01-01T00:30:00+01:00",
        "0001-01-01T00:00:00+23:59",
        "2026-11-22T10:00:00",
        "2026-11-22T10:00:00.123456789",
        "20261122T100000.5000Z",
        "2026-W47-7T10:00:00Z",
        "2026-02-30T10:00:00Z",
        "2026-11-22",
        "",
        "x" * 41,
    ]
)


@given(st.lists(TIMES, max_size=3))
def test_many_times_are_read_as_each_of_them_would_be(texts: list[str]) -> None:
    try:
        wanted = [parse_time(text, "time") for text in texts] or None
    except EventRejected:
        wanted = None
    assert parse_times(texts) == wanted
