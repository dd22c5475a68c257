"""Sums of events against a naive sum of them."""

from itertools import compress
from random import Random

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.event import UsageEvent
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, MINUTE_MS, QUANTITY_MAX

from aggregator.ids.id_index import content_of
from metering.records.tally import TallyRow, encode_tally
from tests.support.aggregator_sums import DIMENSIONS, calls, events_of, naive, sums, taken
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


@given(st.lists(events, min_size=1, max_size=5), st.integers(1, 80), st.randoms(use_true_random=False))
def test_events_come_to_what_a_naive_sum_comes_to(several: list[list[UsageEvent]], times: int, random: Random) -> None:
    rows, series = sums()
    wanted: list[UsageEvent] = []
    for _ in range(times):
        for found in several:
            keep = np.array([random.random() < 0.8 for _ in found])
            rows.add(events_of(series, found).chosen(keep))
            wanted += compress(found, keep.tolist())
        if random.random() < 0.05:
            rows.move()
            series.clear()
    estimate = rows.bytes
    written: list[TallyRow] = rows.take()[0]
    assert len(encode_tally(a_tally(rows=written))) - len(encode_tally(a_tally())) <= estimate
    assert {(row.customer, row.meter, row.dimensions, row.window_start_ms): (row.quantity, row.events) for row in written} == naive(wanted)


def test_sums_beyond_64_bits_stay_exact() -> None:
    rows, series = sums()
    many = events_of(series, [calls("c", QUANTITY_MAX)] * BATCH_EVENTS_MAX)
    for _ in range(2_000):
        rows.add(many)
    events = 2_000 * BATCH_EVENTS_MAX
    assert events * QUANTITY_MAX > 2**63
    assert taken(rows) == {("c", "calls", (), 0): (events * QUANTITY_MAX, events)}


@given(events)
def test_the_content_numbers_of_columns_are_those_of_their_events(found: list[UsageEvent]) -> None:
    _, series = sums()
    assert series.contents(events_of(series, found)).tolist() == [content_of(event.customer, event.dimensions, event.usage) for event in found]
