"""Which events of its range a tally leaves out, by its own word. Pure."""

from collections.abc import Mapping, Sequence
from enum import Enum
from types import MappingProxyType
from typing import Final

from metering.records.tally import NotCounted, Tally, WhyNotCounted


class LeftOut(Enum):
    """Why an event is in no row."""

    SET_ASIDE = "set aside"
    DUPLICATE = "duplicate"
    KNOWN_NUMBER = "known number"
    FORWARDED = "forwarded"


_WHY: Final = {
    WhyNotCounted.DUPLICATE: LeftOut.DUPLICATE,
    WhyNotCounted.KNOWN_NUMBER: LeftOut.KNOWN_NUMBER,
    WhyNotCounted.FORWARDED: LeftOut.FORWARDED,
}
NOTHING: Final[Mapping[int, LeftOut]] = MappingProxyType({})


class LeftOutPlaces:
    """The places of a tally, to be asked for in the order of the log."""

    def __init__(self, tally: Tally) -> None:
        self._set_aside: dict[int, Sequence[int]] = dict(tally.set_aside)
        self._coming = sorted(tally.not_counted, key=lambda run: run.offset, reverse=True)
        self._open: list[NotCounted] = []

    def is_untaken(self, offset: int) -> bool:
        """Whether the record was set aside before its numbers were taken: it is then named without places."""
        return self._set_aside.get(offset) in ((), [])

    def of(self, offset: int, events: int) -> Mapping[int, LeftOut]:
        """The places within the record at `offset`, which holds `events` events. Ask once for each record, with rising offsets."""
        while self._coming and self._coming[-1].offset <= offset:
            self._open.append(self._coming.pop())
        if self._open:
            self._open = [run for run in self._open if offset < run.offset + run.offsets]
        aside = self._set_aside.get(offset)
        if aside is None and not self._open:
            return NOTHING
        found: dict[int, LeftOut] = {}
        for run in self._open:
            first, count = (run.first, run.events) if run.events else (0, events)
            for index in range(first, min(first + count, events)):
                found[index] = _WHY[run.why]
        if aside is not None:
            for index in aside or range(events):
                if index < events:
                    found[index] = LeftOut.SET_ASIDE
        return found
