"""Small batches at once come to what they come to one by one, whatever is wrong with one of them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from taximeter_emitter.wire.batch import LISTED_FIELDS
from taximeter_emitter.wire.limits import DAY_MS, MINUTE_MS

from aggregator.core.counting import PartitionCounter
from aggregator.reading.readers import MakeReader
from metering.records.record import Record
from tests.support.aggregator_counters import FLUSH_BYTES, LENGTHS, READERS, compare, count_many, counter, cut
from tests.support.aggregator_records import ODD_NUMBERS, START_MS, Event, small_batch
from tests.support.metering_framed_records import framed

VALUES: list[Any] = [
    *ODD_NUMBERS,
    [0],
    [1, 2],
    [True],
    [1.0],
    ["c1"],
    ["c1", "c2"],
    [""],
    [["c1"]],
    [{}],
    [{"model": "m1"}],
    {"input": [1]},
    {"input": [True]},
    "\ud7ff",
    "1AQ==",
]
TIMES = [0, 0, 0, 1_000, MINUTE_MS, -5 * MINUTE_MS, -5 * MINUTE_MS - 1, 35 * DAY_MS, 35 * DAY_MS + 1]
USUAL = st.builds(
    Event,
    st.none(),
    st.sampled_from(["c1", "c2", "c3"]),
    st.sampled_from([(("input", 3), ("output", 5)), (("input", 10**12), ("output", 0))]),
    st.sampled_from(["m1", "m2"]),
    st.sampled_from([0, 0, -1_000, -MINUTE_MS, 1_000]),
)
STRANGE = st.builds(
    Event,
    st.sampled_from([None, None, None, "id"]),
    st.sampled_from(["c1", "c4", "away"]),
    st.sampled_from([(("input", 3), ("output", 5)), (("calls", 1),), (("input", 1), ("mystery", 1))]),
    st.sampled_from(["m1", "m3"]),
    st.sampled_from([-age for age in TIMES]),
    st.booleans(),
)


def spoiled(value: bytes, draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """With another value somewhere, or another field, or another order of the fields."""
    document = orjson.loads(value)
    field = draw(st.sampled_from(LISTED_FIELDS))
    match draw(st.sampled_from(["value", "part", "order", "more", "less"])):
        case "value":
            document[field] = draw(st.sampled_from(VALUES))
        case "part" if isinstance(document[field], list) and document[field]:
            document[field][draw(st.integers(0, len(document[field]) - 1))] = draw(st.sampled_from(VALUES))
        case "part" if isinstance(document[field], dict):
            column = document[field][draw(st.sampled_from(sorted(document[field])))]
            column[draw(st.integers(0, len(column) - 1))] = draw(st.sampled_from(VALUES))
        case "order":
            document[field] = document.pop(field)
        case "more":
            document[draw(st.sampled_from(["stamped", "ids", "final", "abandoned", "dropped", "series", "other"]))] = draw(st.sampled_from(VALUES))
        case _:
            del document[field]
    try:
        return orjson.dumps(document)
    except (TypeError, orjson.JSONEncodeError):  # an integer of more than 64 bits
        return value


@st.composite
def logs(draw: st.DrawFn) -> list[Record]:
    """Records of a few emitters, most of them in order and with nothing wrong."""
    found: list[Record] = []
    following: dict[str, int] = {}
    offset, now_ms = 0, START_MS
    for _ in range(draw(st.integers(1, 25))):
        kind = draw(st.sampled_from(["usual"] * 8 + ["strange", "spoiled", "again", "hole", "gap", "headers"]))
        now_ms += draw(st.sampled_from([0, 0, 0, 1_000]))
        emitter = draw(st.sampled_from(["e1", "e2"]))
        events = draw(st.lists(STRANGE if kind == "strange" else USUAL, min_size=1, max_size=3))
        if kind != "strange" and draw(st.booleans()):
            events = [replace(event, stamped=True) for event in events]
        following[emitter] = following.get(emitter, 0) + (kind == "hole")
        value = small_batch(emitter, following[emitter], events, now_ms)
        following[emitter] += len(events)
        if kind == "spoiled":
            value = spoiled(value, draw)
        if kind == "again" and found:
            value = draw(st.sampled_from(found)).value or b""
        offset += 1 + (kind == "gap")
        headers = (("trace", b"x"),) if kind == "headers" else ()
        found.append(Record(offset, now_ms + draw(st.sampled_from([0, 0, -500])), None, value, headers))
    return found


def seen(counter: PartitionCounter) -> list[str]:
    """What is known of emitters, but for the own time of their latest event: of batches that are counted at once there is one for all."""
    return sorted(repr(replace(state, latest_ms=0)) for state in counter.sequences.states())


@pytest.mark.parametrize("make_reader", READERS)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(records=logs(), lengths=LENGTHS, until_bytes=FLUSH_BYTES, data=st.data())
def test_batches_at_once_come_to_the_same_as_one_by_one(
    make_reader: MakeReader, records: list[Record], lengths: list[int], until_bytes: int, data: st.DataObject
) -> None:
    one, many = counter(), counter(make_reader=make_reader)
    tally_at = data.draw(st.integers(0, len(records)))
    for part in (records[:tally_at], records[tally_at:]):
        for record in part:
            one.count(record)
        count_many(many, framed(part), lengths, until_bytes)
        assert (one.position, one.pending_records, one.pending_input_bytes) == (many.position, many.pending_records, many.pending_input_bytes)
        compare(cut(one), cut(many))
        assert seen(one) == seen(many)
