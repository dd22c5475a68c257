"""Rows are the sums of their events, however many windows and series they are of."""

import pytest
from taximeter_emitter.wire.event import UsageEvent
from taximeter_emitter.wire.limits import MINUTE_MS, QUANTITY_MAX

from aggregator.sums import rows as module
from aggregator.sums.rows import ROWS_WAITING_MAX
from aggregator.sums.window_sums import WINDOWS_MAX
from tests.support.aggregator_sums import calls, events_of, naive, sums, taken


def test_an_event_without_any_quantity_makes_no_row() -> None:
    rows, series = sums()
    rows.add(events_of(series, [UsageEvent("", "", "c", 0, (("input", 0), ("calls", 0)), ())]))
    assert taken(rows) == {}


def test_sums_that_were_not_taken_are_forgotten() -> None:
    rows, series = sums()
    for _ in range(2 * ROWS_WAITING_MAX + 1):
        rows.add(events_of(series, [calls("c", 1)]))
    rows.clear()
    assert not rows.bytes
    rows.add(events_of(series, [calls("d", 2)]))
    assert taken(rows) == naive([calls("d", 2)])


def test_many_windows_are_summed_all_the_same() -> None:
    rows, series = sums()
    found = [calls("c", 1, position % (3 * WINDOWS_MAX) * MINUTE_MS) for position in range(100)]
    late = [calls("c", 1, hour * 60 * MINUTE_MS) for hour in range(2 * WINDOWS_MAX)]
    for _ in range(2):
        rows.add(events_of(series, found))
        rows.add(events_of(series, found[:WINDOWS_MAX] * 2_000))
        for event in late:
            rows.add(events_of(series, [event] * ROWS_WAITING_MAX))
        assert taken(rows) == naive(found + found[:WINDOWS_MAX] * 2_000 + late * ROWS_WAITING_MAX)


def test_sums_are_kept_by_name_when_the_series_are_numbered_anew() -> None:
    rows, series = sums()
    rows.add(events_of(series, [calls("a", 1), calls("b", 2)]))
    rows.move()
    series.clear()
    rows.add(events_of(series, [calls("c", 4), calls("a", 8)]))
    assert taken(rows) == naive([calls("a", 9), calls("b", 2), calls("c", 4)]) | {("a", "calls", (), 0): (9, 2)}


def test_a_sum_that_would_not_fit_64_bits_goes_on_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SUM_MAX", 3 * ROWS_WAITING_MAX * QUANTITY_MAX)
    rows, series = sums()
    for _ in range(8):
        rows.add(events_of(series, ROWS_WAITING_MAX * [calls("a", QUANTITY_MAX)]))
    assert taken(rows) == {("a", "calls", (), 0): (8 * ROWS_WAITING_MAX * QUANTITY_MAX, 8 * ROWS_WAITING_MAX)}
