"""The sums of one formula in one window, as arrays by the number of the series."""

from typing import Final

import numpy as np

from metering.records.integer_columns import Integers

WINDOWS_MAX: Final = 4  # that have arrays; the sums of more go to `Rows`, where only existing sums take memory
SUM_MAX: Final = 2**62  # of the quantities of one formula in one window, so that no cell overflows


class WindowSums:
    """Quantity and number of events by number of the series. `quantity`: what all come to; `rows`: how many series have events."""

    def __init__(self) -> None:
        self.totals: Integers = np.zeros(0, np.int64)
        self.events: Integers = np.zeros(0, np.int64)
        self.quantity = 0
        self.rows = 0

    def add(self, series: Integers, quantities: Integers, quantity: int) -> None:
        """Add one quantity, of zero or above, for each event; `quantity` is what they all come to."""
        size = int(series.max()) + 1
        if size > len(self.totals):
            more = np.zeros(2 * size - len(self.totals), np.int64)
            self.totals, self.events = np.concatenate([self.totals, more]), np.concatenate([self.events, more])
        np.add.at(self.totals, series, quantities)
        np.add.at(self.events, series, (quantities > 0).astype(np.int64))  # of booleans numpy adds twenty times as slowly
        self.quantity += quantity
        self.rows = int(np.count_nonzero(self.events))
