"""The books as they must be, from the journals of the load alone: first of an id wins, malformed ones are refused or set aside. Pure.

Each journal has ids of its own, so that the journals can be read one after the other and only one set of ids is in memory.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from taximeter_sandbox.demo.load.journal import JournalEntry, read_journal
from taximeter_sandbox.demo.load.workload import Kind
from taximeter_sandbox.demo.plan import METERS

SURPRISES_SHOWN: Final = 20


@dataclass(slots=True)
class MeterLine:
    """Events that concern one meter, by what must become of them; `units` are what must be billed.

    `dead_lettered_again`: how many more dead letters there may be, because the load sent them again without knowing that they had arrived.
    """

    emitted: int = 0
    refused: int = 0
    accepted: int = 0
    duplicates: int = 0
    dead_lettered: int = 0
    dead_lettered_again: int = 0
    counted: int = 0
    units: int = 0
    by_customer: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class ExpectedBooks:
    """What must be in Stripe's books, and everything about the load that was not as the interface promises (`surprises`)."""

    meters: dict[str, MeterLine] = field(default_factory=lambda: {name: MeterLine() for name in METERS})
    totals: MeterLine = field(default_factory=MeterLine)
    surprises: list[str] = field(default_factory=list)
    surprise_count: int = 0

    def bill_to(self, stripe_customers: Mapping[str, str]) -> None:
        """Name who is billed in the place of the customers that events name."""
        for line in self.meters.values():
            billed: Counter[str] = Counter()
            for customer, units in line.by_customer.items():
                billed[stripe_customers[customer]] += units
            line.by_customer = billed

    def surprise(self, sentence: str) -> None:
        """Note something that must not happen."""
        self.surprise_count += 1
        if len(self.surprises) < SURPRISES_SHOWN:
            self.surprises.append(sentence)


def expected_books(journals: Iterable[Path]) -> ExpectedBooks:
    """Read the journals. Blocks for about two seconds a million events. Raises OSError, ValueError for a damaged journal."""
    books = ExpectedBooks()
    for path in journals:
        reading = _Reading(books, path.name)
        for entry in read_journal(path):
            reading.take(entry)
    return books


class _Reading:
    """One journal's way into the books."""

    def __init__(self, books: ExpectedBooks, name: str) -> None:
        self._books = books
        self._name = name
        self._seen: dict[str, int] = {}

    def take(self, entry: JournalEntry) -> None:
        """Every position of one sending is accounted for once, in the totals and for each meter it concerns."""
        books = self._books
        if not entry.told or entry.failed:
            books.surprise(f"{self._name}: {len(entry.failed) or len(entry.ids)} events have no known outcome")
        columns = [(name, [entry.usage[field] for field in fields]) for name, fields in METERS.items()]
        for position, event_id in enumerate(entry.ids):
            kind = entry.kinds[position]
            amounts = [(name, sum(column[position] for column in numbers)) for name, numbers in columns]
            lines = [books.totals, *(books.meters[name] for name, amount in amounts if amount)]
            for line in lines:
                line.emitted += 1
            if position in entry.refused:
                if kind != Kind.MALFORMED.value:
                    books.surprise(f"{self._name}: the good event {event_id} was refused")
                for line in lines:
                    line.refused += 1
                continue
            fate = self._fate(kind, event_id, hash((entry.customers[position], *amounts)))
            for line in lines:
                line.accepted += 1
                setattr(line, fate, getattr(line, fate) + 1)
                if fate == "dead_lettered":
                    line.dead_lettered_again += entry.resent
            if fate == "counted":
                for name, amount in amounts:
                    meter = books.meters[name]
                    meter.units += amount
                    meter.by_customer[entry.customers[position]] += amount

    def _fate(self, kind: str, event_id: str, content: int) -> str:
        if kind == Kind.MALFORMED.value:
            return "dead_lettered"
        before = self._seen.get(event_id)
        if before is None:
            self._seen[event_id] = content
            return "counted"
        return "duplicates" if before == content else "dead_lettered"
