"""Sums of batches against a naive sum of their events."""

from itertools import compress
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.event import UsageEvent
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, MINUTE_MS, QUANTITY_MAX

from aggregator.ids.id_index import content_of
from aggregator.sums.rows import Rows
from metering.records.integer_columns import ARRAYS_FROM
from metering.records.service_limits import TALLY_ROW_BYTES
from metering.records.tally import TallyRow, encode_tally
from tests.support.aggregator_sums import CATALOGUE, DIMENSIONS, batch_of, calls, naive, taken
from tests.support.metering_tallies import a_tally

events = st.lists(
    st.builds(
        UsageEvent,
        event_id=st.just(""),
        source=st.just(""),
        customer=st.sampled_from(["c", "d"]),
        time_ms=st.sampled_from([0, 1, MINUTE_MS - 1, MINUTE_MS, 3 * MINUTE_MS]),
        usage=st.dictionaries(st.sampled_from(["input", "output", "calls"]), st.integers(0, 3), min_size=1).map(lambda u: tuple(sorted(u.items()))),
        dimensions=st.sampled_from(DIMENSIONS),
    ),
    min_size=1,
    max_size=12,
)


@given(events, st.data())
def test_events_alone_in_a_batch_or_in_part_of_one_give_the_same_sums(found: list[UsageEvent], data: st.DataObject) -> None:
    rows = Rows(CATALOGUE)
    for event in found:
        rows.add_event(event)
    assert taken(rows) == naive(found)
    rows.add_batch(batch_of(found), None)
    assert taken(rows) == naive(found)
    keep = data.draw(st.lists(st.booleans(), min_size=len(found), max_size=len(found)))
    rows.add_batch(batch_of(found), keep)
    assert taken(rows) == naive([event for event, wanted in zip(found, keep, strict=True) if wanted])


@given(events)
def test_the_estimated_size_is_not_below_what_the_rows_add_to_a_tally(found: list[UsageEvent]) -> None:
    rows = Rows(CATALOGUE)
    rows.add_batch(batch_of(found), None)
    estimate = rows.bytes
    written: list[TallyRow] = rows.take()
    assert len(encode_tally(a_tally(rows=written))) - len(encode_tally(a_tally())) <= estimate


@given(events, st.integers(1, 4), st.randoms(use_true_random=False))
def test_large_batches_are_summed_by_arrays_to_the_same_rows(found: list[UsageEvent], more: int, random: Random) -> None:
    many = found * (ARRAYS_FROM * more // len(found) + 1)
    keep = [random.random() < 0.7 for _ in many]
    rows = Rows(CATALOGUE)
    rows.add_batch(batch_of(many), None)
    rows.add_batch(batch_of(many), keep)
    rows.add_batch(batch_of(found), None)
    estimate = rows.bytes
    sums = taken(rows)
    assert sums == naive(many + list(compress(many, keep)) + found)
    assert estimate >= len(sums) * TALLY_ROW_BYTES


@given(st.lists(events, min_size=2, max_size=5), st.integers(1, 80), st.randoms(use_true_random=False))
def test_many_small_batches_with_various_fields_are_summed_together(several: list[list[UsageEvent]], times: int, random: Random) -> None:
    rows = Rows(CATALOGUE)
    wanted: list[UsageEvent] = []
    for _ in range(times):
        for found in several:
            keep = [random.random() < 0.8 for _ in found]
            rows.add_batch(batch_of(found), keep)
            wanted += compress(found, keep)
    estimate = rows.bytes
    written = rows.take()
    assert len(encode_tally(a_tally(rows=written))) - len(encode_tally(a_tally())) <= estimate
    assert {(row.customer, row.meter, row.dimensions, row.window_start_ms): (row.quantity, row.events) for row in written} == naive(wanted)


def test_sums_beyond_64_bits_stay_exact() -> None:
    rows = Rows(CATALOGUE)
    batch = batch_of([calls("c", QUANTITY_MAX)] * BATCH_EVENTS_MAX)
    for _ in range(2_000):
        rows.add_batch(batch, None)
    events = 2_000 * BATCH_EVENTS_MAX
    assert events * QUANTITY_MAX > 2**63
    assert taken(rows) == {("c", "calls", (), 0): (events * QUANTITY_MAX, events)}


@given(events)
def test_the_content_numbers_of_a_batch_are_those_of_its_events(found: list[UsageEvent]) -> None:
    for many in (found, found * ARRAYS_FROM):
        assert Rows(CATALOGUE).contents(batch_of(many)).tolist() == [content_of(event.customer, event.dimensions, event.usage) for event in many]
