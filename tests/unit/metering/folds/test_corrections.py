"""Corrections in the ledger: accepted where their writer wanted, open until settled, and believed like everything else."""

from dataclasses import replace
from typing import Any

import orjson
import pytest

from metering.folds.ledger import Ledger
from metering.records.fail_closed import ChainBroken, RecordCorrupt
from metering.records.ledger_records import CorrectionKind, Outcome, decode_entry, encode_correction
from metering.records.service_limits import IDENTIFIER_CHARS_MAX
from tests.support.metering_corrections import EVENT, correction, intent, receipt, settled

GOOD: dict[str, Any] = orjson.loads(encode_correction(correction(settled(Outcome.ACCEPTED)[0], CorrectionKind.CANCEL, place=intent(Ledger()), at=0)))


@pytest.mark.parametrize("wrong", [{"kind": "forget"}, {"dimensions": 3}, *({gone: None} for gone in GOOD)])
def test_what_is_not_a_correction_is_refused(wrong: dict[str, Any]) -> None:
    changed = {key: value for key, value in (GOOD | wrong).items() if value is not None}
    with pytest.raises(RecordCorrupt):
        decode_entry(orjson.dumps(changed))


def test_only_a_correction_that_negates_is_sent_with_a_value_below_zero() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    sent = {kind: correction(ledger, kind, place=first, at=0).meter_events for kind in CorrectionKind}
    assert sent == {
        CorrectionKind.CANCEL: (EVENT,),
        CorrectionKind.NEGATE: (replace(EVENT, value=-5),),
        CorrectionKind.RESEND: (EVENT,),
        CorrectionKind.MOVE: (EVENT,),
    }


def test_its_identifier_is_a_function_of_its_place_and_fits_stripes_limit() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    entry = correction(ledger, CorrectionKind.NEGATE, place=first, at=0, chain_id="f" * 16, partition=99_999, offset=10**12)
    assert entry.identifier() == f"tm-{'f' * 16}-99999-c1000000000000"
    assert len(entry.identifier()) < IDENTIFIER_CHARS_MAX


def test_a_correction_is_open_from_where_it_landed_to_its_receipt() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    assert ledger.fold(2, 50, correction(ledger, CorrectionKind.NEGATE, place=first, at=0))
    assert (list(ledger.open), ledger.open_events, ledger.checkpoint, ledger.open[2].log_time_ms) == ([2], 1, 2, 50)
    ledger.fold(3, 51, receipt(ledger))
    ledger.fold(4, 52, receipt(ledger, (2, 0, Outcome.ACCEPTED)))
    assert not ledger.open
    assert ledger.checkpoint == 0


def test_a_correction_that_landed_behind_another_entry_is_passed_over_and_the_first_one_wins() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    mine, theirs = (correction(ledger, CorrectionKind.NEGATE, place=first, at=0, instance=name) for name in ("mine", "theirs"))
    assert ledger.fold(2, 3, mine)
    assert not ledger.fold(3, 4, theirs)
    assert not ledger.fold(4, 5, mine)
    assert (list(ledger.open), ledger.chain.next_offset) == ([2], 5)


@pytest.mark.parametrize("place", ["chain_head", "chain_end", "tally_head", "events_end"])
def test_a_correction_whose_writer_knew_another_ledger_is_passed_over(place: str) -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    assert not ledger.fold(2, 3, correction(ledger, CorrectionKind.NEGATE, place=first, at=0, **{place: 77}))
    assert not ledger.open


def test_a_correction_of_another_chain_stops_the_reader() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    with pytest.raises(ChainBroken, match="of chain other"):
        ledger.fold(2, 3, correction(ledger, CorrectionKind.NEGATE, place=first, at=0, chain_id="other"))


def test_a_correction_contests_nothing_that_is_open() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    ledger.fold(2, 3, intent(ledger))
    ledger.fold(3, 4, correction(ledger, CorrectionKind.NEGATE, place=first, at=0))
    ledger.fold(4, 5, receipt(ledger, (2, 0, Outcome.REJECTED)))
    assert ledger.settled == {Outcome.ACCEPTED: 1, Outcome.REJECTED: 1}


def test_a_refused_correction_is_believed_of_the_only_one_who_said_that_it_would_send_it() -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    ledger.fold(2, 3, correction(ledger, CorrectionKind.CANCEL, place=first, at=0))
    ledger.fold(3, 4, receipt(ledger))
    ledger.fold(4, 5, receipt(ledger, (2, 0, Outcome.REJECTED)))
    assert ledger.settled == {Outcome.ACCEPTED: 1, Outcome.REJECTED: 1}


@pytest.mark.parametrize("claims", [(), ("owner", "other"), ("other", "owner"), ("other",)])
def test_a_refused_correction_is_parked_when_another_may_have_sent_it(claims: tuple[str, ...]) -> None:
    ledger, first = settled(Outcome.ACCEPTED)
    ledger.fold(2, 3, correction(ledger, CorrectionKind.CANCEL, place=first, at=0))
    for instance in claims:
        ledger.fold(ledger.chain.next_offset, 4, receipt(ledger, instance=instance))
    ledger.fold(ledger.chain.next_offset, 5, receipt(ledger, (2, 0, Outcome.REJECTED)))
    assert ledger.settled == {Outcome.ACCEPTED: 1, Outcome.PARKED: 1}
