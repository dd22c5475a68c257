"""The rows and latest values that a tally must have, from the events that it counts. Pure."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final

from taximeter_emitter.wire.event import Dimensions
from taximeter_emitter.wire.limits import MINUTE_MS

from audit.decoder.record_contents import HeldEvents
from audit.recount.meter_definitions import CatalogueRules, MeterDefinition
from metering.records.tally import LatestValue, TallyRow

_Key = tuple[str, str, Dimensions, int]
_NOTHING: Final = (0, 0)


class DerivedRows:
    """Quantity and number of events by customer, meter, dimensions and minute; and of meters that tell the last value, that by customer and meter and
    second. Add events in the order of the log.
    """

    def __init__(self, rules: CatalogueRules) -> None:
        self._rules = rules
        self._sums: dict[_Key, list[int]] = defaultdict(lambda: [0, 0])
        self._last: dict[tuple[str, str, int], list[int]] = {}  # by second: time, value, events

    def add(self, events: HeldEvents, counted: Sequence[int] | None) -> None:
        """Add the events at these places; None: all."""
        places = range(len(events.at)) if counted is None else counted
        for meter in self._rules.meters:
            if meter.tells_last:
                self._take_last(events, meter, places)
                continue
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

    def last_differences(self, latest: Sequence[LatestValue]) -> Iterator[str]:
        """What the latest values say otherwise, a phrase each."""
        said = {(each.customer, each.meter, each.time_ms // 1000): [each.time_ms, each.value, each.events] for each in latest}
        if len(said) != len(latest):
            yield f"has {len(latest) - len(said)} latest values beside others of their second"
        for key in [*said, *(key for key in self._last if key not in said)]:
            one, other = said.get(key), self._last.get(key)
            if one != other:
                customer, meter, second = key
                at = _minute(second * 1000)
                yield f"tells {_reading(one)} as the latest of {meter} for {customer} at {at}, the log holds {_reading(other)}"

    def _take_last(self, events: HeldEvents, meter: MeterDefinition, places: Iterable[int]) -> None:
        mine = [meter.is_for(dimensions) for _, dimensions in events.series]
        for place in places:
            series = events.at[place]
            if not mine[series]:
                continue
            usage = {field: column[place] for field, column in events.usage.items()}
            time_ms = events.times[place]
            key = events.series[series][0], meter.name, time_ms // 1000
            known = self._last.get(key, [time_ms, 0, 0])
            value = made_of(usage, meter) if time_ms >= known[0] else known[1]
            self._last[key] = [max(time_ms, known[0]), value, known[2] + 1]

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
    """What one event would add to each meter; to one that tells the last value nothing is added."""
    found = _made_of_each(events, place, [meter for meter in rules.meters if not meter.tells_last])
    return {name: quantity for name, quantity in found.items() if quantity}


def is_below_zero(events: HeldEvents, place: int, rules: CatalogueRules) -> bool:
    """Whether one event comes out below zero for a meter."""
    return any(quantity < 0 for quantity in _made_of_each(events, place, rules.meters).values())


def _made_of_each(events: HeldEvents, place: int, meters: Sequence[MeterDefinition]) -> Mapping[str, int]:
    _, dimensions = events.series[events.at[place]]
    usage = {field: column[place] for field, column in events.usage.items()}
    return {meter.name: made_of(usage, meter) for meter in meters if meter.is_for(dimensions)}


def made_of(usage: Mapping[str, int], meter: MeterDefinition) -> int:
    """What the meter makes of one event that it is about."""
    some = [quantity for field, quantity in usage.items() if quantity and field in meter.fields]
    if meter.counts:
        return 1 if some or not meter.fields else 0
    return sum(some) - sum(quantity for field, quantity in usage.items() if field in meter.less)


def _reading(found: Sequence[int] | None) -> str:
    return "nothing" if found is None else f"{found[1]:,} of {found[2]:,} events"


def _minute(window_ms: int) -> str:
    return datetime.fromtimestamp(window_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M")
