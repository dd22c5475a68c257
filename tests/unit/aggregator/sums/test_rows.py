"""Rows are the sums of their events, in whatever way the events came."""

from taximeter_emitter.wire.event import UsageEvent
from taximeter_emitter.wire.limits import MINUTE_MS

from aggregator.sums.batch_sums import OPEN_SERIES_MAX, ROWS_WAITING_MAX
from aggregator.sums.rows import Rows
from aggregator.sums.window_sums import WINDOWS_MAX
from metering.records.integer_columns import ARRAYS_FROM
from tests.support.aggregator_sums import CATALOGUE, batch_of, calls, naive, taken


def test_an_event_without_any_quantity_makes_no_row() -> None:
    rows = Rows(CATALOGUE)
    rows.add_event(UsageEvent("", "", "c", 0, (("input", 0), ("calls", 0)), ()))
    assert not rows.bytes


def test_sums_that_were_not_taken_are_forgotten() -> None:
    rows = Rows(CATALOGUE)
    for _ in range(2 * ROWS_WAITING_MAX + 1):
        rows.add_batch(batch_of([calls("c", 1)]), None)
    rows.clear()
    assert not rows.bytes
    rows.add_batch(batch_of([calls("d", 2)]), None)
    assert taken(rows) == naive([calls("d", 2)])


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
