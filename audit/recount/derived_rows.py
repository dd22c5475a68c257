"""The rows that a tally must have, from the events that it counts. Pure."""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from taximeter_emitter.wire.event import Dimensions
from taximeter_emitter.wire.limits import MINUTE_MS

from audit.decoder.record_contents import HeldEvents
from audit.recount.meter_definitions import CatalogueRules, MeterDefinition
from metering.records.tally import TallyRow

_Key = tuple[str, str, Dimensions, int]
_NOTHING: Final = (0, 0)


class DerivedRows:
    """Quantity and number of events by customer, meter, dimensions and minute."""

    def __init__(self, rules: CatalogueRules) -> None:
        self._rules = rules
        self._sums: dict[_Key, list[int]] = defaultdict(lambda: [0, 0])

    def add(self, events: HeldEvents, counted: Sequence[int] | None) -> None:
        """Add the events at these places; None: all."""
        places = range(len(events.at)) if counted is None else counted
        for meter in self._rules.meters:
            quantities = metered(events, meter)
            if quantities is not None:
                self._add(events, meter, quantities, places)

    def differences(self, rows: Sequence[TallyRow]) -> Iterator[str]:
        """What the rows say otherwise, a phrase each."""
        said: dict[_Key, list[int]] = defaultdict(lambda: [0, 0])
        for row in rows:
            total = said[row.customer, row.meter, row.dimensions, row.window_start_ms]
            total[0] += row.quantity
            total[1] += row.events
        if said == self._sums:
            return
        for key in [*said, *(key for key in self._sums if key not in said)]:
            one, other = tuple(said.get(key, _NOTHING)), tuple(self._sums.get(key, _NOTHING))
            if one != other:
                place = 0 if one[0] != other[0] else 1
                what = ("units", "events")[place]
                customer, meter, dimensions, window_ms = key
                apart = f" ({', '.join(f'{name} {text}' for name, text in dimensions)})" if dimensions else ""
                yield f"counts {one[place]:,} {what} of {meter}{apart} for {customer} at {_minute(window_ms)}, the log holds {other[place]:,}"

    def _add(self, events: HeldEvents, meter: MeterDefinition, quantities: Sequence[int], places: Sequence[int]) -> None:
        minutes: dict[tuple[int, int], list[int]] = {}
        for place in places:
            quantity = quantities[place]
            if quantity:
                key = events.at[place], events.times[place] // MINUTE_MS
                total = minutes.get(key)
                if total is None:
                    minutes[key] = [quantity, 1]
                else:
                    total[0] += quantity
                    total[1] += 1
        for (series, minute), (quantity, count) in minutes.items():
            customer, dimensions = events.series[series]
            billed = tuple(pair for pair in dimensions if pair[0] in meter.dimensions)
            total = self._sums[customer, meter.name, billed, minute * MINUTE_MS]
            total[0] += quantity
            total[1] += count


def metered(events: HeldEvents, meter: MeterDefinition) -> Sequence[int] | None:
    """What the meter sums of each event; None if no event has one of its fields."""
    columns = [column for field, column in events.usage.items() if field in meter.fields]
    if len(columns) < 2:
        return columns[0] if columns else None
    return [sum(parts) for parts in zip(*columns, strict=True)]


def units_of(events: HeldEvents, place: int, rules: CatalogueRules) -> Mapping[str, int]:
    """What one event would add to each meter."""
    found = {}
    for meter in rules.meters:
        quantity = sum(column[place] for field, column in events.usage.items() if field in meter.fields)
        if quantity:
            found[meter.name] = quantity
    return found


def _minute(window_ms: int) -> str:
    return datetime.fromtimestamp(window_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M")
