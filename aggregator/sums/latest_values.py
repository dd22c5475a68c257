"""The latest values being gathered for the next tally: one for each customer, meter and second, whatever the order in which events came."""

from collections.abc import Sequence
from typing import Final

import numpy as np

from metering.records.integer_columns import Integers
from metering.records.service_limits import TALLY_ROW_BYTES
from metering.records.tally import LatestValue

SECOND_MS: Final = 1_000


class LatestValues:
    """Of two events of one millisecond the one that was added later is the later."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str, int], list[int]] = {}  # time, place, value, events
        self._places = 0
        self.bytes = 0

    def end(self, events: int) -> None:
        """All events of one call of `add` were added: the places of the next are behind theirs."""
        self._places += events

    def add(self, customer: str, meter: str, latest: Sequence[int]) -> None:
        """Add events of one second: the time (Unix ms), place and value of the latest, and how many there are."""
        time_ms, place, value, events = latest
        key = customer, meter, time_ms // SECOND_MS
        place += self._places
        known = self._values.get(key)
        if known is None:
            self._values[key] = [time_ms, place, value, events]
            self.bytes += TALLY_ROW_BYTES + len(customer)
        else:
            events += known[3]
            known[:] = [time_ms, place, value, events] if (time_ms, place) > (known[0], known[1]) else [*known[:3], events]

    def values(self) -> tuple[LatestValue, ...]:
        """All of them."""
        return tuple(
            LatestValue(customer, meter, time_ms, value, events) for (customer, meter, _), (time_ms, _, value, events) in self._values.items()
        )

    def clear(self) -> None:
        """Forget all."""
        self._values, self._places, self.bytes = {}, 0, 0


def latest_of_each(series: Integers, times: Integers) -> tuple[Integers, Integers]:
    """The place of the latest event of each series and second, and how many events are of them. Of equal times the last is the latest."""
    seconds = times // SECOND_MS
    order = np.lexsort((times, seconds, series))  # it keeps the order of what is equal
    apart = (np.diff(series[order]) != 0) | (np.diff(seconds[order]) != 0)
    ends = np.append(np.flatnonzero(apart), len(order) - 1)
    return order[ends], np.diff(ends, prepend=-1)
