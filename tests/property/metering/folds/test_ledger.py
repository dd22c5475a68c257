"""Any entry of the ledger reads back as it was written, and any ledger folds the same from every checkpoint."""

from hypothesis import given
from hypothesis import strategies as st

from metering.folds.ledger import Ledger, ledger_from
from metering.records.chain import NO_OFFSET
from metering.records.ledger_records import (
    Intent,
    LedgerAdoption,
    LedgerClosing,
    Outcome,
    Receipt,
    Rejection,
    Settlement,
    decode_entry,
    encode_handover,
    encode_intent,
    encode_receipt,
    encode_rejection,
)
from tests.support.metering_ledger_entries import an_intent
from tests.support.records import adoptions, closings, intents, receipts, rejections, small


@given(intents)
def test_an_intent_reads_back_as_it_was_written(intent: Intent) -> None:
    assert decode_entry(encode_intent(intent)) == intent


@given(receipts)
def test_a_receipt_reads_back_as_it_was_written(receipt: Receipt) -> None:
    assert decode_entry(encode_receipt(receipt)) == receipt


@given(rejections)
def test_a_rejection_reads_back_as_it_was_written(rejection: Rejection) -> None:
    assert decode_entry(encode_rejection(rejection)) == rejection


@given(st.one_of(closings, adoptions))
def test_a_handover_reads_back_as_it_was_written(entry: LedgerClosing | LedgerAdoption) -> None:
    assert decode_entry(encode_handover(entry)) == entry


@given(st.lists(st.tuples(small, small, small, small), min_size=2, max_size=20, unique=True))
def test_two_meter_events_never_share_an_identifier(places: list[tuple[int, int, int, int]]) -> None:
    identifiers = {
        an_intent(start, end, 0, partition=partition).identifier(index): (partition, start, end, index) for partition, start, end, index in places
    }
    assert len(identifiers) == len(places)


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
