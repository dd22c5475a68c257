"""The ledger: what was intended, what became of it, and what is still open, for every reader and from every checkpoint."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX

from metering.folds.ledger import Ledger
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import ChainBroken, RecordCorrupt
from metering.records.ledger_records import (
    Intent,
    Outcome,
    Receipt,
    Rejection,
    Settlement,
    decode_entry,
    encode_intent,
    encode_receipt,
    encode_rejection,
)
from metering.records.service_limits import IDENTIFIER_CHARS_MAX
from tests.support.metering_ledger_entries import REJECTION, a_receipt, an_intent


def test_a_long_story_is_cut_before_it_is_written() -> None:
    receipt = Receipt("c", 0, 0, 0, "i", [Settlement(0, 0, Outcome.REJECTED, 1, "x" * 10_000)])
    entry = decode_entry(encode_receipt(receipt))
    assert isinstance(entry, Receipt)
    assert len(entry.settlements[0].detail) == 500


def test_a_long_message_of_stripes_is_cut_before_it_is_written() -> None:
    entry = decode_entry(encode_rejection(replace(REJECTION, message="x" * 10_000)))
    assert isinstance(entry, Rejection)
    assert len(entry.message) == 500


def test_identifiers_are_a_function_of_the_place_and_fit_stripes_limit() -> None:
    intent = an_intent(10**12, 2 * 10**12, 7, chain_id="f" * 16, partition=99_999)
    assert intent.identifier(BATCH_EVENTS_MAX * 1_000) == f"tm-{'f' * 16}-99999-1000000000000-2000000000000-5000000"
    assert len(intent.identifier(10**7)) <= IDENTIFIER_CHARS_MAX


GOOD: dict[str, Any] = orjson.loads(encode_intent(an_intent(0, 1, -1)))
REFUSED: dict[str, Any] = orjson.loads(encode_rejection(REJECTION))
TOLD: dict[str, Any] = orjson.loads(encode_receipt(a_receipt((0, 0, Outcome.ACCEPTED))))


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"{",
        b"[]",
        orjson.dumps(GOOD | {"format": "intent/2"}),
        orjson.dumps(GOOD | {"meter_events": [[3, 0, 0, 1, 1]]}),
        orjson.dumps(TOLD | {"settlements": [[0, 0, "perhaps", 1, ""]]}),
        *(orjson.dumps({key: value for key, value in GOOD.items() if key != gone}) for gone in GOOD.keys() - {"identifier"}),
        *(orjson.dumps({key: value for key, value in TOLD.items() if key != gone}) for gone in TOLD),
        *(orjson.dumps({key: value for key, value in REFUSED.items() if key != gone}) for gone in REFUSED),
    ],
)
def test_what_is_not_an_entry_is_refused(value: bytes | None) -> None:
    with pytest.raises(RecordCorrupt):
        decode_entry(value)


def test_meter_events_are_open_from_the_accepted_intent_to_their_final_outcome() -> None:
    ledger = Ledger()
    assert ledger.fold(0, 100, an_intent(0, 2, NO_OFFSET, events=3))
    assert (ledger.open_events, ledger.open[0].log_time_ms, ledger.checkpoint) == (3, 100, 0)
    ledger.fold(1, 101, a_receipt((0, 0, Outcome.ACCEPTED), (0, 1, Outcome.UNKNOWN)))
    assert (ledger.open[0].open, ledger.open[0].unknown) == ({1, 2}, {1})
    ledger.fold(2, 102, a_receipt((0, 1, Outcome.PARKED), (0, 2, Outcome.REJECTED)))
    assert not ledger.open
    assert ledger.settled == {Outcome.ACCEPTED: 1, Outcome.PARKED: 1, Outcome.REJECTED: 1}


def test_the_first_outcome_stands_when_a_second_writer_tells_another() -> None:
    ledger = Ledger()
    ledger.fold(0, 1, an_intent(0, 2, NO_OFFSET, events=2))
    ledger.fold(1, 2, a_receipt((0, 0, Outcome.ACCEPTED)))
    ledger.fold(2, 3, a_receipt((0, 0, Outcome.PARKED), (7, 0, Outcome.REJECTED), (0, 9, Outcome.REJECTED)))
    assert ledger.settled == {Outcome.ACCEPTED: 1}
    assert ledger.open[0].open == {1}


def test_an_intent_that_lost_opens_nothing() -> None:
    ledger = Ledger()
    ledger.fold(0, 1, an_intent(0, 2, NO_OFFSET))
    assert not ledger.fold(1, 2, an_intent(0, 3, NO_OFFSET, events=5))
    assert not ledger.fold(2, 3, an_intent(1, 3, 0, events=5))
    assert (ledger.chain.end, ledger.tally_head, ledger.events_end, ledger.open_events) == (2, 1, 20, 1)


def test_an_intent_without_meter_events_moves_the_chain_and_opens_nothing() -> None:
    ledger = Ledger()
    ledger.fold(0, 1, an_intent(0, 4, NO_OFFSET, events=0))
    assert (ledger.open, ledger.checkpoint, ledger.chain.end) == ({}, 0, 4)


@pytest.mark.parametrize("entry", [an_intent(2, 3, 0, chain_id="other"), a_receipt((0, 0, Outcome.ACCEPTED), chain_id="other")])
def test_an_entry_of_another_chain_stops_the_reader(entry: Intent | Receipt) -> None:
    ledger = Ledger()
    ledger.fold(0, 1, an_intent(0, 2, NO_OFFSET))
    with pytest.raises(ChainBroken, match="of chain other"):
        ledger.fold(1, 2, entry)


def test_the_checkpoint_is_the_oldest_open_intent_or_else_the_last_one() -> None:
    ledger = Ledger()
    assert ledger.checkpoint == NO_OFFSET
    ledger.fold(0, 1, an_intent(0, 2, NO_OFFSET))
    ledger.fold(1, 2, an_intent(2, 3, 0))
    assert ledger.checkpoint == 0
    ledger.fold(2, 3, a_receipt((0, 0, Outcome.DUPLICATE)))
    assert ledger.checkpoint == 1
    ledger.fold(3, 4, a_receipt((1, 0, Outcome.ACCEPTED)))
    assert ledger.checkpoint == 1


@pytest.mark.parametrize("refusal", [Outcome.REJECTED, Outcome.UNBILLABLE])
def test_a_refusal_is_not_believed_once_another_instance_may_have_sent_too(refusal: Outcome) -> None:
    ledger = Ledger()
    ledger.fold(0, 1, an_intent(0, 2, NO_OFFSET, events=4, instance="frozen"))
    ledger.fold(1, 2, replace(a_receipt((0, 0, refusal)), instance="frozen"))
    ledger.fold(2, 3, replace(a_receipt(), instance="new owner"))
    ledger.fold(3, 4, replace(a_receipt((0, 1, refusal), (0, 2, Outcome.ACCEPTED)), instance="frozen"))
    ledger.fold(4, 5, replace(a_receipt((0, 3, refusal)), instance="new owner"))
    assert ledger.settled == {refusal: 1, Outcome.PARKED: 2, Outcome.ACCEPTED: 1}


def test_a_rejection_is_passed_over_it_settles_nothing_and_contests_nothing() -> None:
    ledger = Ledger()
    assert ledger.fold(0, 1, REJECTION)
    assert (ledger.chain_id, ledger.checkpoint, ledger.chain.next_offset) == (None, NO_OFFSET, 1)
    ledger.fold(1, 2, an_intent(0, 2, NO_OFFSET))
    ledger.fold(2, 3, REJECTION)
    assert (ledger.open_events, ledger.open[1].contested, ledger.checkpoint, ledger.chain.next_offset) == (1, False, 1, 3)
    with pytest.raises(ChainBroken, match="folded already"):
        ledger.fold(2, 3, REJECTION)


def test_an_intent_that_lost_contests_those_that_are_open() -> None:
    ledger = Ledger()
    ledger.fold(0, 1, an_intent(0, 2, NO_OFFSET, instance="a"))
    ledger.fold(1, 2, an_intent(0, 2, NO_OFFSET, instance="b"))
    ledger.fold(2, 3, an_intent(2, 3, 0, instance="a"))
    assert [entry.contested for entry in ledger.open.values()] == [True, False]
