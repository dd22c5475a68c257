"""The ledger: what was intended, what became of it, and what is still open, whoever reads it from whichever checkpoint."""

from dataclasses import replace
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.errors import ChainBroken, RecordCorrupt
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, IDENTIFIER_CHARS_MAX

from metering.folds.ledger import Ledger, ledger_from
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.ledger_records import (
    Intent,
    MeterEvent,
    Outcome,
    Receipt,
    Rejection,
    Settlement,
    decode_entry,
    encode_intent,
    encode_receipt,
    encode_rejection,
)

names = st.text(min_size=1, max_size=5)
small = st.integers(0, 10**6)
offsets = st.integers(-1, 10**12)
dimensions = st.dictionaries(names, names, max_size=2).map(lambda pairs: tuple(sorted(pairs.items())))
meter_events = st.lists(st.builds(MeterEvent, names, names, dimensions, small, st.integers(1, 10**15 - 1)), max_size=4)
intents = st.builds(
    Intent,
    chain_id=st.just("0123456789abcdef"),
    partition=small,
    link=st.builds(ChainLink, small, small, offsets),
    checkpoint=offsets,
    instance=names,
    tally_head=offsets,
    events_end=small,
    meter_events=meter_events,
    unbillable=meter_events,
)
settlements = st.lists(st.builds(Settlement, small, small, st.sampled_from(list(Outcome)), small, names), max_size=4)
rejections = st.builds(Rejection, small, names, names, names, names, names, small, st.lists(names, max_size=3).map(tuple), small, small, small)
receipts = st.builds(Receipt, names, small, offsets, offsets, names, settlements)


@given(intents)
def test_an_intent_reads_back_as_it_was_written(intent: Intent) -> None:
    assert decode_entry(encode_intent(intent)) == intent


@given(receipts)
def test_a_receipt_reads_back_as_it_was_written(receipt: Receipt) -> None:
    assert decode_entry(encode_receipt(receipt)) == receipt


@given(rejections)
def test_a_rejection_reads_back_as_it_was_written(rejection: Rejection) -> None:
    assert decode_entry(encode_rejection(rejection)) == rejection


def test_a_long_story_is_cut_before_it_is_written() -> None:
    receipt = Receipt("c", 0, 0, 0, "i", [Settlement(0, 0, Outcome.REJECTED, 1, "x" * 10_000)])
    entry = decode_entry(encode_receipt(receipt))
    assert isinstance(entry, Receipt)
    assert len(entry.settlements[0].detail) == 500


def test_a_long_message_of_stripes_is_cut_before_it_is_written() -> None:
    entry = decode_entry(encode_rejection(replace(REJECTION, message="x" * 10_000)))
    assert isinstance(entry, Rejection)
    assert len(entry.message) == 500


EVENT = MeterEvent("cus_1", "tokens", (), 60_000, 5)
REJECTION = Rejection(
    0, "webhooks", "evt_1", "tokens", "meter_event_customer_not_found", "no such customer", 1, ("tm-c-0-0-2-0",), 10_000, 20_000, 30_000
)


def an_intent(start: int, end: int, previous: int, events: int = 1, **changes: Any) -> Intent:
    about: dict[str, Any] = {
        "chain_id": "c",
        "partition": 0,
        "link": ChainLink(start, end, previous),
        "checkpoint": NO_OFFSET,
        "instance": "i",
        "tally_head": end - 1,
        "events_end": end * 10,
        "meter_events": [EVENT] * events,
    }
    return Intent(**about | changes)


def a_receipt(*told: tuple[int, int, Outcome], chain_id: str = "c") -> Receipt:
    return Receipt(chain_id, 0, 0, 0, "i", [Settlement(intent, index, outcome, 9) for intent, index, outcome in told])


def test_identifiers_are_a_function_of_the_place_and_fit_stripes_limit() -> None:
    intent = an_intent(10**12, 2 * 10**12, 7, chain_id="f" * 16, partition=99_999)
    assert intent.identifier(BATCH_EVENTS_MAX * 1_000) == f"tm-{'f' * 16}-99999-1000000000000-2000000000000-5000000"
    assert len(intent.identifier(10**7)) <= IDENTIFIER_CHARS_MAX


@given(st.lists(st.tuples(small, small, small, small), min_size=2, max_size=20, unique=True))
def test_two_meter_events_never_share_an_identifier(places: list[tuple[int, int, int, int]]) -> None:
    identifiers = {
        an_intent(start, end, 0, partition=partition).identifier(index): (partition, start, end, index) for partition, start, end, index in places
    }
    assert len(identifiers) == len(places)


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


@given(st.data())
def test_a_fold_from_any_checkpoint_knows_what_is_open(data: st.DataObject) -> None:
    """Entries of an honest writer, and now and then of one whose view is old."""
    log: list[Intent | Receipt] = []
    views = [Ledger()]
    for _ in range(data.draw(st.integers(1, 25))):
        view = views[-1] if data.draw(st.booleans()) else data.draw(st.sampled_from(views))
        fresh = fold_from_start(log, view.chain.next_offset)
        places = [(offset, index) for offset, entry in fresh.open.items() for index in sorted(entry.open)]
        entry: Intent | Receipt
        tell: bool = data.draw(st.booleans())
        if places and tell:
            told = data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=4, unique=True))
            outcome = data.draw(st.sampled_from(list(Outcome)))
            entry = Receipt("c", 0, fresh.chain.head, fresh.checkpoint, "i", [Settlement(offset, index, outcome, 1) for offset, index in told])
        else:
            start = max(0, fresh.chain.end)
            entry = an_intent(
                start, start + data.draw(st.integers(1, 3)), fresh.chain.head, data.draw(st.integers(0, 3)), checkpoint=fresh.checkpoint
            )
        log.append(entry)
        views.append(fold_from_start(log, len(log)))
        whole, last = views[-1], log[-1]
        if last.checkpoint == NO_OFFSET:
            continue
        intent = log[last.checkpoint]
        assert isinstance(intent, Intent)
        partly = ledger_from(last.checkpoint, intent)
        for offset in range(last.checkpoint, len(log)):
            partly.fold(offset, offset, log[offset])
        assert partly.open == whole.open
        assert (partly.chain.head, partly.chain.end, partly.tally_head, partly.events_end) == (
            whole.chain.head,
            whole.chain.end,
            whole.tally_head,
            whole.events_end,
        )


def fold_from_start(log: list[Intent | Receipt], end: int) -> Ledger:
    ledger = Ledger()
    for offset in range(end):
        ledger.fold(offset, offset, log[offset])
    return ledger


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
