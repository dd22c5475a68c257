"""The sums being built for the next tally: one row for each customer, meter, set of dimensions and window.

Batches are added to arrays, see aggregator.sums.batch_sums; single events and what those arrays do not hold to a dictionary. Both come together
when the rows are taken.
"""

from collections.abc import Iterable, Sequence

from taximeter_emitter.wire.batch import Batch
from taximeter_emitter.wire.event import Dimensions, UsageEvent

from aggregator.sums.batch_sums import BatchSums
from aggregator.sums.series import Contents
from metering.records.meters import Catalogue
from metering.records.service_limits import TALLY_ROW_BYTES
from metering.records.tally import TallyRow
from metering.records.window import window_start

RowKey = tuple[str, int, Dimensions, int]
"""Customer, position of the meter in the catalogue, dimensions, start of the window in milliseconds."""


class Rows:
    """Open sums."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._sums: dict[RowKey, list[int]] = {}
        self._sums_bytes = 0
        self._batches = BatchSums(catalogue, self.add_sums)

    @property
    def bytes(self) -> int:
        """An estimate, from above, of what they add to the record of a tally."""
        return self._sums_bytes + self._batches.bytes

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
        """Add the total of `events` events of one customer with these dimensions; `place`: start of the window and position of the meter."""
        start, position = place
        self._add((series[0], position, self._catalogue.project(series[1])[position], start), quantity, events)

    def add_sums(self, place: tuple[int, int], series: Iterable[tuple[str, Dimensions]], quantities: Iterable[int], events: Iterable[int]) -> None:
        """`add_sum` for many series: three columns of equal length."""
        start, position = place
        sums, size = self._sums, 0
        projected: dict[Dimensions, tuple[Dimensions, int]] = {}
        for (customer, dimensions), quantity, count in zip(series, quantities, events, strict=True):
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
        self._sums_bytes += size

    def add_batch(self, batch: Batch, keep: Sequence[bool] | None) -> None:
        """Add the events of a batch; `keep` says which (None: all)."""
        self._batches.add(batch, keep)

    def contents(self, batch: Batch) -> Contents:
        """`content_of` each event of a batch; here because the series are numbered here."""
        return self._batches.contents(batch)

    def take(self) -> list[TallyRow]:
        """The rows, and start again with none."""
        self._batches.move()
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
        self._batches.clear()

    def _add(self, key: RowKey, quantity: int, events: int) -> None:
        entry = self._sums.get(key)
        if entry is None:
            self._sums[key] = [quantity, events]
            self._sums_bytes += _row_bytes(key[2]) + len(key[0])
        else:
            entry[0] += quantity
            entry[1] += events


def _row_bytes(dimensions: Dimensions) -> int:
    """What a row adds to a tally, beside its customer.

    A character is at most four bytes of UTF-8, or six of JSON escape; ids are nearly always ASCII, and the limit leaves room.
    """
    return TALLY_ROW_BYTES + sum(len(name) + len(value) + 8 for name, value in dimensions)
