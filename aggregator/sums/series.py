"""Dense numbers for series (a customer with a set of dimensions), so that whole columns are added to arrays at once."""

from array import array
from typing import Final, TypeAlias, cast

import numpy as np
import numpy.typing as npt
from taximeter_emitter.wire.batch import Batch
from taximeter_emitter.wire.event import Dimensions

from aggregator.ids.id_index import CONTENT_MASK, content_of, field_factor
from metering.records.integer_columns import integers

Contents: TypeAlias = npt.NDArray[np.uint64]

_NO_BATCH: Final = Batch("", 0, 0, 0)


class SeriesTable:
    """Series by number, from 0, in the order of their first appearance. `longest`: characters of the longest, with 8 for each dimension."""

    def __init__(self) -> None:
        self.names: list[tuple[str, Dimensions]] = []
        self.longest = 0
        self._tables: dict[Dimensions, dict[str, int]] = {}
        self._contents = np.zeros(0, np.uint64)
        self._last = _NO_BATCH
        self._last_numbers: list[int] = []

    def __len__(self) -> int:
        return len(self.names)

    def numbers(self, batch: Batch) -> list[int]:
        """The number of each series of a batch; new ones are given one. Asked again for the same batch, it is not worked out again."""
        if batch is not self._last:
            tables = [self._tables.setdefault(dimensions, {}) for dimensions in batch.dimensions]
            # All in C: this runs once for each series of each batch.
            found = list(map(dict.get, map(tables.__getitem__, batch.series_dimensions), batch.customers))
            if None in found:
                self._last_numbers = [self._new(batch, place) if number is None else number for place, number in enumerate(found)]
            else:
                self._last_numbers = cast("list[int]", found)
            self._last = batch
        return self._last_numbers

    def contents(self, batch: Batch) -> Contents:
        """`content_of` each event of a batch. What is cut off at 64 bits on the way is masked away in any case."""
        numbers = self.numbers(batch)
        known = len(self._contents)
        if known < len(self.names):
            more = [content_of(customer, dimensions, ()) for customer, dimensions in self.names[known:]]
            self._contents = np.concatenate([self._contents, np.array(more, np.uint64)])
        totals: Contents = self._contents.take(array("q", numbers)).take(integers(batch.at))
        for name, column in batch.usage.items():
            parts = integers(column).view(np.uint64)
            parts *= np.uint64(field_factor(name))
            totals += parts
        totals &= np.uint64(CONTENT_MASK)
        return totals

    def clear(self) -> None:
        """Forget all; numbers given before mean nothing any more."""
        self.names, self.longest, self._tables, self._last = [], 0, {}, _NO_BATCH
        self._contents = np.zeros(0, np.uint64)

    def _new(self, batch: Batch, place: int) -> int:
        customer, dimensions = batch.customers[place], batch.dimensions[batch.series_dimensions[place]]
        table = self._tables[dimensions]
        number = table.get(customer)
        if number is None:  # a batch may name a series twice
            number = table[customer] = len(self.names)
            self.names.append((customer, dimensions))
            self.longest = max(self.longest, len(customer) + sum(len(name) + len(value) + 8 for name, value in dimensions))
        return number
