"""Every usual form of an event is read by the native reader, and nothing that could be read in two ways."""

import json
from base64 import b64encode
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from taximeter_emitter.wire.batch import Batch, encode_batch

from metering.records.notes.looked_up_ids import LOOKED_UP_HEADER
from tests.native.comparison import PARTITION, Comparison
from tests.native.record_sets import Header, RawBatch, RawRecord
from tests.native.samples import TIMES
from tests.support.aggregator_event_texts import BARE, CLOUDEVENT, OWN, SPACED, WITH_CUSTOMER
from tests.support.batch_forms import in_columns, in_lists

TRACE: list[Header] = [(b"traceparent", b"00-1-2-01"), (b"content-type", b"application/json; charset=utf-8"), (b"x", None)]
ATTRIBUTES: list[Header] = [
    *[(b"ce_specversion", b"1.0"), (b"ce-id", b"i"), (b"CE_source", "é".encode()), (b"ce_type", b"t"), (b"ce_extension", b"x")],
    *[(b"content-type", b"application/json")],
]


def ways(comparison: Comparison, *records: RawRecord) -> list[int]:
    return comparison.compare(RawBatch(0, records).encoded())


def own(**changes: Any) -> bytes:
    return json.dumps(
        {"id": "i", "source": "s", "time": TIMES[0], "customer": "c", "usage": {"input": 1}, "dimensions": {"m": "x"}} | changes
    ).encode()


def columns(**changes: Any) -> bytes:
    """A batch of two events of two series."""
    usage = {"input": [1, 10**12], "output": [0, 300]}
    batch = Batch("e1", PARTITION, 7, 2, ["c", "d"], [(("m", "x"),), ()], [0, 1], [1, 0], 1_795_000_000_000, [0, 5], usage)
    return encode_batch(batch._replace(**changes))


NUMBERS = [b"1e3", b"-0", b"1.0", b"007", b"1" * 30, b"-1", b"true", b'"1"', b"1000000000001"]
IDS = bytes(16) + bytes(range(16))
BATCHES = [columns(), columns(ids=IDS), columns(stamped=True), columns(stamped=[0, 1]), columns(kept_ids="x"), columns(first_seq=2**62)]


@pytest.mark.parametrize(
    "record",
    [
        *[RawRecord(value) for value in (OWN, SPACED, BARE, CLOUDEVENT, WITH_CUSTOMER)],
        *[RawRecord(value, headers=TRACE) for value in (OWN, CLOUDEVENT)],
        RawRecord(b'{"usage":{"input":1},"customer":"c","dimensions":{"m":"x"}}', headers=ATTRIBUTES),
        RawRecord(b'{"usage":{"input":1}}', headers=[*ATTRIBUTES, (b"ce_subject", "é".encode()), *TRACE[:1]]),
        RawRecord(b' {\n\t"usage" : { "\xc3\xa9" : 0 } }\r\n', headers=[*ATTRIBUTES, (b"ce_subject", b"c"), (b"ce_time", TIMES[0].encode())]),
        RawRecord(own(id="é", source="日本", customer="😀")),
        RawRecord(own(id='"\\/', dimensions={})),
        RawRecord(json.dumps({"id": "é", "customer": "é", "usage": {"é": 3}}, ensure_ascii=False).encode()),
        RawRecord(own(usage={"input": 0, "output": 10**12})),
        RawRecord(own(id="é" * 128, source="x" * 128, customer="é" * 128)),
    ],
)
def test_a_single_event_is_read(comparison: Comparison, record: RawRecord) -> None:
    assert ways(comparison, record) == [1]


@pytest.mark.parametrize("value", [form(value) for value in BATCHES for form in (in_lists, in_columns)])
@pytest.mark.parametrize("headers", [[], TRACE])
def test_a_batch_is_read(comparison: Comparison, value: bytes, headers: Sequence[Header]) -> None:
    assert ways(comparison, RawRecord(value, headers=headers)) == [2]


def test_a_batch_with_ids_that_were_looked_up_is_left(comparison: Comparison) -> None:
    headers = [(LOOKED_UP_HEADER.encode(), bytes(8 + 16))]
    assert ways(comparison, RawRecord(in_columns(BATCHES[0]), headers=headers)) == [0]


@pytest.mark.parametrize("text", [*TIMES[:7], "2024-02-29T23:59:59.9+05:30", "1970-01-01T00:00:00Z", "1970-01-01T00:30:00-00:30"])
def test_a_usual_time_is_read(comparison: Comparison, text: str) -> None:
    assert ways(comparison, RawRecord(own(time=text))) == [1]


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{}",
        b"[]",
        OWN[:-1],
        OWN + b"x",
        b"\xef\xbb\xbf" + OWN,
        OWN.replace(b'"input":1', b'"input":1,"input":1'),
        OWN.replace(b'"id":"q-1"', b'"id":"q-1","id":"q-1"'),
        *[OWN.replace(b'"input":1', b'"input":' + number) for number in NUMBERS],
        OWN.replace(b'"input"', b'"unknown"'),
        OWN.replace(b'"input"', b'"in\\u0070ut"'),
        OWN.replace(b'"usage"', b'"us\\u0061ge"'),
        OWN.replace(b'"q-1"', b'"\\ud800"'),
        OWN.replace(b'"q-1"', b'"\xff"'),
        OWN.replace(b'"q-1"', b'"\\u0000"'),
        OWN.replace(b'"q-1"', b'"\x00"'),
        OWN.replace(b'"q-1"', b'"\x7f"'),
        OWN.replace(b'"q-1"', '"\u200b"'.encode()),
        OWN.replace(b'"q-1"', b'""'),
        own(extra=1),
        own(source=""),
        own(customer=""),
        own(customer="away"),
        own(dimensions={"m": 1}),
        own(dimensions={"m": {}}),
        own(dimensions={f"m{number}": "x" for number in range(17)}),
        own(usage={}),
        own(id="x" * 129),
        own(id="x" * 100, customer="é" * 128, dimensions={f"m{number}": "x" * 128 for number in range(14)}),
        encode_batch(Batch("e1", PARTITION, 0, 0)),
        columns(partition=PARTITION + 1),
        columns(first_seq=2**62 + 1),
        columns(customers=["c", "away"]),
        columns(dimensions=[(("m", "x"),), (), ()]),
        columns(usage={"unknown": [1, 2]}),
        columns(usage={"input": [1, 10**12 + 1]}),
        columns(at=[0, 2]),
        columns(ids=IDS[:16]),
        columns(emitter="\u200b"),
        columns(stamped=[0, 2]),
        columns().replace(b'"count":2', b'"count":2,"final":true'),
        columns(ids=IDS).replace(b64encode(IDS), b64encode(IDS)[:-2] + b"9="),
    ],
)
def test_what_is_unusual_goes_the_long_way(comparison: Comparison, value: bytes | None) -> None:
    assert ways(comparison, RawRecord(value)) == [0]


@given(st.text(max_size=140), st.text(max_size=140), st.text(max_size=20), st.booleans())
@example("é" * 128, "日" * 128, "\u200b", True)
@example("\x7f", "", "c", False)
@settings(max_examples=400)
def test_texts_of_any_characters(comparison: Comparison, event_id: str, source: str, customer: str, ascii_only: bool) -> None:
    document = {"id": event_id, "source": source, "customer": customer, "usage": {"input": 1}, "dimensions": {customer: source}}
    try:
        value = json.dumps(document, ensure_ascii=ascii_only).encode()
    except UnicodeEncodeError:  # half of a pair of surrogates
        value = json.dumps(document).encode()
    ways(comparison, RawRecord(value))


@given(st.text(alphabet="0123456789-:.+TtZz ", max_size=42) | st.datetimes(timezones=st.timezones()).map(lambda moment: moment.isoformat()))
@settings(max_examples=400)
def test_texts_that_look_like_times(comparison: Comparison, text: str) -> None:
    ways(comparison, RawRecord(own(time=text)))


@given(st.integers(0, 39), st.text(alphabet="0123456789-:.,+TtZz W", max_size=3), st.sampled_from(TIMES))
@settings(max_examples=600)
def test_times_that_are_a_little_other_than_usual(comparison: Comparison, place: int, piece: str, text: str) -> None:
    ways(comparison, RawRecord(own(time=text[:place] + piece + text[place + len(piece) :])))
    ways(comparison, RawRecord(own(time=text[:place] + piece + text[place:])))
