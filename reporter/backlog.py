"""What is counted and not yet in an intent: sums of tally rows, merged into larger windows when there are too many of them.

A sum never has minutes from both sides of a billing period's boundary that was known when they were merged (reporter.billing_periods).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from metering.event import Dimensions
from metering.ledger import MeterEvent
from metering.limits import HOUR_MS, MINUTE_MS, VALUE_MAX
from metering.tally import TallyRow
from metering.window import window_start
from reporter.billing_periods import BillingPeriods, Side

GRANULARITIES_MS: Final = (MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS, HOUR_MS)
"""The windows of a meter event, finest first. Never more than an hour of UTC."""

_Key = tuple[str, str, Dimensions, int, Side]


class Backlog:
    """Sums by (customer, meter, dimensions, window, side of the known boundaries). `rows_max` bounds them: over it, windows are merged, up
    to an hour.
    """

    def __init__(self, rows_max: int, periods: BillingPeriods) -> None:
        self._rows_max = rows_max
        self._periods = periods
        self._level = 0
        # quantity, and the start of the earliest minute in it, which gives the time of the meter event
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
            self._add((row.customer, row.meter, row.dimensions), size, row.quantity, row.window_start_ms)
        self.merge_to(self._rows_max)

    def merge_to(self, rows: int) -> None:
        """Merge windows until at most `rows` sums are left, or all are hourly."""
        while len(self._sums) > rows and self._level < len(GRANULARITIES_MS) - 1:
            self._level += 1
            size = GRANULARITIES_MS[self._level]
            finer, self._sums = self._sums, {}
            for (customer, meter, dimensions, _, _), (quantity, earliest) in finer.items():
                self._add((customer, meter, dimensions), size, quantity, earliest)

    def meter_events(self) -> list[MeterEvent]:
        """The sums as meter events, oldest first; one too large for Stripe becomes several."""
        time_of = self._periods.event_time_ms
        ordered = sorted((time_of(key[0], earliest), key, quantity) for key, (quantity, earliest) in self._sums.items())
        return [
            MeterEvent(customer, meter, dimensions, time_ms, value)
            for time_ms, (customer, meter, dimensions, _, _), quantity in ordered
            for value in split(quantity)
        ]

    def usage(self) -> Iterator[tuple[str, int]]:
        """Customer and event time in ms of each sum."""
        return ((key[0], self._periods.event_time_ms(key[0], earliest)) for key, (_, earliest) in self._sums.items())

    def clear(self) -> None:
        """Start again with nothing, at the finest windows."""
        self._sums = {}
        self._level = 0

    def _add(self, series: tuple[str, str, Dimensions], size: int, quantity: int, earliest: int) -> None:
        # The side is asked for at each merge: a boundary that became known meanwhile still separates what is not merged yet.
        key = (*series, window_start(earliest, size), self._periods.side(series[0], earliest))
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
