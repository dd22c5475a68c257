"""The sums being built for the next tally: one row for each customer, meter, set of dimensions and window."""

from collections.abc import Sequence
from itertools import compress
from operator import add

from metering.batch import Batch
from metering.catalogue import Catalogue
from metering.event import Dimensions, UsageEvent
from metering.limits import TALLY_ROW_BYTES
from metering.tally import TallyRow
from metering.window import window_start

Key = tuple[str, int, Dimensions, int]
"""Customer, position of the meter in the catalogue, dimensions, start of the window in milliseconds."""


class Rows:
    """Open sums. `bytes` estimates, from above, what they add to the record of a tally."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._sums: dict[Key, list[int]] = {}
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._sums)

    def add_event(self, event: UsageEvent) -> None:
        """Add one event to each meter that sums one of its usage fields."""
        usage = dict(event.usage)
        projected = self._catalogue.project(event.dimensions)
        start = window_start(event.time_ms)
        for position, meter in enumerate(self._catalogue.meters):
            quantity = sum(usage.get(name, 0) for name in meter.fields)
            if quantity:
                self._add((event.customer, position, projected[position], start), quantity, 1)

    def add_batch(self, batch: Batch, keep: Sequence[bool] | None) -> None:
        """Add the events of a batch; `keep` says which (None: all)."""
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

    def take(self) -> list[TallyRow]:
        """The rows, and start again with none."""
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
        self.bytes = 0

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
            self.bytes += TALLY_ROW_BYTES + len(key[0]) + sum(len(name) + len(value) + 8 for name, value in key[2])
        else:
            entry[0] += quantity
            entry[1] += events
