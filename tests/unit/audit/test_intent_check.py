"""What verification makes of corrections: those that are right change what is billed, and those that are not are named."""

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest

from audit.recount.written_links import WrittenLinks
from audit.verification.intent_check import IntentCheck
from audit.verification.report import Report
from audit.verification.span import EVERYTHING, Inside, TimeRange
from audit.verification.verdict import verdict_of
from metering.folds.ledger import Ledger
from metering.records.chain import ChainLink
from metering.records.ledger_records import BILLED_TO_NOBODY, CorrectionKind, Entry, Intent, Outcome, Rejection
from metering.records.notes.customer_link import CustomerLink, encode_link
from metering.records.notes.evidence import CellVerdict, Evidence, Finding
from metering.records.notes.resolution import Resolution, Resolved, SumRead
from metering.records.tally import EventCounts, RecordCounts, Tally, TallyRow
from tests.support import metering_corrections
from tests.support.metering_corrections import EVENT, correction, receipt, settled
from tests.support.metering_tallies import an_adjustment

MISSING = "NOT EXACT: 5 units of tokens that Stripe does not have"
CANCEL, NEGATE, RESEND = CorrectionKind.CANCEL, CorrectionKind.NEGATE, CorrectionKind.RESEND


READ = SumRead(9_000, 5, 0)
SHOWS_IT = Finding("cus_1", "tokens", 0, 3_600_000, CellVerdict.SETTLED, 0, 5, 0, 9_000, 9_000, doubts=1, taken=(5,))
LACKS_IT = replace(SHOWS_IT, stripe=0, taken=(), reads=3)
LOST_IT = replace(SHOWS_IT, verdict=CellVerdict.MISSING, ours=5, stripe=0, difference=-5, doubts=0, taken=None, reads=2, confirmed=True)


LINKS = WrittenLinks()
LINKS.take(encode_link(CustomerLink(EVENT.customer, "cus_A", "", "", 0)))
LINKS.take(encode_link(CustomerLink(EVENT.customer, "", "", "", 0)))
LINKS.take(b"\xff")


def ledger_of(outcome: Outcome, *kinds: CorrectionKind, settle: Outcome | None = Outcome.ACCEPTED, **changes: Any) -> list[Entry]:
    """One settled meter event, and corrections of it by somebody who asks nobody, each settled so."""
    ledger, first = settled(outcome)
    entries: list[Entry] = [first, receipt(ledger, (0, 0, outcome))]
    for kind in kinds:
        at = len(entries)
        entries.append(correction(ledger, kind, place=first, at=0, **changes))
        ledger.fold(at, 3, entries[-1])
        if settle is not None:
            entries += [receipt(ledger), receipt(ledger, (at, 0, settle))]
            for offset in (at + 1, at + 2):
                ledger.fold(offset, 4, entries[offset])
    return entries


def report_of(entries: list[Entry], times: TimeRange = EVERYTHING) -> Report:
    report = Report()
    check = IntentCheck(0, report, Inside(0, 1, times), LINKS)
    rows = [TallyRow(EVENT.customer, EVENT.meter, EVENT.dimensions, EVENT.time_ms, EVENT.value, 1)]
    for offset, entry in enumerate(entries):
        check.foresee(offset, entry)
    check.add(Tally("c", 0, ChainLink(0, 1, -1), -1, "a", "k", 0, RecordCounts(singles=1), EventCounts(counted=1), rows))
    report.meter(EVENT.meter).counted += EVENT.value
    for offset, entry in enumerate(entries):
        check.fold(offset, offset, entry)
    check.finish()
    return report


def report_of_less(outcome: Outcome, *kinds: CorrectionKind) -> Report:
    """Of a meter event below zero, which a plan made, and of a part of it that was counted elsewhere."""
    less = replace(EVENT, value=-EVENT.value)
    with patch.object(metering_corrections, "EVENT", less):
        entries = ledger_of(outcome, *kinds)
    report = Report()
    check = IntentCheck(0, report, Inside(0, 1), LINKS)
    for offset, entry in enumerate(entries):
        check.foresee(offset, entry)
    row = TallyRow(less.customer, less.meter, less.dimensions, less.time_ms, less.value, -1)
    check.add(an_adjustment([row], offset=1, end=1))
    report.meter(less.meter).adjusted += less.value
    for offset, entry in enumerate(entries):
        check.fold(offset, offset, entry)
    check.finish()
    return report


@pytest.mark.parametrize(
    ("outcome", "kinds", "verdict", "billed"),
    [
        (Outcome.ACCEPTED, (), "EXACT", -5),
        (Outcome.DUPLICATE, (), "EXACT", -5),
        (Outcome.ACCEPTED, (NEGATE,), "EXACT", 0),
        (Outcome.ACCEPTED, (CANCEL,), "EXACT", 0),
        (Outcome.REJECTED, (), "NOT EXACT: 5 units of tokens that Stripe did not take back", 0),
        (Outcome.PARKED, (), "NOT EXACT: 5 units of tokens that Stripe did not take back", 0),
        (Outcome.REJECTED, (RESEND,), "EXACT", -5),
    ],
)
def test_a_meter_event_below_zero_is_corrected_like_one_above(outcome: Outcome, kinds: tuple[CorrectionKind, ...], verdict: str, billed: int) -> None:
    report = report_of_less(outcome, *kinds)
    assert (verdict_of(report).text, report.meters["tokens"].billed, list(report.problems.shown)) == (verdict, billed, [])
    both = Report()
    both.add(report)
    both.add(report)
    assert (both.meters["tokens"].billed, both.meters["tokens"].unequal) == (2 * billed, 0)


def error_report(*identifiers: str) -> Rejection:
    return Rejection(0, "webhooks", "evt_1", "tokens", "code", "message", 1, identifiers, 0, 1, 2)


@pytest.mark.parametrize(
    ("outcome", "kinds", "verdict", "billed"),
    [
        (Outcome.ACCEPTED, (), "EXACT", 5),
        (Outcome.ACCEPTED, (CANCEL,), "EXACT", 0),
        (Outcome.ACCEPTED, (NEGATE,), "EXACT", 0),
        (Outcome.REJECTED, (), MISSING, 0),
        (Outcome.REJECTED, (RESEND,), "EXACT", 5),
    ],
)
def test_what_is_billed_is_what_was_reported_less_taken_back_plus_sent_again(
    outcome: Outcome, kinds: tuple[CorrectionKind, ...], verdict: str, billed: int
) -> None:
    report = report_of(ledger_of(outcome, *kinds))
    assert (verdict_of(report).text, report.meters["tokens"].billed, report.corrections) == (verdict, billed, len(kinds))


def test_an_open_correction_is_pending_and_a_parked_one_is_a_mismatch() -> None:
    assert verdict_of(report_of(ledger_of(Outcome.ACCEPTED, NEGATE, settle=None))).text == "PENDING: 1 meter event open (5 units of tokens)"
    report = report_of(ledger_of(Outcome.ACCEPTED, NEGATE, settle=Outcome.PARKED))
    assert verdict_of(report).text == "NOT EXACT: 1 problem"
    assert "nobody knows whether Stripe has correction 2" in report.problems.shown[0]


@pytest.mark.parametrize(
    ("resolved", "found", "verdict", "billed"),
    [
        (Resolved.AT_STRIPE, replace(SHOWS_IT, ours=5, stripe=0, taken=(-5,)), "EXACT", 0),
        (Resolved.NOT_AT_STRIPE, replace(SHOWS_IT, ours=5, stripe=5, taken=()), "EXACT", 5),
    ],
)
def test_what_stripes_sums_show_of_a_parked_correction_settles_it(resolved: Resolved, found: Finding, verdict: str, billed: int) -> None:
    entries = [*ledger_of(Outcome.ACCEPTED, NEGATE, settle=Outcome.PARKED), Evidence(0, "reporter", 9, [found])]
    reads = (SumRead(9_000, found.stripe or 0, 5),)
    said = Resolution("c", 0, len(entries), "operator", 2, 0, "tm-c-0-c2", resolved, "", reads, "the sums show it", "ann", 6)
    report = report_of([*entries, said])
    assert (verdict_of(report).text, report.meters["tokens"].billed, report.problems.shown) == (verdict, billed, [])
    assert "rests on no comparison" in report_of([*entries, replace(said, reads=())]).problems.shown[0]


def test_a_correction_that_stripe_refused_changes_nothing_and_makes_room_for_another() -> None:
    report = report_of(ledger_of(Outcome.ACCEPTED, CANCEL, settle=Outcome.REJECTED))
    assert (verdict_of(report).text, report.meters["tokens"].billed) == ("EXACT", 5)


@pytest.mark.parametrize(
    ("outcome", "kinds", "words"),
    [
        (Outcome.ACCEPTED, (NEGATE, NEGATE), "corrected already"),
        (Outcome.ACCEPTED, (RESEND,), "billed twice"),
        (Outcome.REJECTED, (CANCEL,), "nothing to take back"),
        (Outcome.PARKED, (RESEND,), "nobody knows"),
    ],
)
def test_a_correction_that_was_not_allowed_is_named(outcome: Outcome, kinds: tuple[CorrectionKind, ...], words: str) -> None:
    report = report_of(ledger_of(outcome, *kinds))
    assert verdict_of(report).text.startswith("NOT EXACT")
    assert any(words in problem for problem in report.problems.shown), report.problems.shown


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"intent": 9}, "no accepted intent has"),
        ({"index": 1}, "no accepted intent has"),
        ({"target_identifier": "tm-c-0-0-2-1"}, "no accepted intent has"),
        ({"event": replace(EVENT, value=6)}, "repeats its meter event wrongly"),
    ],
)
def test_a_correction_of_something_else_is_named(changes: dict[str, Any], words: str) -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    report = report_of([*ledger_of(Outcome.ACCEPTED), replace(correction(ledger, NEGATE, place=first, at=0), **changes)])
    assert words in report.problems.shown[0]


def test_what_stripe_did_not_record_is_missing_until_it_is_sent_again() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    entries = [*ledger_of(Outcome.ACCEPTED), error_report(first.identifier(0))]
    assert (verdict_of(report_of(entries)).text, report_of(entries).meters["tokens"].billed) == (
        MISSING,
        0,
    )
    ledger.fold(2, 3, entries[2])
    entries.append(correction(ledger, RESEND, place=first, at=0))
    ledger.fold(3, 3, entries[3])
    entries += [receipt(ledger), receipt(ledger, (3, 0, Outcome.ACCEPTED))]
    assert (verdict_of(report_of(entries)).text, report_of(entries).meters["tokens"].billed) == ("EXACT", 5)
    entries.append(error_report("tm-c-0-c3"))
    assert (verdict_of(report_of(entries)).text, report_of(entries).meters["tokens"].billed) == (
        MISSING,
        0,
    )


def test_what_stripe_counts_and_does_not_name_is_never_exact() -> None:
    """A report counts three refusals and names one, which is sent again; it is written twice, as may happen."""
    ledger, first = settled(Outcome.ACCEPTED)
    told = replace(error_report(first.identifier(0)), error_count=3)
    entries: list[Entry] = [*ledger_of(Outcome.ACCEPTED), told, told]
    for offset in (2, 3):
        ledger.fold(offset, 3, told)
    entries.append(correction(ledger, RESEND, place=first, at=0))
    ledger.fold(4, 3, entries[4])
    entries += [receipt(ledger), receipt(ledger, (4, 0, Outcome.ACCEPTED))]
    report = report_of(entries)
    assert report.problems.shown == []
    assert (report.refusals.named, report.refusals.unnamed) == (1, {"code": 2})
    assert verdict_of(report).text == "NOT EXACT: 2 refusals that Stripe counted and did not name"


def test_stripe_has_what_it_refuses_as_a_duplicate() -> None:
    twice = replace(error_report(), code="meter_event_duplicate", error_count=3)
    assert verdict_of(report_of([*ledger_of(Outcome.ACCEPTED), twice])).text == "EXACT"


def decided(outcome: Outcome, resolved: Resolved, reads: tuple[SumRead, ...], *evidence: Finding, **changes: Any) -> Report:
    """What was settled so is decided so, behind this evidence."""
    entries: list[Entry] = ledger_of(outcome)
    if evidence:
        entries.append(Evidence(0, "reporter", 9, evidence))
    first = entries[0]
    assert isinstance(first, Intent)
    said = Resolution("c", 0, len(entries), "operator", 0, 0, first.identifier(0), resolved, "", reads, "the sums show it", "ann", 6)
    return report_of([*entries, replace(said, **changes)])


def test_stripes_sums_decide_what_was_parked() -> None:
    found = decided(Outcome.PARKED, Resolved.AT_STRIPE, (READ,), SHOWS_IT)
    assert (found.meter("tokens").billed, found.meter("tokens").missing, verdict_of(found).text) == (5, 0, "EXACT")
    found = decided(Outcome.PARKED, Resolved.NOT_AT_STRIPE, (READ._replace(stripe=0),), LACKS_IT)
    assert (found.meter("tokens").billed, verdict_of(found).text) == (0, MISSING)


def test_what_stripe_lost_is_missing() -> None:
    lost = (SumRead(9_000, 0, 5),)
    found = decided(Outcome.ACCEPTED, Resolved.NOT_AT_STRIPE, lost, LOST_IT)
    assert (found.problems.shown, found.meter("tokens").missing) == ([], 5)
    nothing = decided(Outcome.ACCEPTED, Resolved.NOT_AT_STRIPE, lost, LOST_IT, target_identifier="tm-c-0-9-9-0")
    assert "names a meter event that no accepted intent has" in nothing.problems.shown[0]


@pytest.mark.parametrize(
    ("outcome", "resolved", "reads", "evidence"),
    [
        (Outcome.PARKED, Resolved.AT_STRIPE, (), [SHOWS_IT]),
        (Outcome.PARKED, Resolved.AT_STRIPE, (READ,), []),
        (Outcome.PARKED, Resolved.AT_STRIPE, (READ._replace(stripe=4),), [SHOWS_IT]),
        (Outcome.PARKED, Resolved.AT_STRIPE, (READ,), [replace(SHOWS_IT, customer="cus_2")]),
        (Outcome.PARKED, Resolved.AT_STRIPE, (READ,), [replace(SHOWS_IT, start_ms=3_600_000, end_ms=7_200_000)]),
        (Outcome.PARKED, Resolved.AT_STRIPE, (READ,), [replace(SHOWS_IT, taken=(4,))]),
        (Outcome.PARKED, Resolved.NOT_AT_STRIPE, (READ,), [SHOWS_IT]),
        (Outcome.ACCEPTED, Resolved.NOT_AT_STRIPE, (SumRead(9_000, 0, 5),), [replace(LOST_IT, confirmed=False)]),
        (Outcome.ACCEPTED, Resolved.NOT_AT_STRIPE, (SumRead(9_000, 0, 5),), [replace(LOST_IT, verdict=CellVerdict.SETTLED)]),
        (Outcome.ACCEPTED, Resolved.MOVED, (), []),
    ],
)
def test_a_decision_that_rests_on_nothing_is_a_problem(
    outcome: Outcome, resolved: Resolved, reads: tuple[SumRead, ...], evidence: list[Finding]
) -> None:
    found = decided(outcome, resolved, reads, *evidence)
    assert "rests on no comparison" in found.problems.shown[0]


def test_what_was_found_missing_may_be_moved_without_another_read() -> None:
    entries: list[Entry] = [*ledger_of(Outcome.ACCEPTED), Evidence(0, "reporter", 9, [LOST_IT])]
    first = entries[0]
    assert isinstance(first, Intent)
    lost = Resolution(
        "c", 0, 3, "operator", 0, 0, first.identifier(0), Resolved.NOT_AT_STRIPE, "", (SumRead(9_000, 0, 5),), "the sums show it", "ann", 6
    )
    moved = replace(lost, offset=4, resolved=Resolved.MOVED, to_customer="cus_2", reads=())
    assert report_of([*entries, lost, moved]).problems.shown == []


def test_what_is_moved_is_pending_until_the_other_customer_is_billed_and_a_problem_where_nobody_said_so() -> None:
    entries = ledger_of(Outcome.REJECTED)
    first = entries[0]
    assert isinstance(first, Intent)
    said = Resolution("c", 0, len(entries), "operator", 0, 0, first.identifier(0), Resolved.MOVED, "cus_2", (), "made anew", "ann", 6)
    source = report_of([*entries, said])
    assert [event.customer for event in source.moves.unbilled.values()] == ["cus_2"]
    event = replace(first.meter_events[0], customer="cus_2")
    elsewhere = ledger_of(Outcome.ACCEPTED)
    ledger = Ledger()
    for offset, entry in enumerate(elsewhere):
        ledger.fold(offset, offset, entry)
    move = correction(ledger, CorrectionKind.MOVE, place=first, at=0, event=event, target_identifier=first.identifier(0))
    ledger.fold(len(elsewhere), 9, move)
    elsewhere += [move, receipt(ledger), receipt(ledger, (move.offset, 0, Outcome.ACCEPTED))]
    there = report_of(elsewhere)
    assert there.moves.problems == [f"{first.identifier(0)} is billed to cus_2, as no resolution says"]
    source.add(there)
    assert (source.moves.unbilled, source.moves.problems, source.meter("tokens").missing, source.meter("tokens").billed) == ({}, [], 0, 10)


def test_a_difference_that_a_comparison_confirmed_is_in_the_verdict_until_something_is_done() -> None:
    entries = ledger_of(Outcome.ACCEPTED)
    less = Finding("cus_1", "tokens", 0, 3_600_000, CellVerdict.MISSING, 5, 0, -5, 300_000, 0, 2, confirmed=True)
    found = report_of([*entries, Evidence(0, "reporter", 9, [less])])
    assert verdict_of(found).text == "NOT EXACT: 1 cell in which Stripe had other sums at the last comparisons"
    first = entries[0]
    assert isinstance(first, Intent)
    lost = Resolution("c", 0, len(entries) + 1, "operator", 0, 0, first.identifier(0), Resolved.NOT_AT_STRIPE, "", (), "lost", "ann", 6)
    found = report_of([*entries, Evidence(0, "reporter", 9, [less]), lost])
    assert found.evidence.mended == 1
    later = report_of([*entries, Evidence(0, "reporter", 9, [less])], TimeRange(3_600_000))
    assert later.evidence.differing == []


@pytest.mark.parametrize(("billed", "problems"), [("cus_A", 0), ("cus_B", 1)])
def test_an_intent_bills_only_whom_a_link_says(billed: str, problems: int) -> None:
    first, *others = ledger_of(Outcome.ACCEPTED)
    assert isinstance(first, Intent)
    linked = replace(first, meter_events=[replace(event, linked=billed) for event in first.meter_events])
    found = [problem for problem in report_of([linked, *others]).problems.shown if "as no link says" in problem]
    assert len(found) == problems


@pytest.mark.parametrize(("outcome", "problems"), [(Outcome.REJECTED, 0), (Outcome.ACCEPTED, 1), (Outcome.PARKED, 1)])
def test_what_is_for_nobody_is_rejected_and_nothing_else(outcome: Outcome, problems: int) -> None:
    first, *others = ledger_of(outcome)
    assert isinstance(first, Intent)
    for_nobody = replace(first, meter_events=[replace(event, linked=BILLED_TO_NOBODY) for event in first.meter_events])
    found = [problem for problem in report_of([for_nobody, *others]).problems.shown if "is for nobody, and" in problem]
    assert len(found) == problems
