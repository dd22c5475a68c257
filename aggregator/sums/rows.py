"""The sums being built for the next tally: one row for each customer, meter, set of dimensions and window.

Events wait until they are many, and are then added to arrays by the number of their series, one pair of arrays for each formula and window: what
numpy costs for each call is paid once for all of them, and two hundred meters that differ only in the model have five formulas. What those arrays
do not hold goes to a dictionary, and all of it when the rows are taken: only then it matters which meters of a formula take a series.

What a formula makes of events and does not add up, the latest value, is gathered beside them.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from taximeter_emitter.wire.event import Dimensions

from aggregator.reading.events import Events, joined
from aggregator.reading.series import SeriesTable
from aggregator.sums.latest_values import LatestValues, latest_of_each
from aggregator.sums.series_meters import SeriesMeters
from aggregator.sums.window_sums import SUM_MAX, WINDOWS_MAX, WindowSums
from metering.records.integer_columns import Integers
from metering.records.meters import Catalogue
from metering.records.service_limits import TALLY_ROW_BYTES, WINDOW_MS
from metering.records.tally import LatestValue, TallyRow

RowKey = tuple[str, int, Dimensions, int]
"""Customer, position of the meter in the catalogue, dimensions, start of the window in milliseconds."""

ROWS_WAITING_MAX: Final = 2_048  # that waiting events may come to; they count as that many until they are added up


class Rows:
    """Open sums. `move` before the numbers of `series` change their meaning."""

    def __init__(self, catalogue: Catalogue, series: SeriesTable, meters: SeriesMeters) -> None:
        self._catalogue = catalogue
        self._series = series
        self._meters = meters
        self._waiting: list[Events] = []
        self._events_waiting = 0
        self._open: dict[tuple[int, int], WindowSums] = {}  # by start of the window and place of the formula
        self._open_rows = 0
        self._moved: dict[RowKey, list[int]] = {}
        self._moved_bytes = 0
        self._latest = LatestValues()
        self._adding = [place for place, formula in enumerate(catalogue.formulas) if formula.adds]
        self._telling = [place for place, formula in enumerate(catalogue.formulas) if not formula.adds]

    @property
    def bytes(self) -> int:
        """An estimate, from above, of what they add to the record of a tally."""
        rows = self._open_rows + self._events_waiting * self._meters.rows_max
        return self._moved_bytes + self._latest.bytes + rows * (TALLY_ROW_BYTES + self._series.longest)

    def add(self, events: Events) -> None:
        """Add each event to each meter that takes it."""
        if not len(events.times):
            return
        self._meters.fill()
        self._waiting.append(events)
        self._events_waiting += len(events.times)
        if self._events_waiting * self._meters.rows_max >= ROWS_WAITING_MAX:
            self._add_waiting()

    def move(self) -> None:
        """Keep all sums by name."""
        self._add_waiting()
        self._move_open()
        self._open_rows = 0

    def take(self) -> tuple[list[TallyRow], tuple[LatestValue, ...]]:
        """The rows and the latest values, and start again with none."""
        self.move()
        meters = self._catalogue.meters
        rows = [
            TallyRow(customer, meters[position].event_name, dimensions, start, quantity, events)
            for (customer, position, dimensions, start), (quantity, events) in self._moved.items()
        ]
        latest = self._latest.values()
        self.clear()
        return rows, latest

    def clear(self) -> None:
        """Forget the open sums."""
        self._waiting, self._events_waiting = [], 0
        self._open, self._open_rows = {}, 0
        self._moved, self._moved_bytes = {}, 0
        self._latest.clear()

    def _add_waiting(self) -> None:
        if not self._waiting:
            return
        events = joined(self._waiting)
        self._waiting, self._events_waiting = [], 0
        windows = events.times // WINDOW_MS
        first, last = int(windows.min()), int(windows.max())
        for formula in self._adding:
            quantities = self._meters.quantities(formula, events)
            if quantities is None:
                continue
            if last - first >= WINDOWS_MAX:
                self._add_scattered(formula, windows, events.series, quantities)
            elif first == last:
                self._add(first, formula, events.series, quantities)
            else:
                for window in range(first, last + 1):
                    within = windows == window
                    self._add(window, formula, events.series[within], quantities[within])
        for formula in self._telling:
            self._tell(formula, events)
        self._latest.end(len(events.times))
        self._open_rows = sum(sums.rows * self._meters.formula_rows[formula] for (_, formula), sums in self._open.items())

    def _tell(self, formula: int, events: Events) -> None:
        """Take the value of each event that a meter of the formula takes, also zero, for its latest values."""
        taken, values = self._meters.readings(formula, events)
        if not len(taken):
            return
        latest, counts = latest_of_each(events.series[taken], events.times[taken])
        places = taken[latest]
        columns = zip(events.times[places].tolist(), places.tolist(), values[places].tolist(), counts.tolist(), strict=True)
        for series, found in zip(events.series[places].tolist(), columns, strict=True):
            customer, dimensions = self._series.names[series]
            for position, _ in self._catalogue.of(dimensions).rows[formula]:
                self._latest.add(customer, self._catalogue.meters[position].event_name, found)

    def _add(self, window: int, formula: int, series: Integers, quantities: Integers) -> None:
        """Add events of one window to its arrays."""
        quantity = int(quantities.sum())
        if not quantity:
            return
        place = (window * WINDOW_MS, formula)
        sums = self._open.get(place)
        if sums is None or sums.quantity + quantity > SUM_MAX:
            if sums is not None or len(self._open) >= WINDOWS_MAX * len(self._catalogue.formulas):
                self._move_open()
            sums = self._open[place] = WindowSums()
        sums.add(series, quantities, quantity)

    def _add_scattered(self, formula: int, windows: Integers, series: Integers, quantities: Integers) -> None:
        """Add events of many windows by name, each series' in a window together."""
        some = quantities > 0
        size = len(self._series)
        distinct, which = np.unique(windows[some] * size + series[some], return_inverse=True)
        totals = np.zeros(len(distinct), np.int64)
        np.add.at(totals, which, quantities[some])
        events = np.bincount(which, minlength=len(distinct))
        found, numbers = np.divmod(distinct, size)
        starts = np.flatnonzero(np.diff(found, prepend=-1))  # `distinct` is sorted, window after window
        for start, end in pairwise((*starts.tolist(), len(distinct))):
            self._move(int(found[start]) * WINDOW_MS, formula, numbers[start:end].tolist(), totals[start:end].tolist(), events[start:end].tolist())

    def _move_open(self) -> None:
        for (start, formula), sums in self._open.items():
            present = np.flatnonzero(sums.events)
            self._move(start, formula, present.tolist(), sums.totals[present].tolist(), sums.events[present].tolist())
        self._open = {}

    def _move(self, start: int, formula: int, series: Sequence[int], quantities: Iterable[int], events: Iterable[int]) -> None:
        """Add the sums of one window and formula by name, to each meter of the formula that takes the series: three columns of equal length."""
        sums, size = self._moved, 0
        known: dict[Dimensions, list[tuple[int, Dimensions, int]]] = {}
        for (customer, dimensions), quantity, count in zip(map(self._series.names.__getitem__, series), quantities, events, strict=True):
            meters = known.get(dimensions)
            if meters is None:
                found = self._catalogue.of(dimensions).rows[formula]
                meters = known[dimensions] = [(position, part, _row_bytes(part)) for position, part in found]
            for position, part, row_bytes in meters:
                key = (customer, position, part, start)
                entry = sums.get(key)
                if entry is None:
                    sums[key] = [quantity, count]
                    size += row_bytes + len(customer)
                else:
                    entry[0] += quantity
                    entry[1] += count
        self._moved_bytes += size


def _row_bytes(dimensions: Dimensions) -> int:
    """What a row adds to a tally, beside its customer.

    A character is at most four bytes of UTF-8, or six of JSON escape; ids are nearly always ASCII, and the limit leaves room.
    """
    return TALLY_ROW_BYTES + sum(len(name) + len(value) + 8 for name, value in dimensions)
