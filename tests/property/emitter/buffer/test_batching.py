"""Batches of any events in any steps."""

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_emitter.buffer.batching import Batcher, EventColumns, EventRow, PartitionBatch, dimension_bytes, event_bytes
from taximeter_emitter.wire.batch import FINGERPRINT_BYTES, NO_ID, Batch
from taximeter_emitter.wire.limits import QUANTITY_MAX, USAGE_FIELDS_MAX

from metering.records.batch_decoding import decode_batch

texts = st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=6)
events = st.fixed_dictionaries(
    {
        "customer": st.sampled_from(["cus_1", "cus_2", 'quo"te', "k\u00fcnde"]) | texts,
        "dimensions": st.dictionaries(texts, texts, max_size=2).map(lambda d: tuple(sorted(d.items()))),
        "time_ms": st.integers(0, 2**42),
        "usage": st.dictionaries(st.sampled_from("abcdefghijklmnopqrstuvwxyz"), st.integers(0, QUANTITY_MAX), min_size=1, max_size=4).map(
            lambda d: tuple(sorted(d.items()))
        ),
        "fingerprint": st.just(NO_ID) | st.binary(min_size=16, max_size=16),
        "stamped": st.booleans(),
    }
)
steps = st.lists(st.tuples(st.integers(0, 2), events) | st.sampled_from(["take_full", "take_all"]), max_size=60)


def events_of(batch: Batch) -> list[dict[str, Any]]:
    found = []
    for index in range(batch.count):
        series = batch.at[index]
        found.append(
            {
                "customer": batch.customers[series],
                "dimensions": batch.dimensions[batch.series_dimensions[series]],
                "time_ms": batch.base_time_ms + batch.time[index],
                # An absent field and a zero are the same usage.
                "usage": {name: column[index] for name, column in batch.usage.items() if column[index]},
                "stamped": batch.stamped if isinstance(batch.stamped, bool) else bool(batch.stamped[index]),
                "fingerprint": batch.ids[index * FINGERPRINT_BYTES : (index + 1) * FINGERPRINT_BYTES] or NO_ID,
            }
        )
    return found


@settings(max_examples=150)
@given(steps, st.integers(1, 7))
def test_all_events_come_out_once_in_order_and_numbered_without_gaps(script: list[Any], events_max: int) -> None:
    batcher = Batcher("e", events_max=events_max)
    put: dict[int, list[dict[str, Any]]] = {}
    closed: list[PartitionBatch] = []
    for step in [*script, "take_all"]:
        if step == "take_full":
            closed += batcher.take_full()
        elif step == "take_all":
            closed += batcher.take_all()
        else:
            partition, event = step
            batcher.add(partition, **event)
            put.setdefault(partition, []).append(event | {"usage": {name: value for name, value in event["usage"] if value}})
    assert batcher.is_empty
    got: dict[int, list[dict[str, Any]]] = {}
    for batch in closed:
        decoded = decode_batch(orjson.loads(batch.value))
        assert (decoded.emitter, decoded.partition, decoded.count) == ("e", batch.partition, batch.count)
        assert decoded.first_seq == batch.first_seq == len(got.get(batch.partition, []))
        assert decoded.count <= events_max
        assert len(decoded.usage) <= USAGE_FIELDS_MAX
        got.setdefault(batch.partition, []).extend(events_of(decoded))
    assert got == put
    assert batcher.next_seq == {partition: len(found) for partition, found in got.items()}


@given(st.lists(events, min_size=1, max_size=40), st.sampled_from([1, 10]))
def test_the_estimated_size_is_never_below_the_real_one(found: list[dict[str, Any]], times: int) -> None:
    batcher = Batcher("e" * 64)
    estimates: dict[PartitionBatch, int] = {}
    for event in found * times:
        batch = batcher.add(0, **event)
        estimates[batch] = batch.size
    for batch in batcher.take_all():
        assert len(batch.value) <= estimates[batch] + 1_024


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(1, 9), st.integers(500, 3_000))
def test_many_events_at_once_are_spread_over_batches_like_single_events(sizes: list[int], events_max: int, bytes_max: int) -> None:
    single, many = Batcher("e", events_max=events_max, bytes_max=bytes_max), Batcher("e", events_max=events_max, bytes_max=bytes_max)
    number = 0
    for turn, size in enumerate(sizes):
        fields = ("n", "m")[: 1 + turn % 2]
        rows: list[EventRow] = []
        for _ in range(size):
            number += 1
            rows.append((f"cus_{number % 5}", (), number, False, NO_ID, (number,) * len(fields)))
            single.add(0, customer=rows[-1][0], dimensions=(), time_ms=number, usage=tuple(zip(fields, rows[-1][5], strict=True)), fingerprint=NO_ID)
        row_bytes = event_bytes(fields=len(fields), customer_chars=5, dimensions=dimension_bytes(()))
        placed = many.add_columns(0, EventColumns.of_rows(fields, rows, row_bytes))
        assert sum(count for _, count in placed) == len(rows)
    assert [batch.value for batch in many.take_all()] == [batch.value for batch in single.take_all()]
