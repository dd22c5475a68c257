"""Rows are the sums of their events, in whatever way the events came."""

from itertools import compress
from random import Random

from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.batch import Batch
from taximeter_emitter.wire.event import Dimensions, UsageEvent
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, MINUTE_MS, QUANTITY_MAX, TALLY_ROW_BYTES
from taximeter_emitter.wire.packed import ARRAYS_FROM

from aggregator.ids.id_index import content_of
from aggregator.sums.batch_sums import OPEN_SERIES_MAX, ROWS_WAITING_MAX
from aggregator.sums.rows import Rows
from aggregator.sums.window_sums import WINDOWS_MAX
from metering.records.meters import Catalogue, Meter
from metering.records.tally import TallyRow, encode_tally
from tests.unit.metering.test_tally import a_tally

CATALOGUE = Catalogue(
    [Meter("tokens", ("input", "output"), ("model",)), Meter("calls", ("calls",)), Meter("output", ("output",), ("model", "region"))]
)
Sums = dict[tuple[str, str, Dimensions, int], tuple[int, int]]
"""Quantity and number of events by customer, meter, dimensions and window."""

DIMENSIONS: tuple[Dimensions, ...] = ((), (("model", "a"),), (("model", "a"), ("region", "eu")))
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


def batch_of(found: list[UsageEvent]) -> Batch:
    series: dict[tuple[str, Dimensions], int] = {}
    at = [series.setdefault((event.customer, event.dimensions), len(series)) for event in found]
    names = sorted({name for event in found for name, _ in event.usage})
    return Batch(
        emitter="e",
        partition=0,
        first_seq=0,
        count=len(found),
        customers=[customer for customer, _ in series],
        dimensions=DIMENSIONS,
        series_dimensions=[DIMENSIONS.index(dimensions) for _, dimensions in series],
        at=at,
        base_time_ms=0,
        time=[event.time_ms for event in found],
        usage={name: [dict(event.usage).get(name, 0) for event in found] for name in names},
    )


def naive(found: list[UsageEvent]) -> Sums:
    sums: Sums = {}
    for event in found:
        for meter in CATALOGUE.meters:
            quantity = sum(number for name, number in event.usage if name in meter.fields)
            if quantity:
                dimensions = tuple(pair for pair in event.dimensions if pair[0] in meter.dimensions)
                key = (event.customer, meter.event_name, dimensions, event.time_ms - event.time_ms % MINUTE_MS)
                total, number = sums.get(key, (0, 0))
                sums[key] = (total + quantity, number + 1)
    return sums


def taken(rows: Rows) -> Sums:
    found = {(row.customer, row.meter, row.dimensions, row.window_start_ms): (row.quantity, row.events) for row in rows.take()}
    assert not rows.bytes
    return found


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


def test_an_event_without_any_quantity_makes_no_row() -> None:
    rows = Rows(CATALOGUE)
    rows.add_event(UsageEvent("", "", "c", 0, (("input", 0), ("calls", 0)), ()))
    assert not rows.bytes


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


def test_sums_that_were_not_taken_are_forgotten() -> None:
    rows = Rows(CATALOGUE)
    for _ in range(2 * ROWS_WAITING_MAX + 1):
        rows.add_batch(batch_of([calls("c", 1)]), None)
    rows.clear()
    assert not rows.bytes
    rows.add_batch(batch_of([calls("d", 2)]), None)
    assert taken(rows) == naive([calls("d", 2)])


def calls(customer: str, quantity: int, time_ms: int = 0) -> UsageEvent:
    return UsageEvent("", "", customer, time_ms, (("calls", quantity),), ())


def test_sums_beyond_64_bits_stay_exact() -> None:
    rows = Rows(CATALOGUE)
    batch = batch_of([calls("c", QUANTITY_MAX)] * BATCH_EVENTS_MAX)
    for _ in range(2_000):
        rows.add_batch(batch, None)
    events = 2_000 * BATCH_EVENTS_MAX
    assert events * QUANTITY_MAX > 2**63
    assert taken(rows) == {("c", "calls", (), 0): (events * QUANTITY_MAX, events)}


def test_a_large_batch_over_many_windows_is_summed_all_the_same() -> None:
    rows = Rows(CATALOGUE)
    found = [calls("c", 1, position % (3 * WINDOWS_MAX) * MINUTE_MS) for position in range(ARRAYS_FROM)]
    for _ in range(2):
        rows.add_batch(batch_of(found), None)
        rows.add_batch(batch_of(found[:WINDOWS_MAX] * ARRAYS_FROM), None)
        late = [calls("c", 1, hour * 60 * MINUTE_MS) for hour in range(2 * WINDOWS_MAX)]
        for event in late:
            rows.add_batch(batch_of([event] * ARRAYS_FROM), None)
        assert taken(rows) == naive(found + found[:WINDOWS_MAX] * ARRAYS_FROM + late * ARRAYS_FROM)


def test_more_series_than_are_numbered_are_summed_all_the_same() -> None:
    rows = Rows(CATALOGUE)
    for start in range(0, 2 * OPEN_SERIES_MAX, 1_000):
        rows.add_batch(batch_of([calls(f"c{start + number}", 1) for number in range(1_000)]), None)
    assert len(taken(rows)) == 2 * OPEN_SERIES_MAX


@given(events)
def test_the_content_numbers_of_a_batch_are_those_of_its_events(found: list[UsageEvent]) -> None:
    for many in (found, found * ARRAYS_FROM):
        assert Rows(CATALOGUE).contents(batch_of(many)).tolist() == [content_of(event.customer, event.dimensions, event.usage) for event in many]
