"""The verdict of a verification: one word, and every term that keeps it from EXACT, with what mends it. Pure."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

from audit.verification.plan_terms import plan_terms
from audit.verification.report import MeterTotals, Report
from audit.verification.term import ProofWord, Term
from metering.records.ledger_records import Outcome

_DEAD_LETTERS: Final = "taximeter deadletters list"
_REFUSED: Final = "taximeter rejected list; taximeter correct --resend --plan"


@dataclass(frozen=True, slots=True)
class ProofVerdict:
    """`terms` by the word that each of them alone would make the verdict; the worst of them is the verdict's word."""

    terms: Mapping[ProofWord, tuple[Term, ...]]

    @property
    def word(self) -> ProofWord:
        """The worst."""
        return next(word for word in reversed(ProofWord) if word is ProofWord.EXACT or self.terms.get(word))

    @property
    def text(self) -> str:
        """One line: the word, and what of."""
        shorts = [term.short for term in self.terms.get(self.word, ())]
        match self.word:
            case ProofWord.EXACT:
                return "EXACT"
            case ProofWord.EXACT_BUT:
                return f"EXACT BUT {', '.join(shorts).upper()}"
            case _:
                return f"{self.word.value}: {', '.join(shorts)}"

    @property
    def all_terms(self) -> Iterator[Term]:
        """The worst first."""
        return (term for word in reversed(ProofWord) for term in self.terms.get(word, ()))

    def as_json(self) -> dict[str, Any]:
        """For `--json`."""
        return {
            "verdict": self.text,
            "word": self.word.value,
            "terms": {word.name.lower(): [term.as_json() for term in terms] for word, terms in self.terms.items()},
        }


def verdict_of(report: Report) -> ProofVerdict:
    """What the report comes to."""
    # Where every ledger is closed, nothing that waits here is on its way from here.
    pending = [] if report.is_left else [*_pending(report)]
    found = {ProofWord.NOT_EXACT: [*_not_exact(report)], ProofWord.PENDING: pending, ProofWord.EXACT_BUT: [*_but(report)]}
    for word, term in plan_terms(report.plans):
        found[word].append(term)
    return ProofVerdict({word: tuple(terms) for word, terms in found.items()})


def _not_exact(report: Report) -> Iterator[Term]:
    if report.problems.count:
        count = report.problems.count
        yield Term("problems", count, _of(count, "problem"), f"{_of(count, 'thing')} below do not hold", "docs/verdicts.md")
    for name, totals in sorted(report.meters.items()):
        if totals.unequal:
            what = f"{abs(totals.unequal):,} units of {name} {'have no outcome' if totals.unequal > 0 else 'were never counted'}"
            yield Term("unequal", abs(totals.unequal), what, f"{what}: counted is not reported, not billed, waiting and open", "docs/verdicts.md")
    yield from _missing(report)
    yield from _not_taken_back(report)
    if report.evidence.differing:
        cells = len(report.evidence.differing) + report.evidence.unkept
        what = f"{_of(cells, 'cell')} in which Stripe had other sums at the last comparisons"
        text = f"{what}, a cell being a customer, a meter and an hour: see `taximeter reconcile`"
        yield Term("differs_by_evidence", cells, what, text, "taximeter reconcile --all --plan DIR", dict(report.evidence.units))
    unnamed = report.refusals.unnamed.total()
    if unnamed:
        codes = ", ".join(f"{count:,} {code}" for code, count in report.refusals.unnamed.most_common())
        yield Term(
            "unnamed_refusals",
            unnamed,
            f"{_of(unnamed, 'refusal')} that Stripe counted and did not name",
            f"{_of(unnamed, 'refusal')} that Stripe counted and did not name ({codes}): which meter events it did not record is not known",
            "taximeter reconcile --all --plan DIR",
        )
    lost = [(redrive, missing) for redrive, missing in report.unfinished_redrives if redrive.ended and not report.uncounted_records]
    if lost:
        missing = sum(count for _, count in lost)
        what = f"{_of(missing, 'redriven event')} missing"
        yield Term("redrive_lost", missing, what, f"{what}: redrives say that they wrote them, and no tally has them", "docs/verdicts.md")
    if report.unread_partitions:
        records = report.unread_partitions.total()
        places = ", ".join(map(str, sorted(report.unread_partitions)))
        what = f"{_of(len(report.unread_partitions), 'partition')} that nobody counts"
        yield Term(
            "unread_partitions",
            records,
            what,
            f"{what} (partition {places}) hold {_of(records, 'record')}: the topic was given more partitions than the settings say",
            "docs/runbooks/TaximeterPartitionStopped.md",
        )


def _missing(report: Report) -> Iterator[Term]:
    units = {name: totals.missing for name, totals in sorted(report.meters.items()) if totals.missing > 0}
    if not units:
        return
    parts = ", ".join(f"{name}: {_why_missing(report.meters[name])}" for name in units)
    yield Term(
        "missing_at_stripe", sum(units.values()), f"{_units(units)} that Stripe does not have", f"Stripe does not have {parts}", _REFUSED, units
    )


def _not_taken_back(report: Report) -> Iterator[Term]:
    back = {name: totals.back for name, totals in sorted(report.meters.items()) if totals.back is not None}
    units = {name: totals.missing for name, totals in back.items() if totals.missing > 0}
    if units:
        what = f"{_units(units)} that Stripe did not take back"
        parts = ", ".join(f"{name}: {_why_missing(back[name])}" for name in units)
        yield Term("not_taken_back", sum(units.values()), what, f"Stripe did not take back {parts}, which plans took out", _REFUSED, units)


def _why_missing(totals: MeterTotals) -> str:
    parts = [f"{units:,} {outcome}" for outcome, units in sorted(totals.outcomes.items()) if units and outcome in {Outcome.REJECTED, Outcome.PARKED}]
    parts += [f"{totals.unrecorded:,} accepted and not recorded"] if totals.unrecorded else []
    parts += [f"- {totals.proved:,} parked that Stripe has"] if totals.proved else []
    again = totals.missing - totals.unrecorded + totals.proved - sum(totals.outcomes[outcome] for outcome in (Outcome.REJECTED, Outcome.PARKED))
    return f"{' + '.join(parts)}{f' - {-again:,} sent again' if again else ''} units"


def _pending(report: Report) -> Iterator[Term]:
    if report.uncounted_records:
        what = f"{_of(report.uncounted_records, 'record')} to count"
        yield Term("uncounted", report.uncounted_records, what, what, "taximeter status")
    for each in report.open_transactions:
        yield Term(
            "open_transaction",
            each.records,
            f"an open transaction at offset {each.offset} of partition {each.partition}",
            f"an open transaction of another producer at offset {each.offset} of partition {each.partition} holds back {_of(each.records, 'record')}",
            "docs/runbooks/TaximeterTransactionOpen.md",
        )
    unfinished = [(redrive, missing) for redrive, missing in report.unfinished_redrives if not redrive.ended or report.uncounted_records]
    if unfinished:
        missing = sum(count for _, count in unfinished)
        what = f"{_of(missing, 'redriven event')} to count"
        yield Term("redrive", missing, what, f"{what}, of {_of(len(unfinished), 'redrive')}", "taximeter deadletters redrive")
    uncovered = {name: totals.uncovered for name, totals in sorted(report.meters.items()) if totals.uncovered}
    if uncovered:
        yield Term(
            "uncovered",
            sum(map(abs, uncovered.values())),
            f"{_units(uncovered)} to report",
            f"{_units(uncovered)} that no intent covers yet",
            "taximeter status",
            uncovered,
        )
    unbilled = report.moves.unbilled
    if unbilled:
        units: Counter[str] = Counter()
        for event in unbilled.values():
            units[event.meter] += event.value
        what = f"{_units(units)} to be billed to another customer"
        yield Term("moving", units.total(), what, f"{what}, as was decided", "taximeter correct --to-customer CUSTOMER, as before", units)
    if report.evidence.mended:
        what = f"{_of(report.evidence.mended, 'corrected cell')} to compare with Stripe again"
        yield Term("mended", report.evidence.mended, what, what, "taximeter reconcile --all")
    carried = _of_both_signs(report, lambda totals: max(0, totals.carried))
    if carried:
        yield Term(
            "carried",
            sum(map(abs, carried.values())),
            f"{_units(carried)} held",
            f"{_units(carried)} wait until Stripe takes their meter again, or their customer is linked",
            "taximeter customers list --held; taximeter stripe doctor",
            carried,
        )
    open_units = _of_both_signs(report, lambda totals: totals.open)
    correcting = _of_both_signs(report, lambda totals: totals.correcting)
    if report.open_meter_events:
        what = f"{_of(report.open_meter_events, 'meter event')} open"
        said = [f"{_units(open_units)} told"] if open_units else []
        said += [f"{_units(correcting)} in corrections"] if correcting else []
        yield Term(
            "open",
            report.open_meter_events,
            f"{what}{f' ({_units(open_units or correcting)})' if said else ''}",
            f"{what}, without an outcome: {', '.join(said)}",
            "taximeter status",
            open_units,
        )


def _but(report: Report) -> Iterator[Term]:
    aside = report.set_aside
    if aside:
        units: dict[str, int] = {}
        for reason in aside:
            for meter, quantity in report.aside_of(reason).units.items():
                units[meter] = units.get(meter, 0) + quantity
        units = {meter: quantity for meter, quantity in units.items() if quantity}
        known = f"; those that can be read are {_units(units)}" if units else ""
        what = f"{_of(aside.total(), 'event')} set aside"
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in aside.most_common())
        yield Term("set_aside", aside.total(), what, f"{what}: {reasons}{known}", _DEAD_LETTERS, units)
    if report.unknown_usage:
        count = report.unknown_usage.total()
        fields = ", ".join(f"{units:,} of {name}" for name, units in report.unknown_usage.most_common(5))
        text = f"{_of(count, 'unit')} of usage fields that the catalogue did not know, in events that count: {fields}"
        yield Term("unknown_usage", count, f"{_of(count, 'unit')} of unknown fields", text, "docs/runbooks/TaximeterUnknownUsage.md")
    lost = sum(loss.end - loss.start for loss in report.losses)
    if lost:
        what = f"{_of(lost, 'record')} accepted as lost"
        yield Term("lost", lost, what, f"{what}, as it says below", "docs/runbooks/TaximeterPartitionStopped.md")
    elif report.losses:
        what = "ids accepted as not known"
        yield Term("ids_not_known", len(report.losses), what, f"{what}, as it says below", "docs/runbooks/TaximeterPartitionStopped.md")
    if report.steps:
        records = sum(step.end - step.start for step in report.steps)
        events = sum(step.events or 0 for step in report.steps)
        what = f"{_of(records, 'record')} stepped over"
        unread = " and what could not be read" if any(step.events is None for step in report.steps) else ""
        text = f"{what}, with {_of(events, 'event')}{unread}, as it says below"
        yield Term("stepped_over", records, what, text, "docs/runbooks/TaximeterPartitionStopped.md")
    yield from _foreign(report)
    yield from _damaged(report)
    yield from _moved(report)
    unbillable = {name: totals.unbillable for name, totals in sorted(report.meters.items()) if totals.unbillable}
    if unbillable:
        count = sum(unbillable.values())
        text = f"{_units(unbillable)} are older than Stripe takes"
        yield Term("unbillable", count, f"{_of(count, 'unit')} too old for Stripe", text, "docs/runbooks/TaximeterUsageUnbillable.md", unbillable)
    owed = {name: totals.back.unbillable for name, totals in sorted(report.meters.items()) if totals.back is not None and totals.back.unbillable}
    if owed:
        count = sum(owed.values())
        text = f"{_units(owed)} were taken out, and are older than Stripe takes: what was billed for them is owed to the customers, by credit notes"
        yield Term("owed", count, f"{_of(count, 'unit')} too old to take back", text, "docs/runbooks/TaximeterUsageUnbillable.md", owed)
    gone = sum(line.dropped + line.abandoned for line in report.emitters)
    if gone:
        what = f"{_of(gone, 'event')} lost by their emitters"
        yield Term("lost_by_emitters", gone, what, f"{what}, as they reported", "docs/runbooks/TaximeterEmitterLosesEvents.md")
    if report.underived.tallies:
        units = {meter: quantity for meter, quantity in sorted(report.underived.units.items()) if quantity}
        what = f"{report.underived.tallies:,} {'tally' if report.underived.tallies == 1 else 'tallies'} not counted again"
        text = f"{what} ({_units(units)}): their records were deleted by retention, or they are of an older format"
        yield Term("underived", report.underived.tallies, what, text, "taximeter verify --from TIME", units)


def _foreign(report: Report) -> Iterator[Term]:
    letters = report.foreign_records["deadletters"]
    if letters:
        what = f"{_of(letters, 'foreign record')} in dead letters"
        text = f"{what} passed over: whether they were meant as usage is not known"
        yield Term("foreign_letters", letters, what, text, "docs/runbooks/TaximeterForeignRecords.md")
    count = report.foreign_records.total() - letters + len(report.passed_over)
    if count:
        what = f"{_of(count, 'foreign record')} in tallies or ledger"
        text = f"{what} passed over: whether they were meant as usage is not known"
        yield Term("foreign", count, what, text, "docs/runbooks/TaximeterForeignRecords.md")


def _damaged(report: Report) -> Iterator[Term]:
    if report.passed_batches:
        offsets = sum(each.end - each.start for each in report.passed_batches)
        what = f"{_of(offsets, 'offset')} of tallies or ledger passed over as damaged"
        text = f"{what}, as it says below: whether anything of Taximeter's was in them is not known"
        yield Term("damaged", offsets, what, text, "docs/runbooks/TaximeterPartitionStopped.md")


def _moved(report: Report) -> Iterator[Term]:
    if report.closed:
        clusters = ", ".join(sorted({each.cluster for each in report.closed}))
        what = f"{_of(len(report.closed), 'partition')} closed"
        text = f"{what}: what waits here is reported in the cluster {clusters}, where the proof goes on"
        yield Term("closed", len(report.closed), what, text, "docs/disaster-recovery.md")
    doubtful = [each for each in report.handovers if each.in_doubt or each.uncounted]
    if doubtful:
        units: dict[str, int] = {}
        for meter, quantity in (pair for each in doubtful for pair in each.in_doubt):
            units[meter] = units.get(meter, 0) + quantity
        records = sum(each.uncounted for each in doubtful)
        what = f"{_units(units)} and {_of(records, 'record')} in doubt"
        text = f"{what}: a cluster that was lost without a closing may have told Stripe of them, too"
        yield Term("in_doubt", sum(units.values()) + records, what, text, "taximeter verify --with-stripe; docs/disaster-recovery.md", units)


def _of_both_signs(report: Report, units_of: Callable[[MeterTotals], int]) -> dict[str, int]:
    """By meter, these units of meter events above zero, less those of meter events below zero; without meters that have neither."""
    found: dict[str, int] = {}
    for name, totals in sorted(report.meters.items()):
        more, less = units_of(totals), 0 if totals.back is None else units_of(totals.back)
        if more or less:
            found[name] = more - less
    return found


def _of(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def _units(units: Mapping[str, int]) -> str:
    return " + ".join(f"{quantity:,} units of {name}" for name, quantity in units.items()) or "0 units"
