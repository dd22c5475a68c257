"""The sums of plain events for the next tally: arrays by the number of the series, one pair for each meter and window."""

import numpy as np

from aggregator.reading.plain_events import Column, PlainColumns, PlainEvents
from aggregator.sums.rows import Rows
from aggregator.sums.window_sums import SUM_MAX, WINDOWS_MAX, WindowSums
from metering.records.meters import Catalogue
from metering.records.service_limits import TALLY_ROW_BYTES, WINDOW_MS


class PlainSums:
    """Open sums of the series of `plain`, which must not be forgotten before `move_to` or `clear`."""

    def __init__(self, catalogue: Catalogue, plain: PlainEvents) -> None:
        self._catalogue = catalogue
        self._plain = plain
        self._sums: dict[tuple[int, int], WindowSums] = {}  # by start of the window and position of the meter

    @property
    def bytes(self) -> int:
        """An estimate, from above, of what they add to the record of a tally."""
        return sum(sums.rows for sums in self._sums.values()) * (TALLY_ROW_BYTES + self._plain.longest) if self._sums else 0

    def add(self, events: PlainColumns, rows: Rows) -> None:
        """Add events to each meter that sums one of their usage fields; what cannot be held open here is added to `rows`."""
        starts = events.times - events.times % WINDOW_MS
        first, last = int(starts.min()), int(starts.max())
        for position, meter in enumerate(self._catalogue.meters):
            columns = [events.usage[name] for name in meter.fields if name in events.usage]
            if not columns:
                continue
            quantities = sum(columns[1:], start=columns[0])
            if last - first >= WINDOWS_MAX * WINDOW_MS:
                self._add_each(rows, position, starts, events.series, quantities)
            elif first == last:
                self._add(rows, position, first, events.series, quantities)
            else:
                for start in range(first, last + 1, WINDOW_MS):
                    within = starts == start
                    self._add(rows, position, start, events.series[within], quantities[within])

    def move_to(self, rows: Rows) -> None:
        """Move all sums to `rows`."""
        for place, sums in self._sums.items():
            present = np.flatnonzero(sums.events)
            totals, events = sums.totals[present].tolist(), sums.events[present].tolist()
            for number, total, count in zip(present.tolist(), totals, events, strict=True):
                rows.add_sum(self._plain.series[number], place, total, count)
        self.clear()

    def clear(self) -> None:
        """Forget the open sums."""
        self._sums = {}

    def _add(self, rows: Rows, position: int, start: int, series: Column, quantities: Column) -> None:
        quantity = int(quantities.sum())
        if not quantity:
            return
        sums = self._sums.get((start, position))
        if sums is None or sums.quantity + quantity > SUM_MAX:
            if sums is not None or len(self._sums) >= WINDOWS_MAX * len(self._catalogue.meters):
                self.move_to(rows)
            sums = self._sums[start, position] = WindowSums()
        sums.add_events(series, quantities, quantity, len(self._plain.series))

    def _add_each(self, rows: Rows, position: int, starts: Column, series: Column, quantities: Column) -> None:
        for number, start, quantity in zip(series.tolist(), starts.tolist(), quantities.tolist(), strict=True):
            if quantity:
                rows.add_sum(self._plain.series[number], (start, position), quantity, 1)
