"""A resolution is accepted where its writer wanted it, and is then the last word on whether Stripe has a meter event."""

from dataclasses import replace

import pytest

from metering.folds.corrections import CorrectionHistory, MeterEventPlace, Target, objection
from metering.records.ledger_records import CorrectionKind, Outcome, decode_entry, encode_entry
from metering.records.notes.resolution import Resolution, Resolved, SumRead
from tests.support.metering_corrections import correction, intent, receipt

PLACE = MeterEventPlace("c", 0, 0, 2, 0)


def history(outcome: Outcome) -> CorrectionHistory:
    found = CorrectionHistory()
    found.watch([PLACE])
    found.fold(0, 1, intent(found.ledger))
    found.fold(1, 2, receipt(found.ledger, (0, 0, outcome)))
    return found


def resolution(offset: int, resolved: Resolved, to_customer: str = "") -> Resolution:
    return Resolution("c", 0, offset, "operator", 0, 0, "tm-c-0-0-2-0", resolved, to_customer, (SumRead(5, 7, 9),), "lost", "ann", 6)


def target(found: CorrectionHistory) -> Target:
    (only,) = found.targets.values()
    return only


def test_it_is_read_as_it_was_written() -> None:
    said = resolution(2, Resolved.MOVED, "cus_2")
    assert decode_entry(encode_entry(said)) == said


@pytest.mark.parametrize("outcome", [Outcome.PARKED, Outcome.ACCEPTED])
@pytest.mark.parametrize(("resolved", "has"), [(Resolved.AT_STRIPE, True), (Resolved.NOT_AT_STRIPE, False), (Resolved.MOVED, False)])
def test_it_is_the_last_word(outcome: Outcome, resolved: Resolved, *, has: bool) -> None:
    found = history(outcome)
    assert found.fold(2, 3, resolution(2, resolved, "cus_2"))
    assert target(found).fate.at_stripe is has


def test_it_counts_for_nothing_elsewhere_or_of_another_chain_and_the_first_one_stands() -> None:
    found = history(Outcome.PARKED)
    assert not found.fold(2, 3, resolution(3, Resolved.AT_STRIPE))
    assert not found.fold(3, 3, replace(resolution(3, Resolved.AT_STRIPE), chain_id="other"))
    assert target(found).fate.at_stripe is None
    found.fold(4, 4, resolution(4, Resolved.NOT_AT_STRIPE))
    found.fold(5, 5, resolution(5, Resolved.AT_STRIPE))
    assert target(found).fate.at_stripe is False


def test_what_stripe_lacks_may_be_sent_again_once_and_what_was_moved_never() -> None:
    found = history(Outcome.PARKED)
    assert objection(target(found), CorrectionKind.RESEND) is not None
    found.fold(2, 3, resolution(2, Resolved.NOT_AT_STRIPE))
    assert objection(target(found), CorrectionKind.RESEND) is None
    found.fold(3, 4, resolution(3, Resolved.MOVED, "cus_2"))
    assert "cus_2 is billed for it" in (objection(target(found), CorrectionKind.RESEND) or "")


def test_a_correction_of_which_nobody_knows_is_resolved_too_and_frees_its_target() -> None:
    found = history(Outcome.REJECTED)
    again = correction(found.ledger, CorrectionKind.RESEND, place=intent(CorrectionHistory().ledger), at=0)
    found.fold(2, 3, again)
    found.fold(3, 4, receipt(found.ledger))
    found.fold(4, 5, receipt(found.ledger, (2, 0, Outcome.PARKED)))
    assert target(found).standing is not None
    found.fold(5, 6, replace(resolution(5, Resolved.NOT_AT_STRIPE), intent=2, target_identifier=again.identifier()))
    assert target(found).standing is None


def test_what_is_moved_here_is_of_another_partition_and_corrects_nothing_here() -> None:
    found = history(Outcome.ACCEPTED)
    moved = correction(found.ledger, CorrectionKind.MOVE, place=intent(CorrectionHistory().ledger), at=0, target_identifier="tm-c-7-0-2-0")
    assert found.fold(2, 3, moved)
    assert target(found).corrections == []
    assert found.corrections[2].correction is moved
