"""Rows are the sums of their events, in whatever way the events came."""

from hypothesis import given
from hypothesis import strategies as st

from aggregator.rows import Rows
from metering.batch import Batch
from metering.catalogue import Catalogue, Meter
from metering.event import Dimensions, UsageEvent
from metering.limits import MINUTE_MS
from metering.tally import TallyRow, encode_tally
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
    assert not len(rows)
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
    assert not len(rows)
