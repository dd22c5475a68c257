"""What Stripe must have, by the ledger."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from metering.folds.ledger import Ledger
from metering.reconciliation.cells import CellKey, CellScope, DoubtCause, LedgerCells, Member
from metering.records.ledger_records import CorrectionKind, Entry, Outcome
from metering.records.notes.resolution import Resolution, Resolved
from tests.support.metering_corrections import EVENT, correction, intent, receipt, settled
from tests.support.metering_ledger_entries import REJECTION

HOUR_MS = 3_600_000
SCOPE = CellScope(0, 24 * HOUR_MS, HOUR_MS)
KEY = CellKey(EVENT.customer, EVENT.meter, 0)


def folded(entries: Sequence[Entry], scope: CellScope = SCOPE) -> LedgerCells:
    cells = LedgerCells(scope, Ledger())
    for entry in entries:
        cells.foresee(entry)
    for offset, entry in enumerate(entries):
        cells.fold(offset, 100 + offset, entry)
    return cells


def sides(entries: Sequence[Entry]) -> tuple[int, list[tuple[int, DoubtCause]]]:
    cell = folded(entries).finish()[KEY]
    return cell.sure, [(doubt.value, doubt.cause) for doubt in cell.doubts]


@pytest.mark.parametrize(
    ("outcome", "expected"),
    [
        (Outcome.ACCEPTED, (5, [])),
        (Outcome.DUPLICATE, (5, [])),
        (Outcome.REJECTED, (0, [])),
        (Outcome.PARKED, (0, [(5, DoubtCause.PARKED)])),
        (Outcome.UNKNOWN, (0, [(5, DoubtCause.OPEN)])),
    ],
)
def test_an_outcome_makes_it_sure_or_a_doubt_or_nothing(outcome: Outcome, expected: object) -> None:
    ledger, first = settled(outcome)
    assert sides([first, receipt(ledger, (0, 0, outcome))]) == expected


def test_what_has_no_outcome_is_in_doubt() -> None:
    assert sides([intent(Ledger(), events=2)]) == (0, [(5, DoubtCause.OPEN)] * 2)


@pytest.mark.parametrize(
    ("outcome", "kind", "settle", "expected"),
    [
        (Outcome.ACCEPTED, CorrectionKind.CANCEL, Outcome.ACCEPTED, (0, [])),
        (Outcome.ACCEPTED, CorrectionKind.NEGATE, Outcome.ACCEPTED, (0, [])),
        (Outcome.ACCEPTED, CorrectionKind.NEGATE, None, (5, [(-5, DoubtCause.OPEN)])),
        (Outcome.ACCEPTED, CorrectionKind.NEGATE, Outcome.REJECTED, (5, [])),
        (Outcome.REJECTED, CorrectionKind.RESEND, Outcome.ACCEPTED, (5, [])),
        (Outcome.REJECTED, CorrectionKind.RESEND, Outcome.PARKED, (0, [(5, DoubtCause.PARKED)])),
    ],
)
def test_corrections_change_the_side_that_they_were_taken_on(
    outcome: Outcome, kind: CorrectionKind, settle: Outcome | None, expected: object
) -> None:
    ledger, first = settled(outcome)
    entries: list[Entry] = [first, receipt(ledger, (0, 0, outcome)), correction(ledger, kind, place=first, at=0)]
    ledger.fold(2, 3, entries[2])
    if settle is not None:
        entries += [receipt(ledger), receipt(ledger, (2, 0, settle))]
    assert sides(entries) == expected


def test_what_an_error_report_names_is_not_at_stripe() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    report = replace(REJECTION, identifiers=(first.identifier(0),), error_count=3)
    found = folded([first, receipt(ledger, (0, 0, Outcome.ACCEPTED)), report])
    assert found.finish()[KEY].sure == 0
    assert found.rejections == [report]


def test_a_scope_leaves_out_other_customers_meters_and_times() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    entries: list[Entry] = [first, receipt(ledger, (0, 0, Outcome.ACCEPTED))]
    for scope in (
        replace(SCOPE, customers=frozenset({"cus_2"})),
        replace(SCOPE, meters=frozenset({"requests"})),
        replace(SCOPE, from_ms=HOUR_MS),
        replace(SCOPE, to_ms=EVENT.time_ms),
    ):
        assert not folded(entries, scope).finish()
    assert list(folded(entries, replace(SCOPE, customers=frozenset({EVENT.customer}))).finish()) == [KEY]


def test_a_cell_knows_when_stripe_was_told() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    cell = folded([first, receipt(ledger, (0, 0, Outcome.ACCEPTED))]).finish()[KEY]
    assert (cell.first_told_ms, cell.last_told_ms) == (9, 100)


@pytest.mark.parametrize(
    ("outcome", "resolved", "expected"),
    [
        (Outcome.PARKED, Resolved.AT_STRIPE, 5),
        (Outcome.PARKED, Resolved.NOT_AT_STRIPE, 0),
        (Outcome.ACCEPTED, Resolved.NOT_AT_STRIPE, 0),
        (Outcome.REJECTED, Resolved.MOVED, 0),
    ],
)
def test_a_resolution_ends_the_doubt(outcome: Outcome, resolved: Resolved, expected: int) -> None:
    ledger, first = settled(outcome)
    said = Resolution("c", 0, 2, "operator", 0, 0, first.identifier(0), resolved, "cus_heir", (), "why", "ann", 7)
    assert sides([first, receipt(ledger, (0, 0, outcome)), said]) == (expected, [])


def test_what_was_moved_is_more_for_the_other_customer() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    event = replace(EVENT, customer="cus_heir")
    move = correction(ledger, CorrectionKind.MOVE, place=first, at=0, event=event, target_identifier="tm-c-9-0-2-0")
    entries: list[Entry] = [first, receipt(ledger, (0, 0, Outcome.ACCEPTED)), move]
    ledger.fold(2, 3, move)
    for told in ((), ((2, 0, Outcome.ACCEPTED),)):
        entries.append(receipt(ledger, *told))
        ledger.fold(len(entries) - 1, 4, entries[-1])
    cells = folded(entries).finish()
    assert (cells[KEY].sure, cells[KEY._replace(customer="cus_heir")].sure) == (5, 5)


def test_the_meter_events_of_cells_that_are_sought_are_listed() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    entries: list[Entry] = [first, receipt(ledger, (0, 0, Outcome.ACCEPTED))]
    found = LedgerCells(SCOPE, Ledger(), {KEY})
    for entry in entries:
        found.foresee(entry)
    for offset, entry in enumerate(entries):
        found.fold(offset, offset, entry)
    assert found.members == {KEY: [Member(first.identifier(0), EVENT.value, EVENT.time_ms)]}
    assert folded(entries).members == {}
