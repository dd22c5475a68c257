"""Every form of record is recognised, and every damaged one is refused with a reason."""

import orjson
import pytest
from taximeter_emitter.wire.batch import Batch, encode_batch
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import UsageEvent

from aggregator.reading.decoding import read
from metering.records.record import Record

EVENT = b'{"id":"1","customer":"c","usage":{"a":1}}'
DATA = b'{"customer":"c","usage":{"a":1}}'
CLOUD = (("ce_specversion", b"1.0"), ("ce_type", b"t"), ("ce_source", b"s"), ("ce_id", b"1"))


def record(value: bytes | None, *headers: tuple[str, bytes]) -> Record:
    return Record(0, 1_780_000_000_000, None, value, headers)


@pytest.mark.parametrize(
    "found",
    [
        record(EVENT),
        record(EVENT, ("traceparent", b"00-1"), ("content-type", b"application/json")),
        record(DATA, *CLOUD),
        record(DATA, *((name.upper().replace("_", "-"), value) for name, value in CLOUD), ("Content-Type", b"APPLICATION/JSON; charset=utf-8")),
        record(orjson.dumps({"specversion": "1.0", "type": "t", "source": "s", "id": "1", "data": orjson.loads(DATA)})),
    ],
)
def test_every_form_of_a_single_event_is_read(found: Record) -> None:
    event = read(found)
    assert isinstance(event, UsageEvent)
    assert (event.event_id, event.customer, event.usage) == ("1", "c", (("a", 1),))
    assert event.time_ms == found.timestamp  # it has no time of its own


def test_a_batch_is_read_as_a_batch() -> None:
    batch = Batch(emitter="e", partition=0, first_seq=4, count=0)
    found = read(record(encode_batch(batch)))
    assert isinstance(found, Batch)
    assert encode_batch(found) == encode_batch(batch)


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        (record(None), Reason.NULL_VALUE),
        (record(b""), Reason.MALFORMED_JSON),
        (record(b'{"id":'), Reason.MALFORMED_JSON),
        (record(b"\xff\xfe"), Reason.MALFORMED_JSON),
        (record(b"[" * 10_000), Reason.MALFORMED_JSON),
        (record(b"[" * 10_000 + b"]" * 10_000), Reason.MALFORMED_JSON),
        (record(b'"text"'), Reason.NOT_AN_OBJECT),
        (record(b'{"taximeter":1}'), Reason.BAD_BATCH),
        (record(b'{"taximeter":true,"count":3}'), Reason.BAD_BATCH),
        (record(EVENT, ("content-encoding", b"gzip")), Reason.BAD_HEADER),
        (record(EVENT, ("taximeter-secret", b"1")), Reason.BAD_HEADER),
        (record(EVENT, ("content-type", b"text/csv")), Reason.BAD_HEADER),
        (record(EVENT, ("content-type", b"\xff")), Reason.BAD_HEADER),
        (record(DATA, ("ce_id", b"1")), Reason.BAD_HEADER),
        (record(DATA, ("ce_specversion", b"0.3"), *CLOUD[1:]), Reason.BAD_HEADER),
        (record(DATA, *CLOUD[:-1], ("ce_id", b"\xff")), Reason.BAD_HEADER),
        (record(DATA, *CLOUD[:-1]), Reason.MISSING_FIELD),
    ],
)
def test_a_damaged_record_is_refused_by_reason(found: Record, reason: Reason) -> None:
    with pytest.raises(EventRejected) as caught:
        read(found)
    assert caught.value.reason is reason
