"""Whom to ask next, and when a doubt is answered."""

from dataclasses import replace

import pytest
from taximeter_emitter.wire.limits import HOUR_MS

from metering.folds.ledger import Ledger
from metering.reconciliation.cells import CustomerMeter
from metering.records.notes.evidence import CellVerdict, Finding
from reporter.comparing.doubt_book import CellPlace, DoubtBook, DoubtfulCell, DoubtKind
from reporter.comparing.questions import CompareTimes, drop_answered, due_ms, next_questions

MINUTE_MS = 60_000
TIMES = CompareTimes(settle_ms=10 * MINUTE_MS, confirm_ms=5 * MINUTE_MS, again_ms=24 * HOUR_MS)
PAIR = CustomerMeter("cus_1", "tokens")
NOW = 1_000 * HOUR_MS
PARKED = DoubtfulCell(DoubtKind.PARKED, NOW)
READ_AT = NOW + 20 * MINUTE_MS
FOUND = Finding(*PAIR, 0, HOUR_MS, CellVerdict.SETTLED, 5, 5, 0, READ_AT, READ_AT)


@pytest.mark.parametrize(
    ("found", "minutes"),
    [
        (None, 10),
        (replace(FOUND, read_at_ms=NOW + 9 * MINUTE_MS), 10),
        (FOUND, None),
        (replace(FOUND, taken=(5,), doubts=1), None),
        (replace(FOUND, taken=(), doubts=1), 25),
        (replace(FOUND, taken=(), doubts=1, reads=2), 80),
        (replace(FOUND, taken=(), doubts=1, reads=3), None),
        (replace(FOUND, verdict=CellVerdict.ARRIVING), 30),
        (replace(FOUND, verdict=CellVerdict.ARRIVING, reads=2), 80),
        (replace(FOUND, verdict=CellVerdict.MISSING), 25),
        (replace(FOUND, verdict=CellVerdict.MISSING, reads=2), 80),
        (replace(FOUND, verdict=CellVerdict.EXTRA, reads=3), 380),
    ],
)
def test_a_doubt_is_asked_about_until_stripes_sum_answers_it(found: Finding | None, minutes: int | None) -> None:
    due = due_ms(PARKED, found, TIMES)
    assert due == (None if minutes is None else NOW + minutes * MINUTE_MS)


def test_doubts_come_first_and_one_call_takes_all_of_a_customer_that_it_can() -> None:
    book = DoubtBook(Ledger())
    book.pairs = {PAIR: 0, CustomerMeter("cus_2", "tokens"): 0}
    for hour in (10, 12, 10 + 96):
        book.doubt(CellPlace(PAIR, hour * HOUR_MS), DoubtfulCell(DoubtKind.UNKNOWN, NOW - HOUR_MS + hour))
    first, second = next_questions(book, NOW, TIMES, 10)
    assert (first.pair, first.from_ms, first.to_ms, first.doubt) == (PAIR, 10 * HOUR_MS, 13 * HOUR_MS, True)
    assert (second.pair.customer, second.doubt, second.to_ms - second.from_ms) == ("cus_2", False, 96 * HOUR_MS)
    assert next_questions(book, NOW, TIMES, 1) == [first]


def test_a_sample_leaves_out_what_may_still_arrive() -> None:
    book = DoubtBook(Ledger())
    book.pairs = {PAIR: NOW - MINUTE_MS}
    (question,) = next_questions(book, NOW, TIMES, 1)
    assert question.to_ms == NOW - HOUR_MS
    (question,) = next_questions(book, NOW + 10 * MINUTE_MS, TIMES, 1)
    assert question.to_ms == NOW + HOUR_MS
    book.evidence.take([replace(FOUND, read_at_ms=NOW)])
    assert next_questions(book, NOW + 23 * HOUR_MS, TIMES, 1) == []


def samples(book: DoubtBook, now_ms: int, at_most: int = 10) -> list[str]:
    return [each.pair.customer for each in next_questions(book, now_ms, TIMES, at_most)]


def test_of_those_who_wait_as_long_the_largest_amount_is_read_first_and_nobody_waits_for_ever() -> None:
    book = DoubtBook(Ledger())
    small, large, none = (CustomerMeter(name, "tokens") for name in ("cus_small", "cus_large", "cus_none"))
    book.pairs = dict.fromkeys((none, small, large), 0)
    read = [replace(FOUND, customer=pair.customer, read_at_ms=NOW - 25 * HOUR_MS) for pair in (none, small, large)]
    book.evidence.take(read)
    book.unread = {small: 1, large: 10**9}
    assert samples(book, NOW) == ["cus_large", "cus_small", "cus_none"]
    assert samples(book, NOW, 1) == ["cus_large"]
    book.evidence.take([replace(FOUND, customer="cus_large", read_at_ms=NOW)])
    assert samples(book, NOW + 24 * HOUR_MS, 1) == ["cus_small"], "2 times 25 hours is more than 31 times none"


def test_what_is_answered_is_forgotten() -> None:
    book = DoubtBook(Ledger())
    book.doubt(CellPlace(PAIR, 0), PARKED)
    drop_answered(book, TIMES)
    assert book.doubts
    book.evidence.take([FOUND])
    drop_answered(book, TIMES)
    assert not book.doubts
