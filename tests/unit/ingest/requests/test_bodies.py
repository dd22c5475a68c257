"""Every form of body, and every bad input by name."""

from typing import Any

import orjson
import pytest
from taximeter_emitter.wire.errors import Reason
from taximeter_emitter.wire.event import fingerprint
from taximeter_emitter.wire.limits import FUTURE_TOLERANCE_MS, QUANTITY_MAX

from ingest.refusals import Refusal, RequestRefused
from ingest.requests.bodies import CLOUDEVENT, CLOUDEVENT_BATCH, JSON, NDJSON, BodyReader, ReadEvents, media_type_of
from metering.records.meters import Catalogue, Meter
from tests.support.ingest_rows import rows_in

NOW_MS = 1_763_805_600_000
READER = BodyReader(Catalogue([Meter("tokens", ("input_tokens", "output_tokens"))]), events_max=5)
EVENT: dict[str, Any] = {"id": "r-1", "customer": "cus_1", "usage": {"input_tokens": 5}}
CLOUD: dict[str, Any] = {
    "specversion": "1.0",
    "type": "t",
    "source": "s",
    "id": "r-1",
    "subject": "cus_1",
    "data": {"usage": {"input_tokens": 5}},
}


def dumps(value: object) -> bytes:
    return orjson.dumps(value)


def indexes_of(read: ReadEvents) -> list[int]:
    return sorted(index for part in read.accepted for index in part.indexes)


@pytest.mark.parametrize(
    ("media_type", "body", "count", "is_single"),
    [
        (JSON, dumps(EVENT), 1, True),
        (JSON, dumps([EVENT]), 1, False),
        (JSON, dumps([EVENT, EVENT | {"id": "r-2"}]), 2, False),
        (JSON, dumps(CLOUD), 1, True),
        (JSON, b"  \n" + dumps(EVENT) + b"\r\n", 1, True),
        (NDJSON, dumps(EVENT) + b"\n\r\n" + dumps(CLOUD) + b"\r\n", 2, False),
        (CLOUDEVENT, dumps(CLOUD), 1, True),
        (CLOUDEVENT_BATCH, dumps([CLOUD, CLOUD | {"id": "r-2"}]), 2, False),
    ],
)
def test_each_form_is_read(media_type: str, body: bytes, count: int, is_single: bool) -> None:
    read = READER.read(media_type, {}, body, now_ms=NOW_MS)
    assert (read.count, read.is_single, read.rejected) == (count, is_single, [])
    assert indexes_of(read) == list(range(count))
    assert {customer for customer, *_ in rows_in(read.accepted)} == {"cus_1"}


def test_a_cloudevent_in_binary_mode_has_its_attributes_in_headers() -> None:
    headers = {
        "ce-specversion": "1.0",
        "ce-type": "t",
        "ce-source": "/svc/%C3%A9",
        "ce-id": '"r-1"',
        "ce-subject": "cus_1",
        "ce-time": "2025-11-22T10:00:00Z",
    }
    read = READER.read(JSON, headers, dumps({"usage": {"input_tokens": 5}}), now_ms=NOW_MS)
    ((customer, _, time_ms, _, identity, quantities),) = rows_in(read.accepted)
    assert (customer, time_ms, identity, quantities) == ("cus_1", NOW_MS, fingerprint("/svc/é", "r-1"), (5,))
    assert list(read.accepted[0].ids) == ["r-1"]


@pytest.mark.parametrize(
    ("headers", "body", "reason"),
    [
        ({"ce-specversion": "0.3"}, b"{}", Reason.BAD_HEADER),
        ({"ce-specversion": "1.0"}, b"{}", Reason.MISSING_FIELD),
        ({"ce-specversion": "1.0"}, b"[]", Reason.NOT_AN_OBJECT),
        ({"ce-specversion": "1.0"}, b"{", Reason.MALFORMED_JSON),
    ],
)
def test_a_bad_cloudevent_in_binary_mode_is_rejected_by_name(headers: dict[str, str], body: bytes, reason: Reason) -> None:
    (rejected,) = READER.read(JSON, headers, body, now_ms=NOW_MS).rejected
    assert rejected.reason == reason


BAD_EVENTS: list[tuple[str, bytes, Reason, str]] = [
    ("null", b"null", Reason.NOT_AN_OBJECT, ""),
    ("text", b'"event"', Reason.NOT_AN_OBJECT, ""),
    ("number", b"7", Reason.NOT_AN_OBJECT, ""),
    ("missing id", dumps({"customer": "c", "usage": {"input_tokens": 1}}), Reason.MISSING_FIELD, "id"),
    ("missing customer", dumps({"id": "a", "usage": {"input_tokens": 1}}), Reason.MISSING_FIELD, "customer"),
    ("missing usage", dumps({"id": "a", "customer": "c"}), Reason.MISSING_FIELD, "usage"),
    ("null customer", dumps(EVENT | {"customer": None}), Reason.NULL_VALUE, "customer"),
    ("null quantity", dumps(EVENT | {"usage": {"input_tokens": None}}), Reason.NULL_VALUE, "usage.input_tokens"),
    ("long id", dumps(EVENT | {"id": "x" * 129}), Reason.TOO_LONG, "id"),
    ("float", dumps(EVENT | {"usage": {"input_tokens": 1.5}}), Reason.NOT_AN_INTEGER, "usage.input_tokens"),
    ("whole float", b'{"id":"a","customer":"c","usage":{"input_tokens":5.0}}', Reason.NOT_AN_INTEGER, "usage.input_tokens"),
    ("exponent", b'{"id":"a","customer":"c","usage":{"input_tokens":1e3}}', Reason.NOT_AN_INTEGER, "usage.input_tokens"),
    ("huge", b'{"id":"a","customer":"c","usage":{"input_tokens":99999999999999999999}}', Reason.NOT_AN_INTEGER, "usage.input_tokens"),
    ("boolean", dumps(EVENT | {"usage": {"input_tokens": True}}), Reason.WRONG_TYPE, "usage.input_tokens"),
    ("text number", dumps(EVENT | {"usage": {"input_tokens": "5"}}), Reason.WRONG_TYPE, "usage.input_tokens"),
    ("negative", dumps(EVENT | {"usage": {"input_tokens": -1}}), Reason.NEGATIVE, "usage.input_tokens"),
    ("too much", dumps(EVENT | {"usage": {"input_tokens": QUANTITY_MAX + 1}}), Reason.TOO_LARGE, "usage.input_tokens"),
    ("unknown usage field", dumps(EVENT | {"usage": {"inptu_tokens": 1}}), Reason.UNKNOWN_USAGE_FIELD, "usage.inptu_tokens"),
    ("unknown field", dumps(EVENT | {"price": 1}), Reason.UNKNOWN_FIELD, "price"),
    ("no zone", dumps(EVENT | {"time": "2025-11-22T10:00:00"}), Reason.BAD_TIME, "time"),
    ("before 1970", dumps(EVENT | {"time": "1950-11-22T10:00:00Z"}), Reason.BAD_TIME, "time"),
    ("six minutes ahead", dumps(EVENT | {"time": "2025-11-22T10:06:00Z"}), Reason.IN_FUTURE, "time"),
    ("old CloudEvent", dumps(CLOUD | {"specversion": "0.3"}), Reason.BAD_HEADER, "specversion"),
]


@pytest.mark.parametrize(("body", "reason", "field"), [case[1:] for case in BAD_EVENTS], ids=[case[0] for case in BAD_EVENTS])
def test_each_bad_event_is_rejected_by_name_alone_and_among_good_ones(body: bytes, reason: Reason, field: str) -> None:
    (alone,) = READER.read(JSON, {}, body, now_ms=NOW_MS).rejected
    assert (alone.index, alone.reason, alone.field) == (0, reason, field)
    among = READER.read(JSON, {}, b"[" + dumps(EVENT) + b"," + body + b"," + dumps(EVENT) + b"]", now_ms=NOW_MS)
    assert indexes_of(among) == [0, 2]
    assert [(rejected.index, rejected.reason, rejected.field) for rejected in among.rejected] == [(1, reason, field)]


def test_a_bad_line_spoils_no_other() -> None:
    body = b"\n".join([dumps(EVENT), b"{not json", b"[" * 10_000, b'{"a":NaN}', dumps(EVENT)])
    read = READER.read(NDJSON, {}, body, now_ms=NOW_MS)
    assert indexes_of(read) == [0, 4]
    assert [(rejected.index, rejected.reason) for rejected in read.rejected] == [(n, Reason.MALFORMED_JSON) for n in (1, 2, 3)]


def test_a_rejected_event_is_named_by_its_id_when_it_has_one() -> None:
    read = READER.read(JSON, {}, dumps([EVENT | {"usage": {}}, EVENT | {"id": 7}]), now_ms=NOW_MS)
    assert [rejected.event_id for rejected in read.rejected] == ["r-1", None]


@pytest.mark.parametrize(
    ("media_type", "body", "refusal"),
    [
        (JSON, b"", Refusal.MALFORMED_JSON),
        (JSON, b"{", Refusal.MALFORMED_JSON),
        (JSON, b"[" * 10_000 + b"]" * 10_000, Refusal.MALFORMED_JSON),
        (JSON, b'{"id":"a","customer":"c","usage":{"input_tokens":NaN}}', Refusal.MALFORMED_JSON),
        (JSON, b'{"id":"\\ud800"}', Refusal.MALFORMED_JSON),
        (JSON, b"\xff\xfe{\x00", Refusal.MALFORMED_JSON),
        (JSON, dumps(EVENT) + dumps(EVENT), Refusal.MALFORMED_JSON),
        (JSON, b"[]", Refusal.NO_EVENTS),
        (NDJSON, b"\n\n", Refusal.NO_EVENTS),
        (NDJSON, b"", Refusal.NO_EVENTS),
        (JSON, dumps([EVENT] * 6), Refusal.TOO_MANY_EVENTS),
        (NDJSON, b"x\n" * 6, Refusal.TOO_MANY_EVENTS),
        (CLOUDEVENT_BATCH, dumps(CLOUD), Refusal.NOT_AN_ARRAY),
    ],
)
def test_a_body_without_events_to_judge_is_refused_as_a_whole(media_type: str, body: bytes, refusal: Refusal) -> None:
    with pytest.raises(RequestRefused) as caught:
        READER.read(media_type, {}, body, now_ms=NOW_MS)
    assert caught.value.refusal is refusal


@pytest.mark.parametrize("media_type", [CLOUDEVENT, CLOUDEVENT_BATCH])
def test_a_cloudevent_says_which_version_it_is(media_type: str) -> None:
    body = dumps(EVENT if media_type == CLOUDEVENT else [EVENT])
    (rejected,) = READER.read(media_type, {}, body, now_ms=NOW_MS).rejected
    assert (rejected.reason, rejected.field) == (Reason.MISSING_FIELD, "specversion")


@pytest.mark.parametrize("count", [1, 5])
def test_times_that_the_gateway_sets_are_named(count: int) -> None:
    without = {name: value for name, value in EVENT.items() if name != "time"}
    for change, stamped in (({}, True), ({"time": "2025-11-22T10:00:00Z"}, False)):
        read = READER.read(JSON, {}, dumps([without | change] * count), now_ms=NOW_MS)
        assert [(time_ms, named) for _, _, time_ms, named, _, _ in rows_in(read.accepted)] == [(NOW_MS, stamped)] * count


def test_five_minutes_ahead_are_taken() -> None:
    ahead = READER.read(JSON, {}, dumps(EVENT | {"time": "2025-11-22T10:05:00Z"}), now_ms=NOW_MS)
    ((_, _, time_ms, *_),) = rows_in(ahead.accepted)
    assert time_ms == NOW_MS + FUTURE_TOLERANCE_MS


@pytest.mark.parametrize("header", ["application/json", "Application/JSON; charset=UTF-8", 'application/x-ndjson;charset="utf-8"', CLOUDEVENT])
def test_known_media_types_are_taken(header: str) -> None:
    assert media_type_of(header) == header.split(";", maxsplit=1)[0].lower()


@pytest.mark.parametrize("header", ["", "text/plain", "application/x-www-form-urlencoded", "application/json; charset=latin-1", "application/xml"])
def test_other_media_types_are_refused(header: str) -> None:
    with pytest.raises(RequestRefused) as caught:
        media_type_of(header)
    assert caught.value.refusal is Refusal.UNSUPPORTED_MEDIA_TYPE


FREE = BodyReader(Catalogue([Meter("tokens", ("input_tokens", "output_tokens"))], ["cached_tokens"]), events_max=5)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("media_type", [JSON, NDJSON])
def test_an_event_is_refused_only_if_all_that_it_has_is_of_unknown_fields(media_type: str, count: int) -> None:
    def read(usage: dict[str, int]) -> ReadEvents:
        events = [EVENT | {"id": f"r-{number}", "usage": usage} for number in range(count)]
        body = dumps(events) if media_type == JSON else b"\n".join(map(dumps, events))
        return FREE.read(media_type, {}, body, now_ms=NOW_MS)

    for usage, unknown in (
        ({"input_tokens": 1, "cached_tokens": 7}, {}),
        ({"cached_tokens": 7}, {}),
        ({"input_tokens": 1, "new": 0}, {}),
        ({"new": 0}, {}),
        ({"input_tokens": 1, "new": 3, "other": 1}, {"new": 3 * count, "other": count}),
        ({"cached_tokens": 1, "new": 3}, {"new": 3 * count}),
    ):
        found = read(usage)
        assert FREE.unknown_usage(found) == unknown
        assert (indexes_of(found), found.rejected) == (list(range(count)), [])
        assert {part.events.fields for part in found.accepted} <= {tuple(sorted(usage)), tuple(usage)}
    for usage in ({"input_tokens": 0, "new": 1}, {"new": 1}):
        assert [rejected.reason for rejected in read(usage).rejected] == ["unknown_usage_field"] * count


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize(
    ("customer", "words"),
    [
        ("cus_1 ", "begins or ends with a space: 'cus_1 '"),
        (" cus_1", "begins or ends with a space"),
        ("cus\u00a01", "has characters that cannot be printed: U+00A0"),
        ("cus\u200d1", "has characters that cannot be printed: U+200D"),
        ("c\tus\n", "has characters that cannot be printed: U+0009, U+000A"),
    ],
)
def test_customers_that_look_like_others_are_refused_in_words_that_show_why(customer: str, words: str, count: int) -> None:
    events = [EVENT | {"id": f"r-{number}", "customer": customer} for number in range(count)]
    read = READER.read(JSON, {}, dumps(events), now_ms=NOW_MS)
    assert [(rejected.reason, rejected.field) for rejected in read.rejected] == [(Reason.WRONG_TYPE, "customer")] * count
    assert words in read.rejected[0].detail
