"""What the ledger knows of Stripe's own sums: whom a comparison has read, how long ago, and what differed last. Pure."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from metering.records.notes.evidence import Evidence, Finding

DIFFERING_MAX: Final = 10_000  # cells that are remembered of a partition
SHOWN_MAX: Final = 20


@dataclass(slots=True)
class StripeEvidence:
    """`customers` have usage in the ledger; `compared` of them were compared with Stripe, none of these longer ago than `oldest_ms` (0: none was).

    `differing`: cells of which the last word is that they differ, at two reads or more. `mended`: how many of them something was done about
    since. `unkept`: how many were not remembered.
    """

    customers: int = 0
    compared: int = 0
    oldest_ms: int = 0
    differing: list[Finding] = field(default_factory=list)
    mended: int = 0
    unkept: int = 0

    def add(self, other: "StripeEvidence") -> None:
        """Another partition's."""
        self.customers += other.customers
        self.compared += other.compared
        times = [time_ms for time_ms in (self.oldest_ms, other.oldest_ms) if time_ms]
        self.oldest_ms = min(times, default=0)
        self.differing += other.differing
        self.mended += other.mended
        self.unkept += other.unkept

    @property
    def units(self) -> Counter[str]:
        """By meter, what Stripe has more (below zero: less) in the cells that differ."""
        units: Counter[str] = Counter()
        for each in self.differing:
            units[each.meter] += each.difference
        return units

    def text(self, now_ms: int) -> str:
        """One line: `compared with Stripe: 98,210 of 100,000 customers, oldest 5 h ago`."""
        oldest = f", oldest {_age(max(0, now_ms - self.oldest_ms))} ago" if self.oldest_ms else ""
        return f"compared with Stripe: {self.compared:,} of {self.customers:,} customers{oldest}"

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "customers": self.customers,
            "compared": self.compared,
            "oldest_ms": self.oldest_ms or None,
            "differing_cells": len(self.differing) + self.unkept,
            "mended_cells": self.mended,
            "differing": [
                {
                    "customer": each.customer,
                    "meter": each.meter,
                    "start_ms": each.start_ms,
                    "end_ms": each.end_ms,
                    "verdict": each.verdict.value,
                    "difference": str(each.difference),
                    "read_at_ms": each.read_at_ms,
                    "cause": each.cause,
                }
                for each in self.differing[:SHOWN_MAX]
            ],
        }


class EvidenceFold:
    """Folds one partition. Memory: a number for each customer, and at most DIFFERING_MAX findings."""

    def __init__(self) -> None:
        self._customers: dict[str, int] = {}
        self._differing: defaultdict[tuple[str, str], dict[int, Finding]] = defaultdict(dict)
        self._mended: set[tuple[str, str]] = set()
        self._kept = 0
        self._unkept = 0

    def saw(self, customers: Iterable[str]) -> None:
        """The ledger reports usage of these."""
        for customer in customers:
            self._customers.setdefault(customer, 0)

    def take(self, evidence: Evidence) -> None:
        """The next record of evidence."""
        for found in evidence.findings:
            if found.stripe is not None:
                self._customers[found.customer] = max(self._customers.get(found.customer, 0), found.read_at_ms)
            self._forget(found)
            if found.confirmed:
                self._remember(found)

    def mended(self, customer: str, meter: str) -> None:
        """Something was done for this customer and meter: what differed must be read again."""
        if (customer, meter) in self._differing:
            self._mended.add((customer, meter))

    def totals(self) -> StripeEvidence:
        """All of it."""
        read = [time_ms for time_ms in self._customers.values() if time_ms]
        return StripeEvidence(
            customers=len(self._customers),
            compared=len(read),
            oldest_ms=min(read, default=0),
            differing=[found for pair, cells in self._differing.items() if pair not in self._mended for found in cells.values()],
            mended=sum(len(self._differing[pair]) for pair in self._mended),
            unkept=self._unkept,
        )

    def _forget(self, found: Finding) -> None:
        """A later read of the same hours takes the place of what differed."""
        pair = found.customer, found.meter
        cells = self._differing.get(pair)
        if cells is None:
            return
        for start in [start for start, before in cells.items() if found.start_ms <= start and before.end_ms <= found.end_ms]:
            del cells[start]
            self._kept -= 1
        if not cells:
            del self._differing[pair]
        self._mended.discard(pair)

    def _remember(self, found: Finding) -> None:
        if self._kept < DIFFERING_MAX:
            self._differing[found.customer, found.meter][found.start_ms] = found
            self._kept += 1
        else:
            self._unkept += 1


def _age(age_ms: int) -> str:
    seconds = age_ms // 1000
    for size, unit in ((86_400, "days"), (3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"
