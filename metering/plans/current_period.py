"""Usage of billing periods that take no more, brought forward into the current one. Pure."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from metering.records.tally import Range


@dataclass(frozen=True, slots=True)
class IntoCurrent:
    """Which usage is brought forward, and to where. `ended`: of each customer the event times [start, end) in Unix ms whose invoices are final, or
    that Stripe takes no usage for. Their minutes become `minute_ms`, a minute of the current period; all others stay.
    """

    minute_ms: int
    ended: Mapping[str, Sequence[Range]]

    def minute_of(self, customer: str, window_ms: int) -> int:
        """Where usage of this minute is billed."""
        ranges = self.ended.get(customer)
        return window_ms if ranges is None or not any(start <= window_ms < end for start, end in ranges) else self.minute_ms

    def only(self, customers: Collection[str]) -> "IntoCurrent | None":
        """The same for these customers alone; None if there are none."""
        found = {customer: ranges for customer, ranges in self.ended.items() if customer in customers}
        return IntoCurrent(self.minute_ms, found) if found else None

    def as_document(self) -> dict[str, Any]:
        """For JSON."""
        return {"minute_ms": self.minute_ms, "ended": self.ended}


def into_current_from(document: Mapping[str, Any]) -> IntoCurrent:
    """From its JSON. Raises KeyError, TypeError or ValueError for what is none."""
    ended = {customer: tuple((start, end) for start, end in ranges) for customer, ranges in document["ended"].items()}
    return IntoCurrent(document["minute_ms"], ended)


@dataclass(slots=True)
class BroughtForward:
    """What of a plan was brought forward: whose usage, and units by meter."""

    customers: set[str] = field(default_factory=set)
    units: Counter[str] = field(default_factory=Counter)

    def note(self, customer: str, meter: str, units: int) -> None:
        """These units more."""
        self.customers.add(customer)
        self.units[meter] += units

    def add(self, other: "BroughtForward") -> None:
        """Add that of another part of the plan."""
        self.customers |= other.customers
        self.units.update(other.units)
