"""Evidence: what a comparison of the ledger with Stripe's summaries has shown. A record of usage.ledger that is in no chain and contests nothing.

It is small: all that agrees of one customer and meter is one line, however many cells it is.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

import orjson

EVIDENCE_FORMAT: Final = "evidence/1"
FINDINGS_MAX: Final = 500  # of one record
CAUSE_CHARS_MAX: Final = 300
TAKEN_MAX: Final = 100  # values that are listed of one finding


class CellVerdict(StrEnum):
    """How a cell stands."""

    SETTLED = "settled"
    ARRIVING = "arriving"
    MISSING = "missing"
    EXTRA = "extra"
    UNDECIDED = "undecided"
    UNREADABLE = "unreadable"

    @property
    def differs(self) -> bool:
        """Whether a person must look."""
        return self not in {CellVerdict.SETTLED, CellVerdict.ARRIVING}


@dataclass(frozen=True, slots=True)
class Finding:
    """One customer and meter in [start_ms, end_ms): one cell, or several that are settled.

    `ours` is what is sure by the ledger; `stripe` is Stripe's sum as it was read at `read_at_ms` (None: it could not be read). `difference` is
    what Stripe has more than is explained (below zero: less). `since_ms` is the first of the `reads` in a row that showed the same. `confirmed`:
    it differs, and no longer because Stripe's summaries lag. `doubts` are how many meter events are in doubt, and `taken` the values of those that
    Stripe has (None: there were none, or its sum does not show it). `cause` says more in words.
    """

    customer: str
    meter: str
    start_ms: int
    end_ms: int
    verdict: CellVerdict
    ours: int
    stripe: int | None
    difference: int
    read_at_ms: int
    since_ms: int
    reads: int = 1
    confirmed: bool = False
    doubts: int = 0
    taken: tuple[int, ...] | None = None
    cause: str = ""

    @property
    def absent(self) -> int:
        """How many of the meter events in doubt Stripe has not, as its sum shows; 0 where it does not show it."""
        return 0 if self.taken is None else self.doubts - len(self.taken)

    def shows_the_same(self, other: "Finding") -> bool:
        """Whether both reads say the same of the same cell."""
        return (self.start_ms, self.end_ms, self.verdict, self.ours, self.stripe, self.taken) == (
            other.start_ms,
            other.end_ms,
            other.verdict,
            other.ours,
            other.stripe,
            other.taken,
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """Findings of one comparison in one partition, at most FINDINGS_MAX. `instance` says who compared, `at_ms` when this was written."""

    partition: int
    instance: str
    at_ms: int
    findings: Sequence[Finding]


def encode_evidence(evidence: Evidence) -> bytes:
    """The JSON bytes. Sums are strings: some are beyond 64 bits."""
    assert len(evidence.findings) <= FINDINGS_MAX
    return orjson.dumps(
        {
            "format": EVIDENCE_FORMAT,
            "partition": evidence.partition,
            "instance": evidence.instance,
            "at_ms": evidence.at_ms,
            "findings": [_row(finding) for finding in evidence.findings],
        }
    )


def evidence_of(document: Mapping[str, Any]) -> Evidence:
    """From the parsed JSON. Raises what a wrong document raises: KeyError, TypeError, ValueError."""
    return Evidence(document["partition"], document["instance"], document["at_ms"], [_finding(*row) for row in document["findings"]])


def _row(found: Finding) -> tuple[Any, ...]:
    taken = None if found.taken is None else [str(value) for value in found.taken[:TAKEN_MAX]]
    stripe = None if found.stripe is None else str(found.stripe)
    numbers = (str(found.ours), stripe, str(found.difference), found.read_at_ms, found.since_ms, found.reads)
    place = (found.customer, found.meter, found.start_ms, found.end_ms)
    return (*place, found.verdict, *numbers, found.confirmed, found.doubts, taken, found.cause[:CAUSE_CHARS_MAX])


def _finding(*row: Any) -> Finding:
    customer, meter, start_ms, end_ms, verdict, ours, stripe, difference, read_at_ms, since_ms, reads, confirmed, doubts, taken, cause = row
    return Finding(
        customer=customer,
        meter=meter,
        start_ms=start_ms,
        end_ms=end_ms,
        verdict=CellVerdict(verdict),
        ours=int(ours),
        stripe=None if stripe is None else int(stripe),
        difference=int(difference),
        read_at_ms=read_at_ms,
        since_ms=since_ms,
        reads=reads,
        confirmed=confirmed,
        doubts=doubts,
        taken=None if taken is None else tuple(int(value) for value in taken),
        cause=cause,
    )
