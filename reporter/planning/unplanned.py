"""What is counted and not yet in an intent: sums of tally rows, merged into larger windows when there are too many of them.

Rows of adjustments have a sign, so a sum may be below zero, or 0. No meter event is made of a sum of 0.

Latest values wait beside the sums (reporter.planning.unplanned_readings): of each the latest is kept.

A sum never has minutes from both sides of a billing period's boundary that was known when they were merged (reporter.planning.billing_periods).
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Final

from taximeter_emitter.wire.event import Dimensions
from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS, MINUTE_MS

from metering.records.ledger_records import MeterEvent
from metering.records.service_limits import VALUE_MAX
from metering.records.tally import LatestValue, TallyRow
from metering.records.window import window_start
from reporter.planning.billing_periods import BillingPeriods, Side
from reporter.planning.unplanned_readings import UnplannedReadings

LARGEST_MS: Final = 6 * HOUR_MS
GRANULARITIES_MS: Final = (MINUTE_MS, 5 * MINUTE_MS, 15 * MINUTE_MS, HOUR_MS, LARGEST_MS)
"""The windows of a meter event, finest first, of UTC: the largest are quarters of a day (docs/decisions/0008-windows-of-six-hours.md)."""
LARGEST_CARRIED_MS: Final = 7 * DAY_MS
_SIZES_MS: Final = (*GRANULARITIES_MS, DAY_MS, LARGEST_CARRIED_MS)

_Key = tuple[str, str, Dimensions, int, Side]


class UnplannedUsage:
    """Sums by (customer, meter, dimensions, window, side of the known boundaries). `rows_max` bounds them: over it, windows are merged, up
    to LARGEST_MS.

    With `carried_max` there may be more sums, up to that. Then windows are merged up to LARGEST_CARRIED_MS: usage that is carried may wait for long,
    and must not hold up what is not. There is place for `surplus_max` more, until an intent says what becomes of them.
    """

    def __init__(self, rows_max: int, periods: BillingPeriods, *, carried_max: int | None = None, surplus_max: int = 0) -> None:
        self._rows_max = rows_max
        self._carried_max = carried_max
        self._surplus_max = surplus_max
        self._periods = periods
        self._level = 0
        # quantity, and the start of the earliest minute in it, which gives the time of the meter event
        self._sums: dict[_Key, list[int]] = {}
        self._readings = UnplannedReadings(periods)
        self._units: dict[str, int] = {}
        self._soonest_end_s: int | None = None
        self._changes = periods.changes

    def __len__(self) -> int:
        return len(self._sums) + len(self._readings)

    @property
    def is_full(self) -> bool:
        """Whether even the largest windows do not fit: stop reading tallies."""
        if self._carried_max is None:
            most, largest_ms = self._rows_max, LARGEST_MS
        else:
            most, largest_ms = self._carried_max + self._surplus_max, LARGEST_CARRIED_MS
        return len(self._readings) >= most or (len(self._sums) >= most and _SIZES_MS[self._level] >= largest_ms)

    def add(self, rows: Iterable[TallyRow]) -> None:
        """Add the rows of an accepted tally."""
        size = _SIZES_MS[self._level]
        for row in rows:
            self._add((row.customer, row.meter, row.dimensions), size, row.quantity, row.window_start_ms)
        self._bound()

    def add_latest(self, values: Iterable[LatestValue]) -> None:
        """Add the latest values of an accepted tally."""
        for value in values:
            self._readings.add(value)
            self._note_end(value.customer, value.time_ms)

    def add_event(self, event: MeterEvent) -> None:
        """Add usage that was in an intent before, as one sum, or as it is if it is a latest value."""
        if event.reading is not None:
            self._readings.add_event(event)
            self._note_end(event.customer, event.reading.happened_ms)
            return
        minute = window_start(event.time_ms, MINUTE_MS)
        self._add((event.customer, event.meter, event.dimensions), _SIZES_MS[self._level], event.value, minute)
        self._bound()

    def move_to(self, other: "UnplannedUsage", is_moved: Callable[[str, str], bool], is_reading_moved: Callable[[str, str], bool]) -> int | None:
        """Move sums and latest values there by their customer and meter. Returns the time in ms of the oldest usage that was moved."""
        moved = [key for key in self._sums if is_moved(key[0], key[1])]
        oldest_reading = self._readings.move_to(other._readings, is_reading_moved)  # noqa: SLF001 - the same class
        times = [self._sums[key][1] for key in moved] + ([] if oldest_reading is None else [oldest_reading])
        if oldest_reading is not None:
            self._changes = other._changes = -1  # noqa: SLF001 - the soonest end may have moved with them
        for key in moved:
            quantity, earliest = self._sums.pop(key)
            self._units[key[1]] -= quantity
            other._add(key[:3], _SIZES_MS[other._level], quantity, earliest)  # noqa: SLF001 - the same class
        if moved:
            self._changes = -1  # the soonest end may have gone with them
            other._bound()  # noqa: SLF001 - the same class
        return min(times, default=None)

    def merge_to(self, rows: int, largest_ms: int) -> None:
        """Merge windows until at most `rows` sums are left, or all windows are as large as `largest_ms`, one of GRANULARITIES_MS."""
        while len(self._sums) > rows and _SIZES_MS[self._level] < largest_ms:
            self._level += 1
            size = _SIZES_MS[self._level]
            finer, self._sums, self._units = self._sums, {}, {}
            for (customer, meter, dimensions, _, _), (quantity, earliest) in finer.items():
                self._add((customer, meter, dimensions), size, quantity, earliest)

    def meter_events(self) -> list[MeterEvent]:
        """The sums as meter events, oldest first; one too large for Stripe becomes several, and one of 0 none. Then the latest values."""
        time_of = self._periods.event_time_ms
        ordered = sorted((time_of(key[0], earliest), key, quantity) for key, (quantity, earliest) in self._sums.items())
        return [
            MeterEvent(customer, meter, dimensions, time_ms, value)
            for time_ms, (customer, meter, dimensions, _, _), quantity in ordered
            for value in split(quantity)
        ] + self._readings.meter_events()

    def soonest_end_s(self) -> int | None:
        """The soonest end (Unix seconds) of a billing period, over or not, that has usage here. It walks only after something was learnt."""
        if self._changes != self._periods.changes:
            self._changes = self._periods.changes
            self._soonest_end_s = self._periods.soonest_end_s(self.usage())
        return self._soonest_end_s

    def units(self) -> dict[str, int]:
        """Units of each meter, signed, without a walk over the sums."""
        return dict(self._units)

    def by_meter(self, is_meant: Callable[[str, str], bool]) -> dict[str, tuple[int, int]]:
        """Units, and the time in ms of the oldest usage, of each meter; of what is meant by customer and meter. A latest value counts as one."""
        found: dict[str, tuple[int, int]] = {}
        for (customer, meter, _, _, _), (quantity, earliest) in self._sums.items():
            if not is_meant(customer, meter):
                continue
            units, oldest = found.get(meter, (0, earliest))
            found[meter] = units + quantity, min(oldest, earliest)
        for customer, meter, happened_ms in self._readings.usage():
            if is_meant(customer, meter):
                values, oldest = found.get(meter, (0, happened_ms))
                found[meter] = values + 1, min(oldest, happened_ms)
        return found

    def usage(self) -> Iterator[tuple[str, int]]:
        """Customer and event time in ms of each sum and latest value."""
        sums = ((key[0], self._periods.event_time_ms(key[0], earliest)) for key, (_, earliest) in self._sums.items())
        return chain(sums, ((customer, happened_ms) for customer, _, happened_ms in self._readings.usage()))

    def clear(self) -> None:
        """Start again with nothing, at the finest windows."""
        self._sums = {}
        self._units = {}
        self._readings.clear()
        self._level = 0
        self._soonest_end_s = None
        self._changes = self._periods.changes

    def _bound(self) -> None:
        self.merge_to(self._rows_max, LARGEST_MS)
        if self._carried_max is not None:
            self.merge_to(self._carried_max, LARGEST_CARRIED_MS)

    def _add(self, series: tuple[str, str, Dimensions], size: int, quantity: int, earliest: int) -> None:
        # The side is asked for at each merge: a boundary that became known meanwhile still separates what is not merged yet.
        side = self._periods.side(series[0], earliest)
        key = (*series, window_start(earliest, size), side)
        self._units[series[1]] = self._units.get(series[1], 0) + quantity
        entry = self._sums.get(key)
        if entry is None:
            self._sums[key] = [quantity, earliest]
            if side[1]:
                self._note_end(series[0], self._periods.event_time_ms(series[0], earliest))
        else:
            entry[0] += quantity
            entry[1] = min(entry[1], earliest)

    def _note_end(self, customer: str, time_ms: int) -> None:
        # All minutes of one side are of the same period, so the first of them to come will do.
        end = self._periods.end_s(customer, time_ms)
        if end is not None and (self._soonest_end_s is None or end < self._soonest_end_s):
            self._soonest_end_s = end


def split(quantity: int) -> Sequence[int]:
    """A quantity as values of its sign that Stripe takes (15 digits), the same in sum."""
    sign = 1 if quantity > 0 else -1
    whole, rest = divmod(abs(quantity), VALUE_MAX)
    return [sign * VALUE_MAX] * whole + ([sign * rest] if rest else [])
