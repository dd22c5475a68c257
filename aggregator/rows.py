"""The sums being built for the next tally: one row for each customer, meter, set of dimensions and window.

Large batches are added to arrays by the number of their series, a pair of arrays for each meter and window; small batches, single events
and batches over many windows to a dictionary. Both come together when the rows are taken.
"""

from collections.abc import Sequence
from itertools import compress
from operator import add
from typing import Final

import numpy as np
import numpy.typing as npt

from aggregator.deduplication import content_of, contents_of
from aggregator.series import SeriesTable
from metering.batch import Batch
from metering.catalogue import Catalogue
from metering.event import Dimensions, UsageEvent
from metering.limits import TALLY_ROW_BYTES, WINDOW_MS
from metering.packed import ARRAYS_FROM, Integers, integers
from metering.tally import TallyRow
from metering.window import window_start

Key = tuple[str, int, Dimensions, int]
"""Customer, position of the meter in the catalogue, dimensions, start of the window in milliseconds."""

# What arrays may hold open: more windows or series than this are summed in the dictionary, where only what there is takes memory.
WINDOWS_MAX: Final = 4
SERIES_MAX: Final = 20_000
_SUM_MAX: Final = 2**62


class _Sums:
    """Quantity and number of events by number of the series, of one meter in one window."""

    def __init__(self) -> None:
        self.totals: Integers = np.zeros(0, np.int64)
        self.events: Integers = np.zeros(0, np.int64)
        self.rows = 0
        self.quantity = 0

    def add(self, series: Integers, quantities: Integers, size: int) -> None:
        """Add events; `size` is above every number."""
        if size > len(self.totals):
            more = np.zeros(2 * size - len(self.totals), np.int64)
            self.totals, self.events = np.concatenate([self.totals, more]), np.concatenate([self.events, more])
        np.add.at(self.totals, series, quantities)
        with_usage = series if quantities.all() else series[quantities > 0]
        self.events += np.bincount(with_usage, minlength=len(self.events))
        self.rows = int(np.count_nonzero(self.events))


class Rows:
    """Open sums."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._series = SeriesTable()
        self._catalogue = catalogue
        self._sums: dict[Key, list[int]] = {}
        self._sums_bytes = 0
        self._arrays: dict[tuple[int, int], _Sums] = {}  # by position of the meter and start of the window

    def __len__(self) -> int:
        return len(self._sums) + sum(sums.rows for sums in self._arrays.values())

    @property
    def bytes(self) -> int:
        """An estimate, from above, of what they add to the record of a tally."""
        arrays = sum(sums.rows for sums in self._arrays.values())
        return self._sums_bytes + arrays * (TALLY_ROW_BYTES + self._series.longest)

    def add_event(self, event: UsageEvent) -> None:
        """Add one event to each meter that sums one of its usage fields."""
        projected = self._catalogue.project(event.dimensions)
        start = window_start(event.time_ms)
        for position, meter in enumerate(self._catalogue.meters):
            quantity, fields = 0, meter.fields
            for name, number in event.usage:
                if name in fields:
                    quantity += number
            if quantity:
                self._add((event.customer, position, projected[position], start), quantity, 1)

    def add_sum(self, series: tuple[str, Dimensions], place: tuple[int, int], quantity: int, events: int) -> None:
        """Add what so many events of one customer with these dimensions come to; `place`: start of the window and position of the meter."""
        start, position = place
        self._add((series[0], position, self._catalogue.project(series[1])[position], start), quantity, events)

    def add_batch(self, batch: Batch, keep: Sequence[bool] | None) -> None:
        """Add the events of a batch; `keep` says which (None: all)."""
        if batch.count < ARRAYS_FROM or not self._add_columns(batch, keep):
            self._add_lists(batch, keep)

    def _add_columns(self, batch: Batch, keep: Sequence[bool] | None) -> bool:
        """Add the events by arrays, if they lie in few windows; otherwise do nothing and return False."""
        time = integers(batch.time)
        first = window_start(batch.base_time_ms + int(time.min()))
        last = window_start(batch.base_time_ms + int(time.max()))
        if last - first >= WINDOWS_MAX * WINDOW_MS:
            return False
        self._bound_series(batch)
        series = self._series.numbers(batch)[integers(batch.at)]
        chosen = None if keep is None else np.array(keep, np.bool_)
        for start in range(first, last + WINDOW_MS, WINDOW_MS):
            within = chosen
            if first != last:
                moments = time - (start - batch.base_time_ms)
                inside = (moments >= 0) & (moments < WINDOW_MS)
                within = inside if chosen is None else inside & chosen
            for position, meter in enumerate(self._catalogue.meters):
                columns = [integers(batch.usage[name]) for name in meter.fields if name in batch.usage]
                if columns:
                    self._add_arrays(position, start, series, sum(columns[1:], start=columns[0]), within)
        return True

    def _add_arrays(self, position: int, start: int, series: Integers, quantities: Integers, within: npt.NDArray[np.bool_] | None) -> None:
        if within is not None:
            series, quantities = series[within], quantities[within]
        total = int(quantities.sum())
        if not total:
            return
        sums = self._arrays.get((position, start))
        if sums is None or sums.quantity + total > _SUM_MAX:
            if sums is not None or len(self._arrays) >= WINDOWS_MAX * len(self._catalogue.meters):
                self._gather()
            sums = self._arrays[position, start] = _Sums()
        sums.quantity += total
        sums.add(series, quantities, len(self._series))

    def _bound_series(self, batch: Batch) -> None:
        """Begin to number the series anew when they are too many."""
        if len(self._series) + len(batch.customers) > SERIES_MAX:
            self._gather()
            self._series.clear()

    def _gather(self) -> None:
        """Move the sums of the arrays to the dictionary."""
        for (position, start), sums in self._arrays.items():
            present = np.flatnonzero(sums.events)
            totals, events = sums.totals[present].tolist(), sums.events[present].tolist()
            for number, total, count in zip(present.tolist(), totals, events, strict=True):
                customer, dimensions = self._series.names[number]
                self._add((customer, position, self._catalogue.project(dimensions)[position], start), total, count)
        self._arrays = {}

    def _add_lists(self, batch: Batch, keep: Sequence[bool] | None) -> None:
        at: Sequence[int] = batch.at if keep is None else list(compress(batch.at, keep))
        if not at:
            return
        time: Sequence[int] = batch.time if keep is None else list(compress(batch.time, keep))
        usage = batch.usage if keep is None else {name: list(compress(column, keep)) for name, column in batch.usage.items()}
        first_window = window_start(batch.base_time_ms + min(time))
        one_window = window_start(batch.base_time_ms + max(time)) == first_window
        windows = None if one_window else [window_start(batch.base_time_ms + moment) for moment in time]
        for position, meter in enumerate(self._catalogue.meters):
            columns = [usage[name] for name in meter.fields if name in usage]
            if not columns:
                continue
            quantities = columns[0]
            for column in columns[1:]:
                quantities = list(map(add, quantities, column))
            if windows is None:
                self._add_one_window(batch, position, first_window, at, quantities)
            else:
                self._add_windows(batch, position, windows, at, quantities)

    def contents(self, batch: Batch) -> list[int]:
        """`content_of` each event of a batch; here because the series are numbered here."""
        if batch.count < ARRAYS_FROM:
            series = zip(batch.customers, batch.series_dimensions, strict=True)
            bare = [content_of(customer, batch.dimensions[place], ()) for customer, place in series]
            return contents_of(bare, batch.at, list(batch.usage.items()))
        self._bound_series(batch)
        return self._series.contents(batch)

    def take(self) -> list[TallyRow]:
        """The rows, and start again with none."""
        self._gather()
        meters = self._catalogue.meters
        rows = [
            TallyRow(customer, meters[position].event_name, dimensions, start, quantity, events)
            for (customer, position, dimensions, start), (quantity, events) in self._sums.items()
        ]
        self.clear()
        return rows

    def clear(self) -> None:
        """Forget the open sums."""
        self._sums = {}
        self._sums_bytes = 0
        self._arrays = {}

    def _add_one_window(self, batch: Batch, position: int, start: int, at: Sequence[int], quantities: Sequence[int]) -> None:
        totals = [0] * len(batch.customers)
        events = [0] * len(batch.customers)
        for series, quantity in zip(at, quantities, strict=True):
            if quantity:
                totals[series] += quantity
                events[series] += 1
        for series, total in enumerate(totals):
            if total:
                self._add(self._key(batch, series, position, start), total, events[series])

    def _add_windows(self, batch: Batch, position: int, windows: Sequence[int], at: Sequence[int], quantities: Sequence[int]) -> None:
        sums: dict[tuple[int, int], list[int]] = {}
        for series, start, quantity in zip(at, windows, quantities, strict=True):
            if quantity:
                entry = sums.get((series, start))
                if entry is None:
                    sums[series, start] = [quantity, 1]
                else:
                    entry[0] += quantity
                    entry[1] += 1
        for (series, start), (total, events) in sums.items():
            self._add(self._key(batch, series, position, start), total, events)

    def _key(self, batch: Batch, series: int, position: int, start: int) -> Key:
        dimensions = self._catalogue.project(batch.dimensions[batch.series_dimensions[series]])[position]
        return (batch.customers[series], position, dimensions, start)

    def _add(self, key: Key, quantity: int, events: int) -> None:
        entry = self._sums.get(key)
        if entry is None:
            self._sums[key] = [quantity, events]
            # A character is at most four bytes of UTF-8, or six of JSON escape; ids are nearly always ASCII, and the limit leaves room.
            self._sums_bytes += TALLY_ROW_BYTES + len(key[0]) + sum(len(name) + len(value) + 8 for name, value in key[2])
        else:
            entry[0] += quantity
            entry[1] += events
