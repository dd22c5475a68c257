"""Batches against a naive model: nothing lost, nothing renumbered, nothing too large."""

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_emitter.buffer.batching import BATCH_BYTES_MAX, Batcher, EventColumns, EventRow, PartitionBatch, dimension_bytes, event_bytes
from taximeter_emitter.wire.batch import FINGERPRINT_BYTES, NO_ID, Batch, decode_batch
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, EVENT_RECORD_BYTES_MAX, QUANTITY_MAX, USAGE_FIELDS_MAX

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


def test_the_largest_events_fill_a_batch_that_still_fits_a_record() -> None:
    batcher = Batcher("e", events_max=BATCH_EVENTS_MAX, bytes_max=BATCH_BYTES_MAX)
    wide = "\U0001f600"
    number = 0
    while not (full := batcher.take_full()):
        batcher.add(
            0,
            customer=f"{number:06d}{wide * 122}",
            dimensions=tuple((f"{key:02d}{wide * 62}", f"{number:06d}{wide * 122}") for key in range(16)),
            time_ms=number * 10**9,
            usage=tuple((f"{key:02d}{wide * 62}", QUANTITY_MAX) for key in range(16)),
            fingerprint=bytes([1]) * 16,
        )
        number += 1
    (batch,) = full
    assert BATCH_BYTES_MAX // 2 < len(batch.value) <= EVENT_RECORD_BYTES_MAX
    assert decode_batch(orjson.loads(batch.value)).count == number


def test_a_column_that_comes_late_is_filled_with_zeros() -> None:
    batcher = Batcher("e")
    for usage in ((("a", 1),), (("b", 2),), (("a", 3),)):
        batcher.add(0, customer="c", dimensions=(), time_ms=5, usage=usage, fingerprint=NO_ID)
    (batch,) = batcher.take_all()
    decoded = decode_batch(orjson.loads(batch.value))
    assert {name: list(column) for name, column in decoded.usage.items()} == {"a": [1, 0, 3], "b": [0, 2, 0]}
    assert decoded.ids == b""


@given(st.lists(st.integers(1, 30), min_size=1, max_size=20), st.integers(1, 9), st.integers(500, 3_000))
def test_many_events_at_once_are_spread_over_batches_like_single_events(sizes: list[int], events_max: int, bytes_max: int) -> None:
    single, many = Batcher("e", events_max=events_max, bytes_max=bytes_max), Batcher("e", events_max=events_max, bytes_max=bytes_max)
    number = 0
    for turn, size in enumerate(sizes):
        fields = ("n", "m")[: 1 + turn % 2]
        rows: list[EventRow] = []
        for _ in range(size):
            number += 1
            rows.append((f"cus_{number % 5}", (), number, NO_ID, (number,) * len(fields)))
            single.add(0, customer=rows[-1][0], dimensions=(), time_ms=number, usage=tuple(zip(fields, rows[-1][4], strict=True)), fingerprint=NO_ID)
        row_bytes = event_bytes(fields=len(fields), customer_chars=5, dimensions=dimension_bytes(()))
        placed = many.add_columns(0, EventColumns.of_rows(fields, rows, row_bytes))
        assert sum(count for _, count in placed) == len(rows)
    assert [batch.value for batch in many.take_all()] == [batch.value for batch in single.take_all()]


def test_heartbeats_tell_the_next_number() -> None:
    batcher = Batcher("e")
    batcher.add(4, customer="c", dimensions=(), time_ms=5, usage=(("a", 1),), fingerprint=NO_ID)
    batcher.take_all()
    beat = decode_batch(orjson.loads(batcher.heartbeat(4, final=True, abandoned=((0, 0),), dropped=3)))
    assert (beat.first_seq, beat.count, beat.final, beat.abandoned, beat.dropped) == (1, 0, True, ((0, 0),), 3)
    assert decode_batch(orjson.loads(batcher.heartbeat(5))).first_seq == 0


@pytest.mark.parametrize("bounds", [{"events_max": 0}, {"events_max": BATCH_EVENTS_MAX + 1}, {"bytes_max": 0}, {"bytes_max": BATCH_BYTES_MAX + 1}])
def test_bounds_that_a_record_could_not_hold_are_refused(bounds: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="a batch has"):
        Batcher("e", **bounds)
