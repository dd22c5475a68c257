"""Sums with a sign, until there are enough of them for parts of a plan. Pure."""

from collections.abc import Sequence
from typing import Final

from taximeter_emitter.wire.event import Dimensions

from audit.decoder.record_contents import HeldEvents
from audit.recount.derived_rows import metered
from audit.recount.meter_definitions import MeterDefinition
from metering.plans.current_period import BroughtForward, IntoCurrent
from metering.plans.plan_header import PART_ROWS_MAX
from metering.records.adjustment import AdjustedRow, split_rows

_ZERO: Final = (0, 0)

SumKey = tuple[str, str, Dimensions, int]
"""Customer, meter, dimensions and start of the window (Unix ms)."""


class SignedSums:
    """Units and events by customer, meter, dimensions and window. What later comes to nothing is in no row.

    `into`: which usage is brought forward as it is added; `brought` says what was.
    """

    def __init__(self, window_ms: int, into: IntoCurrent | None = None) -> None:
        self.brought = BroughtForward()
        self._window_ms = window_ms
        self._into = into
        self._sums: dict[SumKey, tuple[int, int]] = {}

    def __len__(self) -> int:
        """How many sums there are."""
        return len(self._sums)

    def add(self, events: HeldEvents, meter: MeterDefinition, places: Sequence[int], *, sign: int, customer: str = "") -> None:
        """Add what the meter makes of the events at these places: +1 or -1 times. `customer`: whose it is instead of the events' own."""
        quantities = metered(events, meter)
        if quantities is None:
            return
        window_ms, at, times = self._window_ms, events.at, events.times
        found: dict[tuple[int, int], list[int]] = {}
        for place in places:
            quantity = quantities[place]
            if quantity:
                key = at[place], times[place] // window_ms
                total = found.get(key)
                if total is None:
                    found[key] = [quantity, 1]
                else:
                    total[0] += quantity
                    total[1] += 1
        for (series, window), (quantity, count) in found.items():
            own, dimensions = events.series[series]
            billed = tuple(pair for pair in dimensions if pair[0] in meter.dimensions)
            self.add_row((customer or own, meter.name, billed, window * window_ms, sign * quantity, sign * count))

    def add_row(self, row: AdjustedRow) -> None:
        """Add a row to the sum of its place."""
        key = row[:4]
        if self._into is not None and (minute_ms := self._into.minute_of(row[0], row[3])) != row[3]:
            key = (*row[:3], minute_ms)
            self.brought.note(row[0], row[1], row[4])
        quantity, count = self._sums.get(key, _ZERO)
        self._sums[key] = quantity + row[4], count + row[5]

    @property
    def is_full(self) -> bool:
        """Whether there are enough for a part."""
        return len(self._sums) >= PART_ROWS_MAX

    def pending(self) -> list[AdjustedRow]:
        """What there is by now, also what comes to nothing so far."""
        return [(*key, quantity, count) for key, (quantity, count) in self._sums.items()]

    def take_full(self) -> list[Sequence[AdjustedRow]]:
        """As many full parts as there are. Which sums are in them depends on nothing but the sums."""
        if not self.is_full:
            return []
        keys = sorted(self._sums)
        return self._taken(keys[: len(keys) // PART_ROWS_MAX * PART_ROWS_MAX])

    def drain(self) -> list[Sequence[AdjustedRow]]:
        """All of it as parts; nothing is left then."""
        return self._taken(sorted(self._sums))

    def _taken(self, keys: Sequence[SumKey]) -> list[Sequence[AdjustedRow]]:
        rows = split_rows((*key, *self._sums.pop(key)) for key in keys)
        return [rows[start : start + PART_ROWS_MAX] for start in range(0, len(rows), PART_ROWS_MAX)]
