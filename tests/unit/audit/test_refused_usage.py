"""What Stripe refused, lost or may not have is listed, corrections of ours too, with what was done about it."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from audit.refused_usage import MendState, RefusalFold
from metering.folds.ledger import Ledger
from metering.records.ledger_records import CorrectionKind, Entry, Intent, Outcome
from metering.records.notes.resolution import Resolution, Resolved, SumRead
from tests.support.metering_corrections import correction, receipt, settled


def listed(entries: Sequence[Entry]) -> list[tuple[str, int, str, MendState]]:
    fold = RefusalFold(Ledger(), Ledger())
    for offset, entry in enumerate(entries):
        fold.foresee(offset, offset, entry)
    for offset, entry in enumerate(entries):
        fold.fold(offset, offset, entry)
    return [(each.target.identifier, each.target.event.value, each.code, each.state) for each in fold.finish().events]


def corrected(outcome: Outcome, kind: CorrectionKind, settle: Outcome) -> list[Entry]:
    ledger, first = settled(outcome)
    entries: list[Entry] = [first, receipt(ledger, (0, 0, outcome)), correction(ledger, kind, place=first, at=0)]
    ledger.fold(2, 3, entries[2])
    return [*entries, receipt(ledger), receipt(ledger, (2, 0, settle))]


def test_a_meter_event_that_stripes_sums_lack_is_listed_as_lost() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    entries: list[Entry] = [first, receipt(ledger, (0, 0, Outcome.ACCEPTED))]
    assert listed(entries) == []
    lost = Resolution("c", 0, 2, "t", 0, 0, first.identifier(0), Resolved.NOT_AT_STRIPE, "", (SumRead(9, 0, 5),), "lost", "ann", 9)
    assert listed([*entries, lost]) == [("tm-c-0-0-2-0", 5, "lost", MendState.OPEN)]
    assert listed([*entries, replace(lost, resolved=Resolved.MOVED, to_customer="cus_2")])[0][3] is MendState.MOVED


@pytest.mark.parametrize(("kind", "outcome", "value"), [(CorrectionKind.NEGATE, Outcome.ACCEPTED, -5), (CorrectionKind.RESEND, Outcome.REJECTED, 5)])
def test_a_parked_correction_is_listed_with_what_it_changes_until_sums_show_that_stripe_lacks_it(
    kind: CorrectionKind, outcome: Outcome, value: int
) -> None:
    entries = corrected(outcome, kind, Outcome.PARKED)
    parked = ("tm-c-0-c2", value, "parked")
    assert isinstance(entries[0], Intent)
    assert [each for each in listed(entries) if each[0] == "tm-c-0-c2"] == [(*parked, MendState.UNDECIDED)]
    said = Resolution("c", 0, 5, "t", 2, 0, "tm-c-0-c2", Resolved.AT_STRIPE, "", (SumRead(9, 0, 5),), "shown", "ann", 9)
    assert [each for each in listed([*entries, said]) if each[0] == "tm-c-0-c2"] == [(*parked, MendState.AT_STRIPE)]
    lacking = listed([*entries, replace(said, resolved=Resolved.NOT_AT_STRIPE)])
    assert [each[0] for each in lacking] == (["tm-c-0-0-2-0"] if kind is CorrectionKind.RESEND else []), "it may be corrected once more"


def test_a_correction_that_stripe_took_or_refused_is_not_in_doubt() -> None:
    for settle in (Outcome.ACCEPTED, Outcome.REJECTED):
        assert listed(corrected(Outcome.ACCEPTED, CorrectionKind.NEGATE, settle)) == []
