"""Small batches that are joined come to what they come to one by one, whatever is wrong with one of them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from taximeter_emitter.wire.batch import KnownTexts
from taximeter_emitter.wire.limits import DAY_MS, MINUTE_MS

from aggregator.reading.joined_batches import JOINED_BATCHES_MAX, LAYOUT, SMALL_BATCH_BYTES_MAX, first_batches, join
from metering.records.record import Record
from tests.unit.aggregator.events import START_MS, Event, Numbered, encode
from tests.unit.aggregator.test_runs import FLUSH_BYTES, LENGTHS, compare, count_many, counter, cut

FIELDS = frozenset({"input", "output", "calls"})
NUMBERS: list[Any] = [0, 1, 19, 20, -1, 2**64, 2**70, 1.0, 1.5, 1e300, True, False, None, "1", [], {}]
VALUES: list[Any] = [
    *NUMBERS,
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
]
TIMES = [0, 0, 0, 1_000, MINUTE_MS, -5 * MINUTE_MS, -5 * MINUTE_MS - 1, 35 * DAY_MS, 35 * DAY_MS + 1]
USUAL = st.builds(
    Event,
    st.none(),
    st.sampled_from(["c1", "c2", "c3"]),
    st.sampled_from([(("input", 3), ("output", 5)), (("input", 10**12), ("output", 0))]),
    st.sampled_from(["m1", "m2"]),
    st.sampled_from([0, 0, -1_000, -MINUTE_MS]),
)
STRANGE = st.builds(
    Event,
    st.sampled_from([None, None, None, "id"]),
    st.sampled_from(["c1", "c4", "away"]),
    st.sampled_from([(("input", 3), ("output", 5)), (("calls", 1),), (("input", 1), ("mystery", 1))]),
    st.sampled_from(["m1", "m3"]),
    st.sampled_from([-age for age in TIMES]),
)


def small(emitter: str, first_seq: int, events: Sequence[Event], now_ms: int) -> bytes:
    """The value of a batch in lists; the times of its events count from now."""
    moved = tuple(Event(event.event_id, event.customer, event.usage, event.model, now_ms + event.time_ms) for event in events)
    # An even number has this form; the record is numbered right afterwards.
    value, _ = encode(Numbered(emitter, 0, moved))
    assert value is not None
    return orjson.dumps(orjson.loads(value) | {"first_seq": first_seq})


def spoiled(value: bytes, draw: Callable[[st.SearchStrategy[Any]], Any]) -> bytes:
    """With another value somewhere, or another field, or another order of the fields."""
    document = orjson.loads(value)
    field = draw(st.sampled_from(LAYOUT))
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
            document[draw(st.sampled_from(["ids", "final", "abandoned", "dropped", "series", "other"]))] = draw(st.sampled_from(VALUES))
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
        following[emitter] = following.get(emitter, 0) + (kind == "hole")
        value = small(emitter, following[emitter], events, now_ms)
        following[emitter] += len(events)
        if kind == "spoiled":
            value = spoiled(value, draw)
        if kind == "again" and found:
            value = draw(st.sampled_from(found)).value or b""
        offset += 1 + (kind == "gap")
        headers = (("trace", b"x"),) if kind == "headers" else ()
        found.append(Record(offset, now_ms + draw(st.sampled_from([0, 0, -500])), None, value, headers))
    return found


@settings(max_examples=1_000, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(logs(), LENGTHS, FLUSH_BYTES, st.data())
def test_joined_batches_come_to_the_same_as_one_by_one(records: list[Record], lengths: list[int], until_bytes: int, data: st.DataObject) -> None:
    one, many = counter(1), counter(1, batches_min=data.draw(st.sampled_from([1, 2, 4])))
    tally_at = data.draw(st.integers(0, len(records)))
    for part in (records[:tally_at], records[tally_at:]):
        for record in part:
            one.count(record)
        count_many(many, part, lengths, until_bytes)
        assert (one.position, one.pending_records, one.pending_input_bytes) == (many.position, many.pending_records, many.pending_input_bytes)
        compare(cut(one), cut(many))
        assert sorted(map(repr, one.sequences.states())) == sorted(map(repr, many.sequences.states()))


def usual(numbers: Sequence[int]) -> list[Record]:
    """Batches of two events each, in order."""
    event = Event(None, "c1", (("input", 1), ("output", 2)), "m1", 0)
    return [Record(number, START_MS, None, small("e1", 2 * number, [event, event], START_MS)) for number in numbers]


def test_what_emitters_write_is_joined() -> None:
    records = usual(range(JOINED_BATCHES_MAX))
    assert first_batches(records, 0) == records
    found = join(
        [orjson.loads(record.value or b"") for record in records],
        [START_MS] * JOINED_BATCHES_MAX,
        partition=0,
        fields=FIELDS,
        known=KnownTexts(),
        partition_of=lambda _: 0,
    )
    assert found is not None
    assert found.events.count == 2 * JOINED_BATCHES_MAX == len(found.events.at)
    assert sum(found.events.usage["output"]) == 4 * JOINED_BATCHES_MAX


@pytest.mark.parametrize("value", NUMBERS[4:])
@pytest.mark.parametrize("field", ["taximeter", "partition", "first_seq", "count", "base_time"])
def test_a_number_that_is_none_is_left_to_the_long_way(field: str, value: object) -> None:
    first, second = usual(range(2))
    document = orjson.loads(second.value or b"") | {field: value}
    assert (
        join([orjson.loads(first.value or b""), document], [START_MS] * 2, partition=0, fields=FIELDS, known=KnownTexts(), partition_of=lambda _: 0)
        is None
    )


def test_a_run_ends_before_a_gap_and_before_what_is_no_small_batch() -> None:
    records = usual([0, 1, 2, 4, 5])
    assert first_batches(records, 0) == records[:3]
    assert first_batches(records, 3) == records[3:]
    large = replace(records[2], value=(records[2].value or b"") + b" " * SMALL_BATCH_BYTES_MAX)
    assert first_batches([*records[:2], large], 0) == records[:2]
    assert first_batches([large, *records], 0) == ()
    assert first_batches([*records[:2], replace(records[2], value=None)], 0) == records[:2]
    assert first_batches([*records[:2], replace(records[2], headers=(("a", b""),))], 0) == records[:2]
