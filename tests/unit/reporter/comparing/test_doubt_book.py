"""What of a ledger is in doubt, and whom it has."""

from collections.abc import Sequence
from dataclasses import replace

import pytest
from taximeter_emitter.wire.limits import HOUR_MS

from metering.folds.ledger import Ledger
from metering.reconciliation.cells import CustomerMeter
from metering.records.ledger_records import CorrectionKind, Entry, Outcome
from metering.records.notes.evidence import CellVerdict, Evidence, Finding
from reporter.comparing.doubt_book import CellPlace, DoubtBook, DoubtfulCell, DoubtKind, ReportWindow
from reporter.comparing.report_suspects import ReportSuspects
from tests.support.metering_corrections import EVENT, correction, intent, receipt, settled
from tests.support.metering_ledger_entries import REJECTION

PAIR = CustomerMeter(EVENT.customer, EVENT.meter)
PLACE = CellPlace(PAIR, 0)


def book_of(entries: Sequence[Entry]) -> DoubtBook:
    book = DoubtBook(Ledger())
    for offset, entry in enumerate(entries):
        book.fold(offset, 100 + offset, entry)
    return book


@pytest.mark.parametrize(
    ("outcome", "kind"),
    [
        (Outcome.ACCEPTED, None),
        (Outcome.REJECTED, None),
        (Outcome.UNKNOWN, DoubtKind.UNKNOWN),
        (Outcome.PARKED, DoubtKind.PARKED),
    ],
)
def test_what_may_or_may_not_have_arrived_is_in_doubt(outcome: Outcome, kind: DoubtKind | None) -> None:
    ledger, first = settled(outcome)
    book = book_of([first, receipt(ledger, (0, 0, outcome))])
    assert book.pairs == {PAIR: 100 if outcome is Outcome.UNKNOWN else 101}
    assert book.doubts == ({} if kind is None else {PLACE: DoubtfulCell(kind, 101)})


def test_units_are_unread_from_their_intent_until_their_customer_is_read() -> None:
    ledger = Ledger()
    first = replace(intent(ledger), meter_events=[EVENT, replace(EVENT, value=-7)])
    assert book_of([first]).unread == {PAIR: 12}
    read = Finding(*PAIR, 0, HOUR_MS, CellVerdict.SETTLED, 5, 5, 0, 100, 100)
    assert book_of([first, Evidence(0, "reporter", 100, [read])]).unread == {}


def test_what_is_corrected_is_in_doubt_until_it_is_read_again() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    entries: list[Entry] = [first, receipt(ledger, (0, 0, Outcome.ACCEPTED)), correction(ledger, CorrectionKind.NEGATE, place=first, at=0)]
    assert book_of(entries).doubts == {PLACE: DoubtfulCell(DoubtKind.CORRECTED, 102)}
    for entry in entries[2:]:
        ledger.fold(2, 1, entry)
    entries.append(receipt(ledger))
    ledger.fold(3, 1, entries[-1])
    entries.append(receipt(ledger, (2, 0, Outcome.ACCEPTED)))
    assert book_of(entries).doubts == {PLACE: DoubtfulCell(DoubtKind.CORRECTED, 104)}


def test_a_report_that_counts_more_than_it_names_has_the_suspects_that_were_told_in_its_window() -> None:
    first = replace(intent(Ledger()), meter_events=[EVENT, replace(EVENT, customer="cus_2", time_ms=HOUR_MS), replace(EVENT, meter="other")])
    ledger = Ledger()
    ledger.fold(0, 1, first)
    told = receipt(ledger, *((0, index, Outcome.ACCEPTED) for index in range(3)))
    report = replace(REJECTION, meter=EVENT.meter, error_count=5, window_start_ms=9, window_end_ms=10_000)
    book = book_of([first, told, report, report, replace(report, code="duplicate_meter_event"), replace(report, event_id="evt_2", error_count=1)])
    (window,) = book.reports.values()
    assert window == ReportWindow(report.event_id, report.code, EVENT.meter, 5 - len(report.identifiers), 9, 10_000)
    suspects = ReportSuspects(window, Ledger())
    for told_before in (suspects, late := ReportSuspects(replace(window, start_ms=HOUR_MS + 10_010, end_ms=HOUR_MS + 20_000), Ledger())):
        told_before.fold(0, 0, first)
        told_before.fold(1, 1, told)
    expected = {PLACE, CellPlace(CustomerMeter("cus_2", EVENT.meter), HOUR_MS)}
    assert suspects.places == expected
    assert late.places == set()
    book.found_suspects(window, expected)
    assert (book.reports, set(book.doubts)) == ({}, expected)


def test_evidence_of_a_difference_is_a_doubt_and_a_settled_one_is_none() -> None:
    missing = Finding(*PAIR, 0, HOUR_MS, CellVerdict.MISSING, 5, 0, -5, 90, 90)
    settled_now = replace(missing, verdict=CellVerdict.SETTLED, stripe=5, difference=0)
    book = book_of([Evidence(0, "reporter", 95, [missing, replace(settled_now, customer="cus_2")])])
    assert book.doubts == {PLACE: DoubtfulCell(DoubtKind.DIFFERS, 90)}
    assert book.evidence.of(*PLACE) == missing


def test_the_last_meter_event_that_stripe_took_can_be_watched() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    assert book_of([first]).taken_last is None
    assert book_of([first, receipt(ledger, (0, 0, Outcome.ACCEPTED))]).taken_last == (PLACE, 9)
