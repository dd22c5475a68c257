"""Whatever is in doubt, the planner asks within its bounds, never too early, and comes to an end when Stripe's sums agree."""

from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.limits import HOUR_MS

from metering.folds.ledger import Ledger
from metering.reconciliation.cells import CustomerMeter
from metering.records.notes.evidence import CellVerdict, Finding
from reporter.comparing.doubt_book import CellPlace, DoubtBook, DoubtfulCell, DoubtKind
from reporter.comparing.questions import QUESTION_HOURS_MAX, CompareTimes, Question, drop_answered, due_ms, next_questions

TIMES = CompareTimes(settle_ms=600_000, confirm_ms=300_000, again_ms=24 * HOUR_MS)
BEGIN = 1_000 * HOUR_MS
PAIRS = st.builds(CustomerMeter, st.integers(0, 5).map("cus_{}".format), st.just("tokens"))
PLACES = st.builds(CellPlace, PAIRS, st.integers(1, 300).map(lambda hour: hour * HOUR_MS))
Doubts = dict[CellPlace, DoubtfulCell]
DOUBTS = st.dictionaries(PLACES, st.builds(DoubtfulCell, st.sampled_from(DoubtKind), st.integers(BEGIN - 50 * HOUR_MS, BEGIN)), max_size=40)


def book_of(doubts: Doubts, customers: int) -> DoubtBook:
    book = DoubtBook(Ledger())
    book.doubts.update(doubts)
    book.pairs = {CustomerMeter(f"cus_{number}", "tokens"): BEGIN - HOUR_MS for number in range(customers)}
    return book


def agreed(question: Question, now_ms: int) -> Finding:
    return Finding(*question.pair, question.from_ms, question.to_ms, CellVerdict.SETTLED, 1, 1, 0, now_ms, now_ms)


@given(DOUBTS, st.integers(0, 10), st.integers(0, 8), st.integers(-HOUR_MS, HOUR_MS))
def test_every_question_is_bounded_due_and_of_another_customer(doubts: Doubts, customers: int, at_most: int, later: int) -> None:
    book, now_ms = book_of(doubts, customers), BEGIN + later
    asked = next_questions(book, now_ms, TIMES, at_most)
    assert len(asked) <= at_most
    assert len({each.pair for each in asked}) == len(asked)
    assert [each.doubt for each in asked] == sorted((each.doubt for each in asked), reverse=True)
    for each in asked:
        assert each.from_ms % HOUR_MS == each.to_ms % HOUR_MS == 0
        assert 0 < each.to_ms - each.from_ms <= QUESTION_HOURS_MAX * HOUR_MS
        assert each.due_ms <= now_ms
        if each.doubt:
            inside = [doubtful for place, doubtful in doubts.items() if place.pair == each.pair and each.from_ms <= place.start_ms < each.to_ms]
            assert any((due_ms(doubtful, None, TIMES) or 0) <= now_ms for doubtful in inside)


@given(DOUBTS, st.integers(1, 3))
def test_where_stripes_sums_agree_every_doubt_is_answered_in_a_bounded_number_of_calls(doubts: Doubts, at_most: int) -> None:
    book, now_ms, calls = book_of(doubts, 0), BEGIN + TIMES.settle_ms, 0
    while book.doubts:
        asked = next_questions(book, now_ms, TIMES, at_most)
        assert asked, "something is in doubt, and nobody asks"
        calls += len(asked)
        book.evidence.take([agreed(each, now_ms) for each in asked])
        drop_answered(book, TIMES)
    assert calls <= len(doubts)
