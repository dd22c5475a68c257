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
    """What the meter makes of each event; None if it makes nothing of any."""
    added = [column for field, column in events.usage.items() if field in meter.fields]
    taken = [column for field, column in events.usage.items() if field in meter.less]
    found: Sequence[int]
    if meter.counts:
        found = [1] * len(events.at) if not meter.fields else [int(any(parts)) for parts in zip(*added, strict=True)]
    elif not added and not taken:
        return None
    elif len(added) == 1 and not taken:
        found = added[0]
    else:
        columns = [*added, *([-quantity for quantity in column] for column in taken)]
        found = [sum(parts) for parts in zip(*columns, strict=True)]
    if not found:
        return None
    mine = [meter.is_for(dimensions) for _, dimensions in events.series]
    return found if all(mine) else [quantity if mine[at] else 0 for quantity, at in zip(found, events.at, strict=True)]


def units_of(events: HeldEvents, place: int, rules: CatalogueRules) -> Mapping[str, int]:
    """What one event would add to each meter."""
    _, dimensions = events.series[events.at[place]]
    usage = {field: column[place] for field, column in events.usage.items()}
    found = {meter.name: made_of(usage, meter) for meter in rules.meters if meter.is_for(dimensions)}
    return {name: quantity for name, quantity in found.items() if quantity}


def made_of(usage: Mapping[str, int], meter: MeterDefinition) -> int:
    """What the meter makes of one event that it is about."""
    some = [quantity for field, quantity in usage.items() if quantity and field in meter.fields]
    if meter.counts:
        return 1 if some or not meter.fields else 0
    return sum(some) - sum(quantity for field, quantity in usage.items() if field in meter.less)


def _minute(window_ms: int) -> str:
    return datetime.fromtimestamp(window_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M")
