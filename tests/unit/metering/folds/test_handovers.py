"""LedgerClosing a ledger and adopting its copy: what is accepted behind each."""

from dataclasses import replace

import pytest

from metering.folds.ledger import Ledger
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import LedgerClosed
from metering.records.ledger_records import CorrectionKind, Outcome
from tests.support.metering_corrections import adoption, closing, correction, intent, receipt, settled


def closed() -> Ledger:
    """One intent at 0 with an open meter event, closed at 1."""
    ledger = Ledger()
    assert ledger.fold(0, 1, intent(ledger))
    assert ledger.fold(1, 2, closing(ledger))
    return ledger


def test_behind_a_closing_no_intent_and_no_correction_counts_and_outcomes_do() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    offset = ledger.chain.next_offset
    assert ledger.fold(offset, 3, closing(ledger))
    assert not ledger.fold(offset + 1, 4, intent(ledger))
    assert not ledger.fold(offset + 2, 5, correction(ledger, CorrectionKind.NEGATE, place=first, at=0))
    assert not ledger.open
    ledger = closed()
    assert ledger.fold(2, 3, receipt(ledger, (0, 0, Outcome.ACCEPTED)))
    assert not ledger.open
    with pytest.raises(LedgerClosed, match="goes on in the cluster new-cluster"):
        ledger.check_open(0)


def test_a_closing_counts_only_where_its_writer_wanted_it() -> None:
    ledger = Ledger()
    assert ledger.fold(0, 1, intent(ledger))
    late = closing(ledger)
    assert ledger.fold(1, 2, intent(ledger))
    assert not ledger.fold(2, 3, late)
    assert not ledger.fold(3, 4, replace(late, place=replace(late.place, offset=3)))
    ledger.check_open(0)


def test_an_adoption_opens_the_ledger_that_its_closing_closed_and_only_once() -> None:
    ledger = closed()
    adopted, again = adoption(ledger), replace(adoption(ledger), place=ledger.place(3))
    assert ledger.fold(2, 3, adopted)
    assert not ledger.fold(3, 4, again)
    ledger.check_open(0)
    assert ledger.fold(4, 5, intent(ledger))


def test_an_adoption_that_knows_of_no_closing_does_not_open_a_closed_ledger() -> None:
    ledger = closed()
    assert not ledger.fold(2, 3, replace(adoption(ledger), closing=NO_OFFSET))
    with pytest.raises(LedgerClosed):
        ledger.check_open(0)


def test_an_empty_ledger_can_be_closed_and_adopted() -> None:
    ledger = Ledger()
    assert ledger.fold(0, 1, closing(ledger))
    assert not ledger.fold(1, 2, intent(ledger))
    assert ledger.fold(2, 3, adoption(ledger))
    assert ledger.fold(3, 4, intent(ledger))
    assert (ledger.chain_id, ledger.checkpoint) == ("c", 3)


@pytest.mark.parametrize("copied_closing", [True, False])
def test_a_refusal_of_a_correction_is_believed_of_its_only_sender_and_not_after_an_adoption_without_a_closing(*, copied_closing: bool) -> None:
    """Without a closing, somebody else may have said that he sends it, behind what was copied."""
    ledger, first = settled(Outcome.REJECTED)
    assert ledger.fold(2, 3, correction(ledger, CorrectionKind.RESEND, place=first, at=0))
    if copied_closing:
        assert ledger.fold(3, 4, closing(ledger))
    offset = ledger.chain.next_offset
    assert ledger.fold(offset, 5, adoption(ledger))
    assert ledger.fold(offset + 1, 6, receipt(ledger, instance="new owner"))
    ledger.fold(offset + 2, 7, receipt(ledger, (2, 0, Outcome.REJECTED), instance="new owner"))
    assert ledger.settled == ({Outcome.REJECTED: 2} if copied_closing else {Outcome.REJECTED: 1, Outcome.PARKED: 1})
