"""A batch reads back as it was written, and every damaged column is refused by name."""

from base64 import b64encode
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.batch import PACKED_FROM, Batch, encode_batch
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, QUANTITY_MAX
from taximeter_emitter.wire.packed import pack

from metering.records.batch_decoding import TEXTS_MAX, KnownTexts, decode_batch
from metering.records.integer_columns import ARRAYS_FROM
from tests.support.batch_forms import plain


def test_each_customer_stands_once_in_a_large_batch() -> None:
    count = PACKED_FROM
    batch = Batch("e", 0, 0, count, ["c", "d", "c"], [(), (("model", "m"),)], [0, 0, 1], [2] * count, 5, [1] * count, {"n": [300] * count})
    document = orjson.loads(encode_batch(batch))
    assert (document["customers"], document["series"]) == (["c", "d"], 3)
    assert plain(decode_batch(document)) == batch


LARGE: dict[str, Any] = {
    "taximeter": 1,
    "emitter": "e",
    "partition": 0,
    "first_seq": 0,
    "count": ARRAYS_FROM,
    "customers": ["c"],
    "dimensions": [{}],
    "series_dimensions": [0],
    "at": [0] * ARRAYS_FROM,
    "base_time": 0,
    "time": list(range(ARRAYS_FROM)),
    "usage": {"n": [QUANTITY_MAX] * ARRAYS_FROM},
}


def test_the_columns_of_a_large_batch_read_back_as_they_were_written() -> None:
    batch = decode_batch(LARGE)
    assert (list(batch.at), list(batch.time), list(batch.usage["n"])) == (LARGE["at"], LARGE["time"], LARGE["usage"]["n"])


def test_what_is_known_stays_bounded_and_exact() -> None:
    known = KnownTexts()
    for number in range(2 * TEXTS_MAX + 1):
        change = {"dimensions": [{"model": str(number), "a": "b"}], "usage": {f"t{number}": [1, 2]}}
        batch = decode_batch(GOOD | change, known)
        assert batch.dimensions == [(("a", "b"), ("model", str(number)))]
        assert list(batch.usage) == [f"t{number}"]
    for entry in ({"model": number, "a": "b"}, {"model": [], "a": "b"}, {"model": True}, 7, None):
        with pytest.raises(EventRejected, match="dimensions"):
            decode_batch(GOOD | {"dimensions": [entry]}, known)


@pytest.mark.parametrize("wrong", [True, 1.0, "1", None, -1, 10**15, 2**63, 2**64 - 1])
@pytest.mark.parametrize("column", ["at", "time", "usage"])
def test_one_wrong_number_in_a_large_batch_is_found(column: str, wrong: object) -> None:
    numbers = [0] * (ARRAYS_FROM - 1) + [wrong]
    with pytest.raises(EventRejected, match=column):
        decode_batch(LARGE | {column: {"n": numbers} if column == "usage" else numbers})


def test_a_heartbeat_reads_back_as_it_was_written() -> None:
    beat = Batch(emitter="e", partition=3, first_seq=9, count=0, final=True, abandoned=((4, 6), (8, 8)), dropped=5)
    assert decode_batch(orjson.loads(encode_batch(beat))) == beat
    assert decode_batch(orjson.loads(encode_batch(Batch(emitter="e", partition=0, first_seq=0, count=0)))).final is False


GOOD: dict[str, Any] = {
    "taximeter": 1,
    "emitter": "e",
    "partition": 0,
    "first_seq": 0,
    "count": 2,
    "customers": ["c", "d"],
    "dimensions": [{}],
    "series_dimensions": [0, 0],
    "at": [0, 1],
    "base_time": 10,
    "time": [0, 1],
    "usage": {"t": [1, 2]},
}
HEARTBEAT: dict[str, Any] = {"taximeter": 1, "emitter": "e", "partition": 0, "first_seq": 0, "count": 0}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"taximeter": 3}, "taximeter"),
        ({"taximeter": 0}, "taximeter"),
        ({"series": 2}, "series"),
        ({"series_customers": "1AAE="}, "series_customers"),
        ({"taximeter": True}, "taximeter"),
        ({"surprise": 1}, "surprise"),
        ({"emitter": ""}, "emitter"),
        ({"emitter": "x" * 65}, "emitter"),
        ({"emitter": 1}, "emitter"),
        ({"partition": -1}, "partition"),
        ({"partition": 1.0}, "partition"),
        ({"first_seq": True}, "first_seq"),
        ({"count": BATCH_EVENTS_MAX + 1}, "count"),
        ({"count": None}, "count"),
        ({"customers": []}, "customers"),
        ({"customers": ["c", 1]}, "customers"),
        ({"dimensions": []}, "dimensions"),
        ({"series_dimensions": [0]}, "series_dimensions"),
        ({"series_dimensions": [0, 1]}, "series_dimensions"),
        ({"at": [0, 2]}, "at"),
        ({"at": [0, -1]}, "at"),
        ({"at": [0]}, "at"),
        ({"base_time": -1}, "base_time"),
        ({"time": [0, 0.5]}, "time"),
        ({"usage": {}}, "usage"),
        ({"usage": {"t": [1]}}, "usage.t"),
        ({"usage": {"t": [1, True]}}, "usage.t"),
        ({"usage": {"t": [1, QUANTITY_MAX + 1]}}, "usage.t"),
        ({"stamped": False}, "stamped"),
        ({"stamped": 1}, "stamped"),
        ({"stamped": [1]}, "stamped"),
        ({"stamped": [1, 2]}, "stamped"),
        ({"stamped": [1, True]}, "stamped"),
        ({"stamped": "1AQA="}, "stamped"),
        ({"ids": "!!!"}, "ids"),
        ({"ids": b64encode(bytes(16)).decode()}, "ids"),
        ({"ids": 4}, "ids"),
    ],
)
def test_a_damaged_batch_is_refused_by_column(change: dict[str, Any], field: str) -> None:
    assert decode_batch(GOOD).count == 2
    with pytest.raises(EventRejected) as caught:
        decode_batch(GOOD | change)
    assert (caught.value.reason, caught.value.field) == (Reason.BAD_BATCH, field)


PACKED: dict[str, Any] = GOOD | {
    "taximeter": 2,
    "series": 2,
    "series_customers": pack([0, 1]),
    "series_dimensions": pack([0, 0]),
    "at": pack([0, 1]),
    "time": pack([0, 1]),
    "usage": {"t": pack([1, QUANTITY_MAX])},
}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"taximeter": 1}, "series"),
        ({"customers": ["c"]}, "series_customers"),
        ({"customers": ["c", 1]}, "customers"),
        ({"customers": ["c", ["d"]]}, "customers"),
        ({"customers": ["c", {}]}, "customers"),
        ({"series": 0}, "series"),
        ({"series": 0, "series_customers": "1"}, "series"),
        ({"at": "2AAE="}, "at"),
        ({"series": True}, "series"),
        ({"series": BATCH_EVENTS_MAX + 1}, "series"),
        ({"series": 3}, "series_customers"),
        ({"series": 1}, "series_customers"),
        ({"series_customers": [0, 1]}, "series_customers"),
        ({"series_customers": pack([0, 2])}, "series_customers"),
        ({"series_customers": None}, "series_customers"),
        ({"series_dimensions": pack([0])}, "series_dimensions"),
        ({"series_dimensions": pack([0, 1])}, "series_dimensions"),
        ({"at": pack([0, 2])}, "at"),
        ({"at": pack([0, 2**40])}, "at"),
        ({"at": pack([0])}, "at"),
        ({"at": pack([0, 1, 0])}, "at"),
        ({"at": ""}, "at"),
        ({"at": "1"}, "at"),
        ({"at": "AAE="}, "at"),
        ({"at": "1AAE"}, "at"),
        ({"at": "1AAE=\n"}, "at"),
        ({"at": "1A-E="}, "at"),
        ({"at": "1\u00e4AE="}, "at"),
        ({"at": "1AAE=AAE="}, "at"),
        ({"at": 1}, "at"),
        ({"time": "4" + b64encode(bytes(6)).decode()}, "time"),
        ({"time": pack([0, 2**63])}, "time"),
        ({"time": pack([0, 300_000_000_000_000])}, "time"),
        ({"usage": {"t": [1, 2]}}, "usage.t"),
        ({"usage": {"t": pack([1])}}, "usage.t"),
        ({"usage": {"t": pack([1, QUANTITY_MAX + 1])}}, "usage.t"),
        ({"usage": {"t": pack([1, 2**64 - 1])}}, "usage.t"),
        ({"usage": {"t": None}}, "usage.t"),
        ({"ids": "!!!"}, "ids"),
    ],
)
def test_a_damaged_packed_batch_is_refused_by_column(change: dict[str, Any], field: str) -> None:
    assert decode_batch(PACKED).count == 2
    with pytest.raises(EventRejected) as caught:
        decode_batch(PACKED | change)
    assert (caught.value.reason, caught.value.field) == (Reason.BAD_BATCH, field)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"customers": ["c", ""]}, Reason.MISSING_FIELD),
        ({"customers": ["c", "d" * 129]}, Reason.TOO_LONG),
        ({"customers": ["c", "\n"]}, Reason.WRONG_TYPE),
        ({"dimensions": [{"model": 1}]}, Reason.WRONG_TYPE),
        ({"usage": {"t" * 65: [1, 2]}}, Reason.TOO_LONG),
    ],
)
def test_a_bad_string_in_a_batch_is_refused_as_in_an_event(change: dict[str, Any], reason: Reason) -> None:
    with pytest.raises(EventRejected) as caught:
        decode_batch(GOOD | change)
    assert caught.value.reason is reason


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"final": 1}, "final"),
        ({"abandoned": [[2, 1]]}, "abandoned"),
        ({"abandoned": [[0, 1, 2]]}, "abandoned"),
        ({"abandoned": {"0": 1}}, "abandoned"),
        ({"abandoned": [[0, 1]] * 1_001}, "abandoned"),
        ({"dropped": -1}, "dropped"),
    ],
)
def test_a_damaged_heartbeat_is_refused_by_field(change: dict[str, Any], field: str) -> None:
    with pytest.raises(EventRejected) as caught:
        decode_batch(HEARTBEAT | change)
    assert (caught.value.reason, caught.value.field) == (Reason.BAD_BATCH, field)


JSON = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=4) | st.lists(st.integers())


@given(st.sampled_from([GOOD, PACKED]), st.sampled_from(sorted(PACKED)), JSON)
def test_any_damage_is_either_harmless_or_rejected(good: dict[str, Any], column: str, value: object) -> None:
    known = KnownTexts()
    known.customers = {"c"}
    decode_batch(good, known)
    try:
        decode_batch(good | {column: value}, known)
    except EventRejected:
        return
