"""Events that wait without a partition come back as they were, and placing numbers each once, in however many steps."""

from collections.abc import Sequence

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.buffer.batching import EventColumns
from taximeter_emitter.spool.placing import place
from taximeter_emitter.spool.unplaced import decode_unplaced, encode_unplaced
from taximeter_emitter.wire.batch import NO_ID
from taximeter_emitter.wire.partitioner import partition_of

from metering.records.batch_decoding import decode_batch
from tests.support.emitter_batches_received import finals, gaps
from tests.support.ingest_rows import rows_of

names = st.sampled_from(["a", "b", "c"])
rows = st.tuples(
    st.sampled_from(["cus_1", "cus_2", "müller", "cus_4"]),
    st.dictionaries(names, st.sampled_from(["x", "ÿ"]), max_size=2).map(lambda found: tuple(sorted(found.items()))),
    st.integers(0, 10**13),
    st.booleans(),
    st.just(NO_ID) | st.binary(min_size=16, max_size=16),
    st.tuples(st.integers(0, 10**12), st.integers(0, 10**12)),
)
parts = st.lists(st.lists(rows, min_size=1, max_size=20).map(lambda found: EventColumns.of_rows(("m", "n"), found, 200)), min_size=1, max_size=4)


def all_rows(found: Sequence[EventColumns]) -> list[tuple[object, ...]]:
    return [tuple(row) for columns in found for row in rows_of(columns)]


@given(parts)
def test_a_chunk_comes_back_as_it_was(found: list[EventColumns]) -> None:
    chunk = encode_unplaced(found)
    assert chunk.events == len(all_rows(found))
    assert all_rows(decode_unplaced(chunk.value)) == all_rows(found)


@given(parts)
def test_kept_ids_wait_with_their_events(found: list[EventColumns]) -> None:
    kept = [columns._replace(kept_ids=[f"s\t{place}" for place in range(len(columns.times))]) for columns in found]
    assert [columns.kept_ids for columns in decode_unplaced(encode_unplaced(kept).value)] == [columns.kept_ids for columns in kept]
    assert b"kept_ids" not in encode_unplaced(found).value


@pytest.mark.parametrize("value", [b"", b"{}x", b"[1]", b"[{}]", b'[{"fields": []}]'])
def test_what_is_no_chunk_is_a_value_error(value: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        decode_unplaced(value)


@given(st.lists(parts, min_size=1, max_size=4), st.integers(1, 7))
def test_each_event_gets_one_number_in_its_customers_partition_and_the_last_step_says_how_many(
    chunks: list[list[EventColumns]], partitions: int
) -> None:
    next_seq: dict[int, int] = {}
    batches = []
    for number, found in enumerate(chunks):
        placement = place(found, emitter="e", partitions=partitions, next_seq=next_seq, is_last=number == len(chunks) - 1)
        next_seq = placement.next_seq
        batches += [decode_batch(orjson.loads(batch.value)) for batch in placement.batches]
    assert gaps(batches) == {}
    assert sum(finals(batches).values()) == sum(len(all_rows(found)) for found in chunks)
    assert {batch.partition for batch in batches} == set(next_seq)
    for batch in batches:
        assert {partition_of(customer, partitions) for customer in batch.customers} <= {batch.partition}
    sums = [sum(sum(batch.usage.get(field, ())) for batch in batches) for field in ("m", "n")]
    assert sums == [sum(sum(columns.quantities[place]) for found in chunks for columns in found) for place in (0, 1)]
