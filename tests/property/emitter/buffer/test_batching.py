"""Batches of any events in any steps."""

from typing import Any

import orjson
from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_emitter.buffer.batching import Batcher, EventColumns, EventRow, PartitionBatch, dimension_bytes, event_bytes
from taximeter_emitter.wire.batch import FINGERPRINT_BYTES, NO_ID, Batch
from taximeter_emitter.wire.kept_ids import kept_id, unpack_kept_ids
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


@given(st.lists(st.tuples(st.booleans(), st.lists(st.none() | texts, min_size=1, max_size=8)), min_size=1, max_size=6), st.integers(1, 9))
def test_kept_ids_stay_with_their_events_and_take_no_more_than_was_estimated(parts: list[tuple[bool, list[str | None]]], events_max: int) -> None:
    batcher, number = Batcher("e", events_max=events_max), 0
    expected: dict[int, tuple[str, str]] = {}
    estimates: dict[PartitionBatch, int] = {}
    for keeps, ids in parts:
        kept = ["" if event_id is None else kept_id("gpu", event_id) for event_id in ids] if keeps else []
        times = list(range(number, number + len(ids)))
        expected.update({time: ("", "") if event_id is None or not keeps else ("gpu", event_id) for time, event_id in zip(times, ids, strict=True)})
        size = event_bytes(fields=1, customer_chars=1, dimensions=dimension_bytes(()), kept_chars=max(map(len, kept), default=0))
        count, marks = len(ids), [NO_ID] * len(ids)
        columns = EventColumns(("n",), ["c"] * count, [()] * count, times, [False] * count, marks, [times], size, kept)
        for chosen in (columns.part(0, 1), columns.at(list(range(1, count)))) if count > 1 else (EventColumns.joined([columns]),):
            for batch, _ in batcher.add_columns(0, chosen):
                estimates[batch] = max(batch.size, estimates.get(batch, 0)) if not batch.value else estimates.get(batch, 10**9)
        number += count
    found: dict[int, tuple[str, str]] = {}
    for batch in batcher.take_all():
        decoded = decode_batch(orjson.loads(batch.value))
        names = unpack_kept_ids(decoded.kept_ids, decoded.count) if decoded.kept_ids else [("", "")] * decoded.count
        found.update({decoded.base_time_ms + time: name for time, name in zip(decoded.time, names, strict=True)})
        assert len(batch.value) <= estimates[batch] + 1_024
    assert found == expected


@given(st.lists(st.booleans(), min_size=2, max_size=5))
def test_joined_columns_keep_the_ids_of_those_that_have_them(keeps: list[bool]) -> None:
    parts = [EventColumns(("n",), ["c"], [()], [place], [False], [NO_ID], [[1]], 100, ["a"] if kept else ()) for place, kept in enumerate(keeps)]
    assert list(EventColumns.joined(parts).kept_ids) == (["a" if kept else "" for kept in keeps] if any(keeps) else [])
