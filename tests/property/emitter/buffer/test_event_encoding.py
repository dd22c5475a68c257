"""Any events come out of the emitter's buffer as they went in."""

import operator
import sys
from itertools import chain
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.buffer.batching import EventRow, dimension_bytes, event_bytes
from taximeter_emitter.buffer.event_encoding import EVENT_PARTS, EventDecoder, EventEncoder
from taximeter_emitter.buffer.partition_cache import PartitionCache
from taximeter_emitter.wire.batch import NO_ID
from taximeter_emitter.wire.event import fingerprint, parse_dimensions
from taximeter_emitter.wire.limits import QUANTITY_MAX
from taximeter_emitter.wire.partitioner import partition_of

from tests.support.emitter_events_read_back import read
from tests.support.ingest_rows import rows_of

texts = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=6) | st.sampled_from(['quo"te', "back\\slash"])
events = st.lists(
    st.fixed_dictionaries(
        {
            "customer": texts,
            "usage": st.dictionaries(texts, st.integers(0, QUANTITY_MAX), min_size=1, max_size=3),
            "dimensions": st.none() | st.dictionaries(texts, texts, max_size=3),
            "event_id": st.none() | texts,
            "time_ms": st.integers(0, 2**42) | st.integers(0, 2**42).map(operator.inv),
        }
    ),
    min_size=1,
    max_size=20,
)


@given(events)
def test_events_come_out_as_they_went_in_by_partition_and_fields(found: list[dict[str, Any]]) -> None:
    encode = EventEncoder(None).encode
    expected: dict[tuple[int, tuple[str, ...]], list[EventRow]] = {}
    for event in found:
        fields = tuple(sorted(event["usage"]))
        dimensions = parse_dimensions(event["dimensions"] or {}, "dimensions")
        identity = NO_ID if event["event_id"] is None else fingerprint("s", event["event_id"])
        stamped = event["time_ms"] >= 0
        time_ms = event["time_ms"] if stamped else ~event["time_ms"]
        row = (event["customer"], dimensions, time_ms, stamped, identity, tuple(event["usage"][name] for name in fields))
        expected.setdefault((partition_of(event["customer"], 3), fields), []).append(row)
    rows = read([encode(**event) for event in found], 3)
    # Fields that came in another order are columns of their own, and so are not between the others.
    assert {key: sorted(found_rows) for key, found_rows in rows.items()} == {key: sorted(found_rows) for key, found_rows in expected.items()}


@given(events)
def test_events_whose_fields_come_in_one_order_keep_theirs(found: list[dict[str, Any]]) -> None:
    encode = EventEncoder(None).encode
    encoded = [encode(**event | {"usage": {"n": number, "a": 1}}) for number, event in enumerate(found)]
    for rows in read(encoded, 3).values():
        numbers = [quantities[1] for *_, quantities in rows]
        assert numbers == sorted(numbers)


@given(events)
def test_what_an_event_adds_to_a_batch_is_not_underrated(found: list[dict[str, Any]]) -> None:
    encode = EventEncoder(None).encode
    parts = list(chain.from_iterable(encode(**event) for event in found))
    for _, columns in EventDecoder("s").decode(parts, PartitionCache(3)):
        for customer, dimensions, *_ in rows_of(columns):
            size = event_bytes(fields=len(columns.fields), customer_chars=len(customer), dimensions=dimension_bytes(dimensions))
            assert columns.row_bytes >= size


@given(events)
def test_the_size_of_an_event_is_what_its_objects_take_at_least(found: list[dict[str, Any]]) -> None:
    encode = EventEncoder(None).encode
    for event in found:
        customer, _, time_ms, event_id, quantities, size = encode(**event)
        own: list[object] = [customer, time_ms, quantities, size] if event_id is None else [customer, time_ms, quantities, size, event_id]
        assert size >= sum(map(sys.getsizeof, own)) + 8 * EVENT_PARTS
