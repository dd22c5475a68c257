"""What is counted and not yet in an intent: sums of tally rows, merged into larger windows when there are too many of them."""

from collections.abc import Iterable, Sequence
from typing import Final

from metering.event import Dimensions
from metering.ledger import MeterEvent
from metering.limits import HOUR_MS, MINUTE_MS, VALUE_MAX
from metering.tally import TallyRow
from metering.window import window_start

GRANULARITIES_MS: Final = (MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS, HOUR_MS)
"""The windows of a meter event, finest first. Never more than an hour of UTC."""

_Key = tuple[str, str, Dimensions, int]


class Backlog:
    """Sums by (customer, meter, dimensions, window). `rows_max` bounds them: over it, windows are merged, up to an hour."""

    def __init__(self, rows_max: int) -> None:
        self._rows_max = rows_max
        self._level = 0
        # quantity, and the start of the earliest window in it: the time of the meter event
        self._sums: dict[_Key, list[int]] = {}

    def __len__(self) -> int:
        return len(self._sums)

    @property
    def is_full(self) -> bool:
        """Whether even hourly windows do not fit: stop reading tallies."""
        return len(self._sums) >= self._rows_max and self._level == len(GRANULARITIES_MS) - 1

    def add(self, rows: Iterable[TallyRow]) -> None:
        """Add the rows of an accepted tally."""
        size = GRANULARITIES_MS[self._level]
        for row in rows:
            self._add((row.customer, row.meter, row.dimensions, window_start(row.window_start_ms, size)), row.quantity, row.window_start_ms)
        self.merge_to(self._rows_max)

    def merge_to(self, rows: int) -> None:
        """Merge windows until at most `rows` sums are left, or all are hourly."""
        while len(self._sums) > rows and self._level < len(GRANULARITIES_MS) - 1:
            self._level += 1
            size = GRANULARITIES_MS[self._level]
            finer, self._sums = self._sums, {}
            for (customer, meter, dimensions, start), (quantity, earliest) in finer.items():
                self._add((customer, meter, dimensions, window_start(start, size)), quantity, earliest)

    def meter_events(self) -> list[MeterEvent]:
        """The sums as meter events, oldest first; one too large for Stripe becomes several."""
        ordered = sorted((earliest, key, quantity) for key, (quantity, earliest) in self._sums.items())
        return [
            MeterEvent(customer, meter, dimensions, earliest, value)
            for earliest, (customer, meter, dimensions, _), quantity in ordered
            for value in split(quantity)
        ]

    def clear(self) -> None:
        """Start again with nothing, at the finest windows."""
        self._sums = {}
        self._level = 0

    def _add(self, key: _Key, quantity: int, earliest: int) -> None:
        entry = self._sums.get(key)
        if entry is None:
            self._sums[key] = [quantity, earliest]
        else:
            entry[0] += quantity
            entry[1] = min(entry[1], earliest)


def split(quantity: int) -> Sequence[int]:
    """A quantity as values that Stripe takes (15 digits), the same in sum."""
    whole, rest = divmod(quantity, VALUE_MAX)
    return [VALUE_MAX] * whole + ([rest] if rest else [])
