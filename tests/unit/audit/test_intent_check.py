"""What verification makes of corrections: those that are right change what is billed, and those that are not are named."""

from dataclasses import replace
from typing import Any

import pytest

from audit.verification.intent_check import IntentCheck
from audit.verification.report import Report
from audit.verification.span import Inside
from audit.verification.verdict import verdict_of
from metering.records.chain import ChainLink
from metering.records.ledger_records import CorrectionKind, Entry, Outcome, Rejection
from metering.records.tally import EventCounts, RecordCounts, Tally, TallyRow
from tests.support.metering_corrections import EVENT, correction, receipt, settled

MISSING = "NOT EXACT: 5 units of tokens that Stripe does not have"
CANCEL, NEGATE, RESEND = CorrectionKind.CANCEL, CorrectionKind.NEGATE, CorrectionKind.RESEND


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


def report_of(entries: list[Entry]) -> Report:
    report = Report()
    check = IntentCheck(0, report, Inside(0, 1))
    rows = [TallyRow(EVENT.customer, EVENT.meter, EVENT.dimensions, EVENT.time_ms, EVENT.value, 1)]
    for offset, entry in enumerate(entries):
        check.foresee(offset, entry)
    check.add(Tally("c", 0, ChainLink(0, 1, -1), -1, "a", "k", 0, RecordCounts(singles=1), EventCounts(counted=1), rows))
    report.meter(EVENT.meter).counted += EVENT.value
    for offset, entry in enumerate(entries):
        check.fold(offset, offset, entry)
    check.finish()
    return report


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
