"""Which refusals without a name are answered, by evidence that agrees with the ledger itself. Pure: entries are handed in, in log order.

Evidence says what the ledger had, beside Stripe's sum. It is believed only where these entries say the same: so a record that somebody made up, or
that was taken from another ledger, answers nothing.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from taximeter_emitter.wire.limits import HOUR_MS

from audit.refusal_answers.refusal_suspects import SuspectFold, is_suspect, key_of, window_of
from metering.folds.corrections import TAKEN, Corrected
from metering.folds.ledger import Ledger
from metering.reconciliation.cells import CellKey, CellScope, CustomerMeter, LedgerCells
from metering.records.ledger_records import Entry, MeterEvent, Receipt, Rejection
from metering.records.notes.evidence import CellVerdict, Evidence, Finding
from metering.records.notes.resolution import Resolution, Resolved, SumRead

_DIGITS: Final = 10**15  # of a larger sum Stripe's last digits mean nothing


@dataclass(frozen=True, slots=True)
class FoundMissing:
    """A meter event that Stripe took at `told_ms` and lacks, as its sums showed; `resolution` says so.

    `correction`: what sent it again, if anything did. `to_customer`: who is billed instead, "" for nobody.
    """

    event: MeterEvent
    told_ms: int
    resolution: Resolution
    to_customer: str
    correction: Corrected | None

    @property
    def is_mended(self) -> bool:
        """Whether somebody is billed for it."""
        return bool(self.to_customer) or (self.correction is not None and self.correction.fate.at_stripe is True)

    def as_text(self) -> str:
        """In words: what was found, who decided on which sums, and what became of it."""
        said, read = self.resolution, self.resolution.reads[-1]
        sums = f"Stripe's sum {read.stripe:,} beside {read.sure:,}"
        if self.to_customer:
            then = f"billed to {self.to_customer}"
        elif self.correction is None:
            then = "not sent again yet"
        else:
            then = f"sent again by correction {self.correction.correction.identifier()} ({self.correction.fate.outcome or 'open'})"
        return f"{said.target_identifier}, found by {sums}; {then}; taximeter correct by {said.by}: {said.reason}"


@dataclass(frozen=True, slots=True)
class Agreement:
    """Stripe's sums agree with the ledger in all `cells` to which something was sent in a report's window. `read_at_ms` is the oldest read."""

    cells: int
    read_at_ms: int


@dataclass(slots=True)
class AnsweredReport:
    """An error report that counts more than it names, and what answers it."""

    report: Rejection
    found: list[FoundMissing] = field(default_factory=list)
    agreement: Agreement | None = None

    @property
    def left(self) -> int:
        """How many refusals have no answer."""
        return 0 if self.agreement is not None else max(0, self.report.unnamed - len(self.found))

    @property
    def answered(self) -> int:
        """How many have one."""
        return self.report.unnamed - self.left

    @property
    def mended(self) -> int:
        """How many of them are billed, as far as the ledger says."""
        if self.agreement is not None:
            return self.report.unnamed
        return sum(each.is_mended for each in self.found)

    def lines(self) -> Iterator[str]:
        """In words: the report, and what answers it."""
        told = (
            f"report {self.report.event_id} ({self.report.code}): {self.answered:,} of {self.report.unnamed:,} refusals without a name are answered"
        )
        yield told
        yield from (f"  {each.as_text()}" for each in self.found)
        if self.agreement is not None:
            read = datetime.fromtimestamp(self.agreement.read_at_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
            cells = "1 cell" if self.agreement.cells == 1 else f"{self.agreement.cells:,} cells"
            yield f"  evidence: Stripe's sums of {cells} of what was sent then agree with the ledger, read at {read} or later"

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "report": self.report.event_id,
            "code": self.report.code,
            "meter": self.report.meter,
            "unnamed": self.report.unnamed,
            "left": self.left,
            "found": [
                {
                    "identifier": each.resolution.target_identifier,
                    "by": each.resolution.by,
                    "reason": each.resolution.reason,
                    "reads": [[read.at_ms, str(read.stripe), str(read.sure)] for read in each.resolution.reads],
                    "to_customer": each.to_customer,
                    "correction": None if each.correction is None else each.correction.correction.identifier(),
                    "outcome": None if each.correction is None else each.correction.fate.outcome,
                }
                for each in self.found
            ],
            "agreed_cells": None if self.agreement is None else self.agreement.cells,
            "agreed_at_ms": None if self.agreement is None else self.agreement.read_at_ms,
        }


class AnswerFold:
    """Folds one partition, from where `ledger`, an empty fold, is placed. Pass every entry to `foresee` first, then every entry to `fold`."""

    def __init__(self, suspects: Iterable[CellKey], scope: CellScope, ledger: Ledger) -> None:
        self.agreed: dict[CellKey, int] = {}  # and when it was read
        self._suspects: defaultdict[CustomerMeter, set[int]] = defaultdict(set)
        for key in suspects:
            self._suspects[CustomerMeter(key.customer, key.meter)].add(key.start_ms)
        self._cells = LedgerCells(scope, ledger)
        self._ledger = ledger
        self._told: dict[tuple[int, int], int] = {}
        self._missing: set[tuple[CellKey, SumRead]] = set()
        self._resolved: list[Resolution] = []

    def foresee(self, entry: Entry) -> None:
        """Remember what this entry will speak of."""
        self._cells.foresee(entry)

    def fold(self, offset: int, log_time_ms: int, entry: Entry) -> None:
        """The next entry. Raises ChainBroken as the ledger does."""
        match entry:
            case Receipt():
                for settlement in self._ledger.news(entry):
                    if (settlement.intent, settlement.index) in self._cells.history.targets:
                        self._told[settlement.intent, settlement.index] = settlement.at_ms
            case Evidence():
                self._take(entry.findings)
            case _:
                pass
        finds = isinstance(entry, Resolution) and self._finds_one(entry)
        self._cells.fold(offset, log_time_ms, entry)
        if finds and isinstance(entry, Resolution) and self._cells.history.targets[entry.intent, entry.index].fate.resolution is entry:
            self._resolved.append(entry)

    def found(self) -> list[FoundMissing]:
        """The meter events that were found missing on sums which evidence has, after the last entry."""
        found = []
        for resolution in self._resolved:
            target = self._cells.history.targets[resolution.intent, resolution.index]
            if target.fate.resolution is not None and target.fate.resolution.resolved is not Resolved.AT_STRIPE:
                told_ms = self._told[resolution.intent, resolution.index]
                found.append(FoundMissing(target.event, told_ms, resolution, target.fate.resolution.to_customer, target.standing))
        return found

    def _finds_one(self, resolution: Resolution) -> bool:
        """Whether it says, on sums that evidence before it has, that Stripe lacks what it took. What Stripe named is no answer here."""
        target = self._cells.history.targets.get((resolution.intent, resolution.index))
        if target is None or target.fate.reported or target.fate.outcome not in TAKEN or resolution.resolved is Resolved.AT_STRIPE:
            return False
        key = CellKey(target.event.billed, target.event.meter, target.event.time_ms - target.event.time_ms % HOUR_MS)
        return bool(resolution.reads) and (key, SumRead(*resolution.reads[-1])) in self._missing

    def _take(self, findings: Sequence[Finding]) -> None:
        own = {(found.customer, found.meter, found.start_ms, found.read_at_ms) for found in findings if not _is_plain(found)}
        for found in findings:
            pair = CustomerMeter(found.customer, found.meter)
            starts = [start for start in self._suspects.get(pair, ()) if found.start_ms <= start < found.end_ms]
            if not starts:
                continue
            apart = {start for name, meter, start, at in own if (name, meter) == pair and at == found.read_at_ms} if _is_plain(found) else set()
            believed = self._is_of_this_ledger(pair, found, apart)
            for start in starts:
                key = CellKey(*pair, start)
                self.agreed.pop(key, None)
                if believed and found.verdict is CellVerdict.SETTLED and _adds_up(found) and self._cells.told_ms(key) <= found.read_at_ms:
                    self.agreed[key] = found.read_at_ms
                if believed and found.verdict is CellVerdict.MISSING and found.confirmed and found.stripe is not None:
                    self._missing.add((key, SumRead(found.read_at_ms, found.stripe, found.ours)))

    def _is_of_this_ledger(self, pair: CustomerMeter, found: Finding, apart: set[int]) -> bool:
        """Whether it says of the ledger what these entries say; `apart` are cells in its range that have findings of their own."""
        sure = self._cells.sure_of(pair, found.start_ms, found.end_ms)
        sure -= sum(self._cells.sure_of(pair, start, start + HOUR_MS) for start in apart if found.start_ms <= start < found.end_ms)
        return sure == found.ours


def _is_plain(found: Finding) -> bool:
    return found.verdict is CellVerdict.SETTLED and found.taken is None


def _adds_up(found: Finding) -> bool:
    """Whether Stripe's sum is what it would be if all is settled."""
    if found.stripe is None:
        return False
    difference = abs(found.stripe - found.ours - sum(found.taken or ()))
    return not difference or difference * _DIGITS <= abs(found.stripe) * 10


def answers_of(reports: Sequence[Rejection], partitions: Iterable[tuple[SuspectFold, AnswerFold]]) -> list[AnsweredReport]:
    """Each report with its answer; `partitions` are those that have suspects, folded to their ends.

    A meter event that was found answers one report: of those whose window has it, the one whose window ends first.
    """
    folded = list(partitions)
    answered = [AnsweredReport(report, agreement=_agreement(report, folded)) for report in sorted(reports, key=lambda each: window_of(each)[1])]
    for each in sorted((found for _, fold in folded for found in fold.found()), key=lambda found: found.told_ms):
        place = next((one for one in answered if len(one.found) < one.report.unnamed and is_suspect(one.report, each.event, each.told_ms)), None)
        if place is not None:
            place.found.append(each)
    return answered


def _agreement(report: Rejection, folded: Sequence[tuple[SuspectFold, AnswerFold]]) -> Agreement | None:
    read: list[int] = []
    for suspects, fold in folded:
        if key_of(report) in suspects.left_out:
            return None
        for cell in suspects.cells[key_of(report)]:
            at_ms = fold.agreed.get(cell, 0)
            if at_ms < window_of(report)[1]:
                return None
            read.append(at_ms)
    return Agreement(len(read), min(read)) if read else None
