"""Does a decision about a meter event rest on what a comparison with Stripe's sums has shown before? Pure: all is handed in, in log order."""

from collections import defaultdict

from metering.folds.corrections import TAKEN, Fate
from metering.records.ledger_records import MeterEvent, Outcome
from metering.records.notes.evidence import CellVerdict, Evidence, Finding
from metering.records.notes.resolution import Resolution, Resolved, SumRead


class ResolutionEvidence:
    """Of one partition. Pass every resolution to `foresee` first: only findings that one of them names are remembered."""

    def __init__(self) -> None:
        self._named: set[SumRead] = set()
        self._found: defaultdict[SumRead, list[Finding]] = defaultdict(list)
        self._supported: set[str] = set()

    def foresee(self, resolution: Resolution) -> None:
        """What it rests on will be looked for."""
        if resolution.reads:
            self._named.add(SumRead(*resolution.reads[-1]))

    def take(self, evidence: Evidence) -> None:
        """The next record of evidence."""
        for found in evidence.findings:
            read = None if found.stripe is None else SumRead(found.read_at_ms, found.stripe, found.ours)
            if read is not None and read in self._named:
                self._found[read].append(found)

    def supports(self, resolution: Resolution, sent: MeterEvent, value: int, fate: Fate) -> bool:
        """Whether this accepted resolution has grounds; `value` is what Stripe's sum has more by what was sent, whose fate it is.

        What Stripe refused by name needs no sums, nor does moving what was found missing before.
        """
        named = fate.outcome is Outcome.REJECTED or (fate.reported and not fate.repeated and fate.outcome in TAKEN)
        moved = resolution.resolved is Resolved.MOVED and resolution.target_identifier in self._supported
        read = SumRead(*resolution.reads[-1]) if resolution.reads else None
        shown = read is not None and any(_shows(found, resolution.resolved, sent, value, fate) for found in self._found.get(read, ()))
        if named or moved or shown:
            self._supported.add(resolution.target_identifier)
        return named or moved or shown


def _shows(found: Finding, resolved: Resolved, sent: MeterEvent, value: int, fate: Fate) -> bool:
    here = (found.customer, found.meter) == (sent.billed, sent.meter) and found.start_ms <= sent.time_ms < found.end_ms
    if fate.outcome in TAKEN and not fate.reported:
        return here and found.verdict is CellVerdict.MISSING and found.confirmed and resolved is not Resolved.AT_STRIPE
    if resolved is Resolved.AT_STRIPE:
        return here and found.verdict is CellVerdict.SETTLED and value in (found.taken or ())
    return here and found.verdict is CellVerdict.SETTLED and found.absent > 0
