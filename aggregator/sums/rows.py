"""The sums being built for the next tally: one row for each customer, meter, set of dimensions and window.

Events wait until they are many, and are then added to arrays by the number of their series, one pair of arrays for each meter and window: what
numpy costs for each call is paid once for all of them. What those arrays do not hold goes to a dictionary, and all of it when the rows are taken.
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Final

import numpy as np
from taximeter_emitter.wire.event import Dimensions

from aggregator.reading.events import Events, joined
from aggregator.reading.series import SeriesTable
from aggregator.sums.window_sums import SUM_MAX, WINDOWS_MAX, WindowSums
from metering.records.integer_columns import Integers
from metering.records.meters import Catalogue
from metering.records.service_limits import TALLY_ROW_BYTES, WINDOW_MS
from metering.records.tally import TallyRow

RowKey = tuple[str, int, Dimensions, int]
"""Customer, position of the meter in the catalogue, dimensions, start of the window in milliseconds."""

ROWS_WAITING_MAX: Final = 2_048  # that waiting events may come to; they count as that many until they are added up


class Rows:
    """Open sums. `move` before the numbers of `series` change their meaning."""

    def __init__(self, catalogue: Catalogue, series: SeriesTable) -> None:
        self._catalogue = catalogue
        self._series = series
        self._waiting: list[Events] = []
        self._events_waiting = 0
        self._open: dict[tuple[int, int], WindowSums] = {}  # by start of the window and position of the meter
        self._open_rows = 0
        self._moved: dict[RowKey, list[int]] = {}
        self._moved_bytes = 0

    @property
    def bytes(self) -> int:
        """An estimate, from above, of what they add to the record of a tally."""
        rows = self._open_rows + self._events_waiting * len(self._catalogue.meters)
        return self._moved_bytes + rows * (TALLY_ROW_BYTES + self._series.longest)

    def add(self, events: Events) -> None:
        """Add each event to each meter that sums one of its usage fields."""
        if not len(events.times):
            return
        self._waiting.append(events)
        self._events_waiting += len(events.times)
        if self._events_waiting * len(self._catalogue.meters) >= ROWS_WAITING_MAX:
            self._add_waiting()

    def move(self) -> None:
        """Keep all sums by name."""
        self._add_waiting()
        self._move_open()
        self._open_rows = 0

    def take(self) -> list[TallyRow]:
        """The rows, and start again with none."""
        self.move()
        meters = self._catalogue.meters
        rows = [
            TallyRow(customer, meters[position].event_name, dimensions, start, quantity, events)
            for (customer, position, dimensions, start), (quantity, events) in self._moved.items()
        ]
        self.clear()
        return rows

    def clear(self) -> None:
        """Forget the open sums."""
        self._waiting, self._events_waiting = [], 0
        self._open, self._open_rows = {}, 0
        self._moved, self._moved_bytes = {}, 0

    def _add_waiting(self) -> None:
        if not self._waiting:
            return
        events = joined(self._waiting)
        self._waiting, self._events_waiting = [], 0
        windows = events.times // WINDOW_MS
        first, last = int(windows.min()), int(windows.max())
        for position, meter in enumerate(self._catalogue.meters):
            columns = [events.usage[name] for name in meter.fields if name in events.usage]
            if not columns:
                continue
            quantities = sum(columns[1:], start=columns[0])
            if last - first >= WINDOWS_MAX:
                self._add_scattered(position, windows, events.series, quantities)
            elif first == last:
                self._add(first, position, events.series, quantities)
            else:
                for window in range(first, last + 1):
                    within = windows == window
                    self._add(window, position, events.series[within], quantities[within])
        self._open_rows = sum(sums.rows for sums in self._open.values())

    def _add(self, window: int, position: int, series: Integers, quantities: Integers) -> None:
        """Add events of one window to its arrays."""
        quantity = int(quantities.sum())
        if not quantity:
            return
        place = (window * WINDOW_MS, position)
        sums = self._open.get(place)
        if sums is None or sums.quantity + quantity > SUM_MAX:
            if sums is not None or len(self._open) >= WINDOWS_MAX * len(self._catalogue.meters):
                self._move_open()
            sums = self._open[place] = WindowSums()
        sums.add(series, quantities, quantity)

    def _add_scattered(self, position: int, windows: Integers, series: Integers, quantities: Integers) -> None:
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
            self._move(int(found[start]) * WINDOW_MS, position, numbers[start:end].tolist(), totals[start:end].tolist(), events[start:end].tolist())

    def _move_open(self) -> None:
        for (start, position), sums in self._open.items():
            present = np.flatnonzero(sums.events)
            self._move(start, position, present.tolist(), sums.totals[present].tolist(), sums.events[present].tolist())
        self._open = {}

    def _move(self, start: int, position: int, series: Sequence[int], quantities: Iterable[int], events: Iterable[int]) -> None:
        """Add the sums of one window and meter by name: three columns of equal length."""
        sums, size = self._moved, 0
        projected: dict[Dimensions, tuple[Dimensions, int]] = {}
        for (customer, dimensions), quantity, count in zip(map(self._series.names.__getitem__, series), quantities, events, strict=True):
            known = projected.get(dimensions)
            if known is None:
                part = self._catalogue.project(dimensions)[position]
                known = projected[dimensions] = (part, _row_bytes(part))
            key = (customer, position, known[0], start)
            entry = sums.get(key)
            if entry is None:
                sums[key] = [quantity, count]
                size += known[1] + len(customer)
            else:
                entry[0] += quantity
                entry[1] += count
        self._moved_bytes += size


def _row_bytes(dimensions: Dimensions) -> int:
    """What a row adds to a tally, beside its customer.

    A character is at most four bytes of UTF-8, or six of JSON escape; ids are nearly always ASCII, and the limit leaves room.
    """
    return TALLY_ROW_BYTES + sum(len(name) + len(value) + 8 for name, value in dimensions)
