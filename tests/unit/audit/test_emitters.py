from dataclasses import replace

from audit.verification.emitters import SILENT_MS, EmitterBook
from audit.verification.report import EmitterLine
from metering.records.chain import ChainLink
from metering.records.tally import Acceptance, EmitterState, RecordCounts, Tally
from tests.support.audit_emitter_book import book_of, tally


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

    assert "2 numbers are in more than one tally" in problems[0]


def test_more_numbers_than_the_emitter_says_it_sent_is_a_problem() -> None:
    _, problems = book_of(tally((0, 9), final=5))

    assert "said that it sent 5 events" in problems[0]


def test_dropped_events_are_the_largest_number_said() -> None:
    [line], _ = book_of(tally((0, 1), dropped=3), tally(dropped=5), tally(dropped=4))

    assert line.dropped == 5


def loss(records: int = 3) -> Tally:
    about = {"link": ChainLink(0, records, -1), "records": RecordCounts(lost=records), "acceptance": Acceptance("why", "who", 0)}
    return replace(tally(), **about)  # type: ignore[arg-type]  # of fields of several types


def test_numbers_that_may_be_among_lost_records_are_no_problem_and_are_named() -> None:
    [line], problems = book_of(tally((0, 4)), loss(), tally((8, 9), final=10))

    assert problems == []
    assert (line.missing, line.lost, line.state) == (3, 3, "closed")


def test_the_beginning_and_the_end_of_an_emitter_may_be_among_lost_records() -> None:
    lines, problems = book_of(tally((0, 4)), loss(), tally(final=8))
    assert (problems, lines[0].lost) == ([], 3)
    lines, problems = book_of(loss(), tally((6, 9), final=10))
    assert (problems, lines[0].lost) == ([], 6)


def test_a_gap_that_came_after_a_loss_is_a_problem() -> None:
    [line], [problem] = book_of(tally((0, 4)), loss(), tally((5, 6)), tally((9, 9), final=10))

    assert (line.missing, line.lost) == (2, 0)
    assert "7-8" in problem


def test_an_emitter_that_begins_long_after_a_loss_has_no_excuse() -> None:
    late = replace(tally((6, 9), final=10), log_time_ms=3 * SILENT_MS)
    _, problems = book_of(loss(), tally(), late)

    assert "6 of 10 numbers never arrived" in problems[0]


def test_a_gap_says_between_which_offsets_it_lies() -> None:
    about = {"link": ChainLink(10, 20, 0), "records": RecordCounts(batches=10)}
    first = replace(tally((0, 4)), **about)  # type: ignore[arg-type]  # of fields of several types
    _, [problem] = book_of(first, replace(tally((8, 9)), link=ChainLink(20, 25, 1), records=RecordCounts(batches=5)))

    assert "5-7 (between offsets 10 and 25)" in problem


def test_an_emitter_that_fell_silent_without_closing_is_told_from_an_open_one() -> None:
    died, alive = tally((0, 4)), replace(tally((0, 1), partition=1), ranges=[("f", 0, 1)], log_time_ms=SILENT_MS + 1)
    lines, problems = book_of(died, alive)

    assert problems == []
    assert {line.emitter: line.state for line in lines} == {"e": "silent", "f": "open"}


def test_an_emitter_that_sends_heartbeats_is_open() -> None:
    beating = EmitterState("e", ((0, 4),), SILENT_MS + 1)
    [line], _ = book_of(tally((0, 4)), replace(tally(), log_time_ms=SILENT_MS + 1, emitter_states=[beating]))

    assert line.state == "open"


def test_of_a_part_of_the_log_nobody_can_say_what_is_missing_before_it() -> None:
    book = EmitterBook(whole=False)
    for each in (tally((5, 6)), tally((9, 9), final=20)):
        book.take(each)
    [line], problems = book.lines()

    assert problems == []
    assert (line.sent, line.received, line.missing) == (5, 3, 2)
