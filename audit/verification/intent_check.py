"""Does the ledger report what the tallies counted, and may it take back or repeat what it does? Pure: all is handed in, in log order."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeGuard

from taximeter_emitter.wire.event import Dimensions

from audit.reading_check import ReadingCheck
from audit.recount.written_links import WrittenLinks
from audit.verification.report import AcceptedHandover, Problems, Report, weight
from audit.verification.resolution_evidence import ResolutionEvidence
from audit.verification.span import Inside
from audit.verification.stripe_evidence import EvidenceFold
from metering.folds.corrections import TAKEN, Corrected, CorrectionHistory, Target, named_places, objection
from metering.records.fail_closed import ChainBroken
from metering.records.ledger_records import (
    Correction,
    CorrectionKind,
    Entry,
    Handover,
    Intent,
    LedgerAdoption,
    LedgerClosing,
    MeterEvent,
    Outcome,
    Receipt,
    Rejection,
)
from metering.records.notes.evidence import Evidence
from metering.records.notes.resolution import Resolution, Resolved
from metering.records.tally import Tally

UsageKey = tuple[str, str, Dimensions]
"""Customer, meter, dimensions."""


class IntentCheck:
    """Folds one partition's ledger, compares every accepted intent with the tallies that it covers, and checks every accepted correction.

    Pass all entries to `foresee` before the first is folded: that bounds what is remembered. Only what `inside` has, once all
    are foreseen, is compared and added up.
    """

    def __init__(self, partition: int, report: Report, inside: Inside, links: WrittenLinks) -> None:
        self._inside = inside
        self._links = links
        self._history = CorrectionHistory()
        self.ledger = self._history.ledger
        self._partition = partition
        self._report = report
        self._uncovered: Counter[UsageKey] = Counter()
        self._readings = ReadingCheck(report)
        self._reports: set[tuple[str, str]] = set()
        self._evidence = EvidenceFold()
        self._rests = ResolutionEvidence()

    def foresee(self, offset: int, entry: Entry) -> None:
        """Remember what this entry will speak of."""
        self._inside.take(offset, entry)
        self._history.watch(named_places(entry))
        if isinstance(entry, Resolution):
            self._rests.foresee(entry)

    def will_accept(self, entry: Entry) -> TypeGuard[Intent]:
        """Whether this entry is an intent that continues the chain, so that its tallies have to be added before it."""
        return isinstance(entry, Intent) and self.ledger.continues(entry)

    def add(self, tally: Tally) -> None:
        """The next accepted tally."""
        for row in tally.rows:
            self._uncovered[(row.customer, row.meter, row.dimensions)] += row.quantity
        self._readings.add(tally)

    def fold(self, offset: int, log_time_ms: int, entry: Entry) -> None:
        """The next entry of the ledger; every tally it covers was added. Raises ChainBroken if it belongs to another chain."""
        if isinstance(entry, Receipt):
            self._count_outcomes(entry)
        elif isinstance(entry, Correction) and self.ledger.accepts(offset, entry):
            self._check_correction(offset, entry)
        waiting = self.ledger.waiting
        told_wrongly = self._told_wrongly(offset, entry, waiting)
        accepted = self._history.fold(offset, log_time_ms, entry)
        match entry:
            case Receipt():
                self._report.receipts += 1
            case Rejection():
                self._report.rejections += 1
                self._note_refusals(entry)
            case Evidence():
                self._rests.take(entry)
                self._evidence.take(
                    replace(entry, findings=[each for each in entry.findings if self._inside.times.meets(each.start_ms, each.end_ms)])
                )
            case Resolution():
                self._note_resolution(entry, accepted=accepted)
            case Correction():
                self._report.corrections += accepted
                self._report.corrections_skipped += not accepted
                self._evidence.mended(entry.event.billed, entry.event.meter)
            case Intent() if accepted:
                if offset in self._inside.intents:
                    self._report.intents += 1
                    self._evidence.saw({event.billed for event in entry.meter_events if not event.is_for_nobody})
                    self._compare(offset, entry, waiting)
                    self._report.problems.add_all(told_wrongly)
                    self._check_links(offset, entry)
            case Intent():
                self._report.intents_skipped += 1
            case LedgerClosing() | LedgerAdoption():
                if accepted:
                    self._note_handover(offset, entry)

    def finish(self) -> None:
        """After the last entry and the last tally: what is left is on its way."""
        for (_, meter, _), quantity in self._uncovered.items():
            self._report.meter(meter).uncovered += quantity
        self._readings.finish()
        for offset, entry in self.ledger.open.items():
            if (offset if isinstance(entry.entry, Intent) else entry.entry.intent) not in self._inside.intents:
                continue
            self._report.open_meter_events += len(entry.open)
            if isinstance(entry.entry, Intent):
                for index in entry.open:
                    event = entry.entry.meter_events[index]
                    self._report.told(event).open += weight(event)
        for target in self._history.targets.values():
            if target.intent in self._inside.intents:
                self._finish_target(target)
        for corrected in self._history.corrections.values():
            if self._has(corrected):
                self._finish_correction(corrected)
        self._report.evidence.add(self._evidence.totals())

    def _has(self, corrected: Corrected) -> bool:
        """Whether what it corrects is verified; the intent of what is moved is in another partition."""
        if corrected.correction.kind is CorrectionKind.MOVE:
            return self._inside.times.holds(corrected.log_time_ms)
        return corrected.correction.intent in self._inside.intents

    def _note_handover(self, offset: int, entry: Handover) -> None:
        kind, cluster = ("closing", entry.successor) if isinstance(entry, LedgerClosing) else ("adoption", entry.predecessor)
        doubt = (entry.in_doubt, entry.uncounted) if isinstance(entry, LedgerAdoption) else ((), 0)
        self._report.handovers.append(AcceptedHandover(self._partition, offset, kind, cluster, *doubt, entry.reason, entry.by, entry.at_ms))

    def _check_correction(self, offset: int, correction: Correction) -> None:
        """What its writer had to see before it wrote, because readers that begin at a checkpoint cannot."""
        if correction.kind is CorrectionKind.MOVE:
            return  # its meter event is in another partition: the report compares both
        where = f"correction {offset} of partition {self._partition} ({correction.kind} of {correction.target_identifier})"
        target = self._history.targets.get((correction.intent, correction.index))
        if target is None or target.identifier != correction.target_identifier:
            self._report.problems.add(f"{where} names a meter event that no accepted intent has")
        elif target.event != correction.event:
            self._report.problems.add(f"{where} repeats its meter event wrongly")
        else:
            reason = objection(target, correction.kind)
            if reason is not None:
                self._report.problems.add(f"{where} was not allowed: {reason}")

    def _finish_target(self, target: Target) -> None:
        totals, fate, units = self._report.told(target.event), target.fate, weight(target.event)
        if fate.resolution is not None:
            if fate.resolution.resolved is Resolved.AT_STRIPE:
                totals.proved += units if fate.outcome is Outcome.PARKED else 0
            elif fate.outcome in TAKEN:
                totals.unrecorded += units
            if fate.resolution.resolved is Resolved.MOVED:
                self._report.moves.said[target.identifier] = replace(target.event, customer=fate.resolution.to_customer, linked="")
            return
        if not fate.reported or fate.outcome not in TAKEN:
            return
        if fate.at_stripe is None:
            self._report.problems.add(
                f"{target.identifier} may have reached Stripe more than once, and an error report names it: Stripe may have it or not"
            )
            return
        if target.event.reading is None or not self._readings.has_later(target.event):
            totals.unrecorded += units
        for corrected in target.corrections:
            if corrected.fate.at_stripe and corrected.correction.kind is CorrectionKind.NEGATE:
                self._report.problems.add(
                    f"correction {corrected.offset} of partition {self._partition} takes back {target.identifier}, which was not recorded"
                )

    def _finish_correction(self, corrected: Corrected) -> None:
        correction, fate = corrected.correction, corrected.fate
        totals, units = self._report.told(correction.event), abs(correction.event.value)
        if correction.kind is CorrectionKind.MOVE and fate.at_stripe is not False:
            self._report.moves.billed.append((correction.target_identifier, correction.event))
        moved = correction.kind is CorrectionKind.MOVE
        target = None if moved else self._history.targets.get((correction.intent, correction.index))
        if fate.outcome is None:
            totals.correcting += units
        elif fate.at_stripe is None:
            self._report.problems.add(
                f"nobody knows whether Stripe has correction {corrected.offset} of partition {self._partition} ({correction.kind}):"
                " taximeter correct --resend --code parked --plan"
            )
        elif fate.at_stripe and not (correction.kind is CorrectionKind.CANCEL and target is not None and target.fate.at_stripe is False):
            # What was not recorded is not cancelled: Stripe has nothing less.
            totals.corrected[correction.kind] += units

    def _note_resolution(self, resolution: Resolution, *, accepted: bool) -> None:
        target = self._history.targets.get((resolution.intent, resolution.index))
        where = f"resolution {resolution.offset} of partition {self._partition} ({resolution.resolved} of {resolution.target_identifier})"
        if not accepted:
            return
        corrected = self._history.corrections.get(resolution.intent)
        if target is not None and target.identifier == resolution.target_identifier:
            sent, value, fate = target.event, target.event.value, target.fate
        elif corrected is not None and corrected.correction.identifier() == resolution.target_identifier:
            sent, value, fate = corrected.correction.event, corrected.value, corrected.fate
        else:
            self._report.problems.add(f"{where} names a meter event that no accepted intent has")
            return
        self._evidence.mended(sent.billed, sent.meter)
        if not self._rests.supports(resolution, sent, value, fate):
            self._report.problems.add(f"{where} rests on no comparison with Stripe's sums that is in the ledger before it")

    def _note_refusals(self, rejection: Rejection) -> None:
        """Count what the report names, and what it only counts. The same report may have been written more than once."""
        report = rejection.event_id, rejection.code
        # Stripe has what it refuses as a duplicate.
        if report in self._reports or "duplicate" in rejection.code or not self._inside.times.holds(rejection.at_ms):
            return
        self._reports.add(report)
        self._report.refusals.named += len(rejection.identifiers)
        if rejection.unnamed:
            self._report.refusals.add_report(rejection)

    def _compare(self, offset: int, intent: Intent, waiting: Sequence[MeterEvent]) -> None:
        told: Counter[UsageKey] = Counter()
        for event in (*intent.meter_events, *intent.unbillable, *intent.carried):
            told[_key(event)] += event.units
        for event in waiting:
            told[_key(event)] -= event.units
            self._report.told(event).carried -= weight(event)
        for event in intent.carried:
            self._report.told(event).carried += weight(event)
        for event in intent.unbillable:
            self._report.told(event).outcomes[Outcome.UNBILLABLE] += weight(event)
        for key in told.keys() | self._uncovered.keys():
            if told[key] != self._uncovered[key]:
                customer, meter, _ = key
                where = f"intent {offset} of partition {self._partition} (tallies {intent.link.start} to {intent.link.end - 1})"
                self._report.problems.add(f"{where} tells {told[key]} units of {meter} for {customer}, the tallies hold {self._uncovered[key]}")
        self._uncovered.clear()

    def _told_wrongly(self, offset: int, entry: Entry, waiting: Sequence[MeterEvent]) -> Problems:
        """Of an intent that is to be folded next and is accepted: what is wrong with its latest values."""
        found = Problems()
        if isinstance(entry, Intent) and self.ledger.continues(entry) and offset in self._inside.intents:
            where = f"intent {offset} of partition {self._partition} (tallies {entry.link.start} to {entry.link.end - 1})"
            for phrase in self._readings.compare(entry, waiting, self.ledger.told):
                found.add(f"{where} {phrase}")
        return found

    def _check_links(self, offset: int, intent: Intent) -> None:
        for customer, billed in sorted({(event.customer, event.linked) for event in intent.meter_events if event.linked}):
            if not self._links.allows(customer, billed):
                self._report.problems.add(f"intent {offset} of partition {self._partition} bills {billed} for {customer}, as no link says")

    def _count_outcomes(self, receipt: Receipt) -> None:
        """Note the units of each meter event when its first final outcome is read; what others say of it later changes nothing."""
        for settlement in self.ledger.news(receipt):
            planned = self.ledger.open[settlement.intent].entry
            if isinstance(planned, Intent) and settlement.intent in self._inside.intents:
                event = planned.meter_events[settlement.index]
                if event.is_for_nobody and settlement.outcome is not Outcome.REJECTED:
                    self._report.problems.add(f"{planned.identifier(settlement.index)} is for nobody, and {settlement.outcome} all the same")
                totals = self._report.told(event)
                if event.reading is not None:
                    self._readings.settle(event, settlement.outcome)
                if settlement.outcome is Outcome.POSTPONED:
                    totals.carried += weight(event)
                else:
                    totals.outcomes[settlement.outcome] += weight(event)


def covered_tallies(intent: Intent, tallies_end: int) -> int:
    """The offset before which all tallies must be added; raises ChainBroken if the topic does not hold them."""
    if intent.link.end > tallies_end:
        raise ChainBroken(f"an intent covers tallies up to {intent.link.end}, the topic ends at {tallies_end}: it was cut or created again")
    return intent.link.end


def _key(event: MeterEvent) -> UsageKey:
    return event.customer, event.meter, event.dimensions
