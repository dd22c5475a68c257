"""What is set aside, why as the log itself shows, what it would bill, and what of it was counted since. Pure.

Memory: at most ASIDE_ENTRIES_MAX events with an id are remembered; of the others nobody can say whether they came again.
"""

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

ASIDE_ENTRIES_MAX: Final = 100_000


@dataclass(slots=True)
class AsideTotals:
    """Of one reason, each event once. `units` by meter are known for events that can be read; `unread` events are those that cannot.

    `redriven`: events that a redrive took back, or found counted already. `repeated`: copies of events that had been set aside before.
    `counted_since`: events, with their copies, of which a later one was counted.
    """

    events: int = 0
    units: Counter[str] = field(default_factory=Counter)
    unread: int = 0
    redriven: int = 0
    repeated: int = 0
    counted_since: int = 0

    @property
    def came_back(self) -> int:
        """How many are not set aside any more, or are there more than once."""
        return self.redriven + self.repeated + self.counted_since

    def add(self, other: "AsideTotals") -> None:
        """Add another partition's."""
        self.events += other.events
        self.units.update(other.units)
        self.unread += other.unread
        self.redriven += other.redriven
        self.repeated += other.repeated
        self.counted_since += other.counted_since


@dataclass(slots=True)
class _Waiting:
    reason: str
    units: Mapping[str, int]
    copies: Counter[str] = field(default_factory=Counter)  # by their own reasons


class AsideBook:
    """Of one partition."""

    def __init__(self) -> None:
        self.totals: dict[str, AsideTotals] = defaultdict(AsideTotals)
        self._waiting: dict[tuple[bytes, int], _Waiting] = {}
        self._said_known: dict[bytes, list[tuple[str, Mapping[str, int]]]] = {}

    def add_unread(self, reason: str, events: int) -> None:
        """Events of a record that nobody can read, with the reason that the tally gives."""
        self.totals[reason].events += events
        self.totals[reason].unread += events

    def add_redriven(self, reason: str) -> None:
        """An event that a redrive took back."""
        self.totals[reason].redriven += 1

    def add_said_known(self, reason: str, units: Mapping[str, int], identity: bytes) -> None:
        """An event of which a redrive says that another of its identity was counted. None was yet: it is set aside until one is."""
        if len(self._said_known) >= ASIDE_ENTRIES_MAX:
            self.add_redriven(reason)
            return
        self.totals[reason].events += 1
        self.totals[reason].units.update(units)
        self._said_known.setdefault(identity, []).append((reason, units))

    def add(self, reason: str, units: Mapping[str, int], identity: bytes, content: int) -> None:
        """An event that can be read. `identity` is empty if it has only its number."""
        waiting = self._waiting.get((identity, content)) if identity else None
        if waiting is not None:
            waiting.copies[reason] += 1
            self.totals[reason].repeated += 1
            return
        totals = self.totals[reason]
        totals.events += 1
        totals.units.update(units)
        if identity and len(self._waiting) < ASIDE_ENTRIES_MAX:
            self._waiting[identity, content] = _Waiting(reason, units)

    def counted(self, identity: bytes, content: int) -> None:
        """An event was counted: if the same was set aside before, it has come back."""
        for reason, units in self._said_known.pop(identity, ()):
            self.totals[reason].events -= 1
            self.totals[reason].redriven += 1
            self.totals[reason].units.subtract(units)
        waiting = self._waiting.get((identity, content))
        if waiting is None:
            return
        del self._waiting[identity, content]
        totals = self.totals[waiting.reason]
        totals.events -= 1
        totals.counted_since += 1
        totals.units.subtract(waiting.units)
        for reason, copies in waiting.copies.items():
            self.totals[reason].repeated -= copies
            self.totals[reason].counted_since += copies
