from hypothesis import given
from hypothesis import strategies as st

from metering.chain import Link
from metering.tally import EventCounts, Range, RecordCounts, Tally
from taximeter.verification.emitters import EmitterBook
from taximeter.verification.report import EmitterLine


def tally(*ranges: Range, final: int | None = None, abandoned: tuple[Range, ...] = (), dropped: int = 0, partition: int = 0) -> Tally:
    return Tally(
        chain_id="c",
        partition=partition,
        link=Link(0, 0, -1),
        checkpoint=-1,
        instance="i",
        catalogue="v",
        log_time_ms=0,
        records=RecordCounts(),
        events=EventCounts(),
        rows=(),
        ranges=[("e", first, last) for first, last in ranges],
        finals=[] if final is None else [("e", final)],
        abandoned=[("e", first, last) for first, last in abandoned],
        dropped=[("e", dropped)] if dropped else [],
    )


def book_of(*tallies: Tally) -> tuple[list[EmitterLine], list[str]]:
    book = EmitterBook()
    for each in tallies:
        book.take(each)
    return book.lines()


def test_all_numbers_of_a_closed_emitter_arrived() -> None:
    lines, problems = book_of(tally((0, 4)), tally((5, 9), final=10), tally((0, 1), final=2, partition=1))

    assert problems == []
    assert lines == [EmitterLine("e", sent=12, received=12, missing=0, abandoned=0, dropped=0, closed=True)]


def test_a_gap_is_named() -> None:
    [line], [problem] = book_of(tally((0, 4), (8, 9)))

    assert (line.sent, line.received, line.missing, line.closed) == (10, 7, 3, False)
    assert "5-7" in problem


def test_a_gap_at_the_end_shows_when_the_emitter_closes() -> None:
    [line], [problem] = book_of(tally((0, 4), final=8))

    assert line.missing == 3
    assert "5-7" in problem


def test_a_gap_whose_sender_was_told_is_no_problem_and_still_counted() -> None:
    [line], problems = book_of(tally((0, 4), (8, 9), abandoned=((5, 7),), final=10))

    assert problems == []
    assert (line.missing, line.abandoned) == (3, 3)


def test_a_number_in_two_tallies_is_a_problem() -> None:
    _, problems = book_of(tally((0, 4)), tally((3, 6)))

    assert "2 numbers stand in more than one tally" in problems[0]


def test_more_numbers_than_the_emitter_says_it_sent_is_a_problem() -> None:
    _, problems = book_of(tally((0, 9), final=5))

    assert "said that it sent 5 events" in problems[0]


def test_dropped_events_are_the_largest_number_said() -> None:
    [line], _ = book_of(tally((0, 1), dropped=3), tally(dropped=5), tally(dropped=4))

    assert line.dropped == 5


@given(st.sets(st.integers(0, 60)), st.randoms(use_true_random=False))
def test_missing_and_received_agree_with_a_set(numbers: set[int], random: st.DataObject) -> None:
    order = sorted(numbers)
    random.shuffle(order)  # type: ignore[attr-defined]  # a random.Random, which the strategy's type does not say
    [line], problems = book_of(tally(*((number, number) for number in order), final=61))

    assert (line.received, line.missing) == (len(numbers), 61 - len(numbers))
    assert bool(problems) == (len(numbers) < 61)
