"""Who sends events that are set aside: the largest of them, in bounded memory. Pure."""

from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from metering.records.dead_letter import DeadLetter

SET_ASIDE_GROUPS_MAX: Final = 1_000
SET_ASIDE_GROUPS_SHOWN: Final = 20


class SetAsideGroup(NamedTuple):
    """Events that were set aside for one reason, of one source or emitter and one customer; empty where their records do not say it."""

    reason: str
    source: str
    emitter: str
    customer: str


class LargestSetAside:
    """Events set aside by this process since it started, by group.

    When there are more than SET_ASIDE_GROUPS_MAX, a new group takes the place of the smallest, and its count. So a count may be too large by that,
    and is never too small.
    """

    def __init__(self) -> None:
        self._events: dict[SetAsideGroup, int] = {}
        self._total = 0

    def add(self, letters: Iterable[DeadLetter]) -> None:
        """Dead letters of an accepted tally."""
        for letter in letters:
            self._total += letter.events
            origin, rest = letter.origin, letter.events
            for customer, events in origin.customers:
                self._add(SetAsideGroup(letter.reason.value, origin.source, origin.emitter, customer), events)
                rest -= events
            if rest > 0:  # of customers that the letter does not name
                self._add(SetAsideGroup(letter.reason.value, origin.source, origin.emitter, ""), rest)

    def as_json(self) -> Mapping[str, Any]:
        """For `/status`."""
        return {"events": self._total, "largest": [group._asdict() | {"events": events} for group, events in self.largest(SET_ASIDE_GROUPS_SHOWN)]}

    def largest(self, count: int) -> list[tuple[SetAsideGroup, int]]:
        """The largest groups, the largest first."""
        return sorted(self._events.items(), key=lambda entry: (-entry[1], entry[0]))[:count]

    def _add(self, group: SetAsideGroup, events: int) -> None:
        known = self._events.get(group)
        if known is None and len(self._events) >= SET_ASIDE_GROUPS_MAX:
            smallest = min(self._events, key=self._events.__getitem__)
            known = self._events.pop(smallest)
        self._events[group] = (known or 0) + events
