"""Every refusal of an event by name, both forms, and what identifies an event."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import check_not_in_future, fingerprint, parse_event, parse_json
from taximeter_emitter.wire.limits import CUSTOMER_CHARS_MAX, EVENT_ID_CHARS_MAX, FUTURE_TOLERANCE_MS, QUANTITY_MAX, SOURCE_CHARS_MAX

NOW_MS = 1_763_805_600_000
GOOD: dict[str, Any] = {"id": "r-1", "customer": "cus_1", "usage": {"output_tokens": 2, "input_tokens": 1}}
CLOUD: dict[str, Any] = {
    "specversion": "1.0",
    "type": "inference",
    "id": "r-1",
    "source": "svc/eu",
    "subject": "cus_1",
    "data": {"usage": {"input_tokens": 1}},
}


def test_the_least_event_takes_its_arrival_as_its_time() -> None:
    event = parse_event(GOOD, arrival_ms=NOW_MS)
    assert (event.event_id, event.source, event.customer, event.time_ms) == ("r-1", "", "cus_1", NOW_MS)
    assert event.usage == (("input_tokens", 1), ("output_tokens", 2))
    assert event.dimensions == ()


def test_every_field_is_read() -> None:
    value = {**GOOD, "source": "svc", "time": "2025-11-22T11:00:00.25+01:00", "dimensions": {"region": "eu", "model": "alpaca"}}
    event = parse_event(value, arrival_ms=0)
    assert event.time_ms == NOW_MS + 250
    assert event.dimensions == (("model", "alpaca"), ("region", "eu"))
    assert event.fingerprint == fingerprint("svc", "r-1")


def test_a_cloudevent_names_its_customer_as_subject_or_in_its_data() -> None:
    assert parse_event(CLOUD, arrival_ms=NOW_MS).customer == "cus_1"
    inside = {**CLOUD, "data": {"customer": "cus_2", "usage": {"input_tokens": 1}}, "myextension": "kept out"}
    assert parse_event(inside, arrival_ms=NOW_MS).customer == "cus_2"


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"id": None}, Reason.NULL_VALUE, "id"),
        ({"id": ""}, Reason.MISSING_FIELD, "id"),
        ({"id": 7}, Reason.WRONG_TYPE, "id"),
        ({"id": "x" * (EVENT_ID_CHARS_MAX + 1)}, Reason.TOO_LONG, "id"),
        ({"id": "a\x00b"}, Reason.WRONG_TYPE, "id"),
        ({"source": "s" * (SOURCE_CHARS_MAX + 1)}, Reason.TOO_LONG, "source"),
        ({"customer": None}, Reason.NULL_VALUE, "customer"),
        ({"customer": "c" * (CUSTOMER_CHARS_MAX + 1)}, Reason.TOO_LONG, "customer"),
        ({"customer": ["cus_1"]}, Reason.WRONG_TYPE, "customer"),
        ({"colour": "red"}, Reason.UNKNOWN_FIELD, "colour"),
        ({"time": None}, Reason.NULL_VALUE, "time"),
        ({"time": 1763805600}, Reason.WRONG_TYPE, "time"),
        ({"time": "2025-11-22T10:00:00"}, Reason.BAD_TIME, "time"),
        ({"time": "yesterday at noon UTC"}, Reason.BAD_TIME, "time"),
        ({"time": "1969-12-31T23:59:59Z"}, Reason.BAD_TIME, "time"),
        ({"time": "0001-01-01T00:00:00+14:00"}, Reason.BAD_TIME, "time"),
        ({"usage": None}, Reason.NULL_VALUE, "usage"),
        ({"usage": {}}, Reason.MISSING_FIELD, "usage"),
        ({"usage": [1]}, Reason.WRONG_TYPE, "usage"),
        ({"usage": {str(n): 1 for n in range(17)}}, Reason.TOO_MANY, "usage"),
        ({"usage": {"x" * 65: 1}}, Reason.TOO_LONG, "usage"),
        ({"usage": {"": 1}}, Reason.TOO_LONG, "usage"),
        ({"usage": {"a\nb": 1}}, Reason.WRONG_TYPE, "usage"),
        ({"usage": {"t": -1}}, Reason.NEGATIVE, "usage.t"),
        ({"usage": {"t": 1.0}}, Reason.NOT_AN_INTEGER, "usage.t"),
        ({"usage": {"t": True}}, Reason.WRONG_TYPE, "usage.t"),
        ({"usage": {"t": "5"}}, Reason.WRONG_TYPE, "usage.t"),
        ({"usage": {"t": None}}, Reason.NULL_VALUE, "usage.t"),
        ({"usage": {"t": QUANTITY_MAX + 1}}, Reason.TOO_LARGE, "usage.t"),
        ({"dimensions": {str(n): "x" for n in range(17)}}, Reason.TOO_MANY, "dimensions"),
        ({"dimensions": {"model": 7}}, Reason.WRONG_TYPE, "dimensions.model"),
        ({"dimensions": {"model": "m" * 129}}, Reason.TOO_LONG, "dimensions.model"),
        ({"dimensions": {"model": "a\x1bb"}}, Reason.WRONG_TYPE, "dimensions.model"),
        ({"dimensions": {"": "x"}}, Reason.TOO_LONG, "dimensions"),
        ({"dimensions": None}, Reason.NULL_VALUE, "dimensions"),
        ({"specversion": "0.3"}, Reason.BAD_HEADER, "specversion"),
    ],
)
def test_each_fault_is_refused_by_name(change: dict[str, Any], reason: Reason, field: str) -> None:
    with pytest.raises(EventRejected) as caught:
        parse_event(GOOD | change, arrival_ms=NOW_MS)
    assert (caught.value.reason, caught.value.field) == (reason, field)
    assert len(caught.value.detail) < 400


@pytest.mark.parametrize("missing", ["id", "customer", "usage"])
def test_a_missing_field_is_named(missing: str) -> None:
    with pytest.raises(EventRejected) as caught:
        parse_event({key: value for key, value in GOOD.items() if key != missing}, arrival_ms=NOW_MS)
    assert (caught.value.reason, caught.value.field) == (Reason.MISSING_FIELD, missing)


@pytest.mark.parametrize(
    ("change", "reason", "field"),
    [
        ({"data": None}, Reason.NOT_AN_OBJECT, "data"),
        ({"data": "dGV4dA=="}, Reason.NOT_AN_OBJECT, "data"),
        ({"data": {"usage": {"t": 1}, "price": 3}}, Reason.UNKNOWN_FIELD, "data.price"),
        ({"data": {"usage": {"t": 1.5}}}, Reason.NOT_AN_INTEGER, "data.usage.t"),
        ({"data": {}}, Reason.MISSING_FIELD, "usage"),
        ({"source": ""}, Reason.MISSING_FIELD, "source"),
        ({"type": 3}, Reason.WRONG_TYPE, "type"),
        ({"subject": None}, Reason.NULL_VALUE, "subject"),
        ({"specversion": 1.0}, Reason.BAD_HEADER, "specversion"),
    ],
)
def test_each_fault_of_a_cloudevent_is_refused_by_name(change: dict[str, Any], reason: Reason, field: str) -> None:
    with pytest.raises(EventRejected) as caught:
        parse_event(CLOUD | change, arrival_ms=NOW_MS)
    assert (caught.value.reason, caught.value.field) == (reason, field)


@pytest.mark.parametrize("value", [None, [], "x", 1, 1.5, True])
def test_what_is_no_object_is_no_event(value: object) -> None:
    with pytest.raises(EventRejected) as caught:
        parse_event(value, arrival_ms=0)
    assert caught.value.reason is Reason.NOT_AN_OBJECT


@pytest.mark.parametrize("raw", [b"", b"{", b'{"a": NaN}', b'{"a": Infinity}', b"[" * 10_000 + b"]" * 10_000, b'"\\ud800"', b"\xff", b'{"a": 01}'])
def test_what_is_no_json_is_refused_without_a_crash(raw: bytes) -> None:
    with pytest.raises(EventRejected) as caught:
        parse_json(raw)
    assert caught.value.reason is Reason.MALFORMED_JSON


def test_an_integer_beyond_64_bits_is_not_taken_as_a_rounded_one() -> None:
    value = parse_json(b'{"id":"a","customer":"c","usage":{"t":100000000000000000000}}')
    with pytest.raises(EventRejected) as caught:
        parse_event(value, arrival_ms=0)
    assert caught.value.reason is Reason.NOT_AN_INTEGER


def test_five_minutes_ahead_are_taken_and_no_more() -> None:
    check_not_in_future(NOW_MS + FUTURE_TOLERANCE_MS, NOW_MS)
    with pytest.raises(EventRejected) as caught:
        check_not_in_future(NOW_MS + FUTURE_TOLERANCE_MS + 1, NOW_MS)
    assert caught.value.reason is Reason.IN_FUTURE


@given(st.tuples(st.text(), st.text()), st.tuples(st.text(), st.text()))
def test_two_identities_share_a_fingerprint_only_when_equal(one: tuple[str, str], other: tuple[str, str]) -> None:
    try:
        prints = fingerprint(*one), fingerprint(*other)
    except UnicodeEncodeError:  # a lone surrogate never passes check_text
        return
    assert (prints[0] == prints[1]) == (one == other)


def test_the_border_between_source_and_id_matters() -> None:
    assert fingerprint("a", "bc") != fingerprint("ab", "c")
