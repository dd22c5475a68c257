"""The inbox of a partition's worker: what is handed in comes out in runs without gaps, and its bytes are counted."""

from collections.abc import Callable, Sequence

import pytest

from metering.records.record import LogRecord, Record
from metering.workers.inbox import TURN_WORTH_BYTES, TURN_WORTH_RECORDS, Inbox
from tests.support.metering_framed_records import framed
from tests.support.metering_inbox_records import no_hole, records


def test_a_run_ends_before_a_gap() -> None:
    inbox = Inbox()
    inbox.add(records(3, 4))
    inbox.add(records(5, 8, 9))
    assert [record.offset for record in inbox.run(100, 10**6, no_hole)] == [3, 4, 5]
    inbox.drop(len(inbox.run(100, 10**6, no_hole)))
    assert [record.offset for record in inbox.run(100, 10**6, no_hole)] == [8, 9]


def test_a_run_goes_on_over_offsets_that_are_known_to_hold_no_record() -> None:
    inbox = Inbox()
    inbox.add(records(3, 5, 7, 10, 12))
    assert [record.offset for record in inbox.run(100, 10**6, lambda start, end: (start, end) != (8, 10))] == [3, 5, 7]
    inbox.add(records(11))  # again, out of order: no run goes back
    inbox.drop(3)
    assert [record.offset for record in inbox.run(100, 10**6, lambda _start, _end: True)] == [10, 12]


def test_a_run_ends_where_the_client_went_back() -> None:
    inbox = Inbox()
    inbox.add(records(3))
    inbox.add(records(1, 5))
    assert [record.offset for record in inbox.run(100, 10**6, no_hole)] == [3]
    inbox.drop(1)
    assert [record.offset for record in inbox.run(100, 10**6, no_hole)] == [1]


def test_a_run_is_bounded_by_records_and_bytes_and_is_never_empty() -> None:
    inbox = Inbox()
    inbox.add(records(0, 1, 2, 3, 4, 5))
    assert len(inbox.run(2, 10**6, no_hole)) == 2
    assert len(inbox.run(100, 39, no_hole)) == 3
    assert len(inbox.run(100, 40, no_hole)) == 4
    assert len(inbox.run(100, 1, no_hole)) == 1


def test_looking_at_a_run_takes_nothing_out_and_taking_a_part_leaves_the_rest() -> None:
    inbox = Inbox()
    inbox.add([*records(0, 1, 2), Record(3, 0, None, None)])
    assert (len(inbox), inbox.bytes) == (4, 30)
    inbox.run(100, 10**6, no_hole)
    inbox.drop(1)
    assert (len(inbox), inbox.bytes) == (3, 20)
    inbox.drop(len(inbox.run(100, 10**6, no_hole)))
    assert (len(inbox), inbox.bytes) == (0, 0)


@pytest.mark.parametrize("kind", [list, framed])
def test_a_run_goes_on_over_holes_that_came_with_the_records(kind: Callable[[list[Record]], Sequence[LogRecord]]) -> None:
    inbox = Inbox()
    inbox.add(kind(records(3, 5, 8, 9)), [(4, 5), (6, 7), (10, 12)])
    assert [record.offset for record in inbox.run(100, 10**6, no_hole)] == [3, 5]
    assert [record.offset for record in inbox.run(100, 10**6, lambda start, end: (start, end) == (6, 8))] == [3, 5, 8, 9]
    inbox.drop_before(7)
    assert inbox.first_offset == 8
    inbox.add(kind(records(13, 14)), [(12, 13)])  # the end of a hole came later
    assert [record.offset for record in inbox.run(100, 10**6, no_hole)] == [8, 9, 13, 14]
    inbox.clear()
    assert inbox.holes.end_from(10) == 10


def test_holes_come_without_records_too() -> None:
    inbox = Inbox()
    inbox.add((), [(4, 6)])
    assert not inbox
    assert (inbox.holes.end_from(3), inbox.holes.end_from(4), inbox.holes.end_from(6)) == (3, 6, 6)


@pytest.mark.parametrize(
    ("count", "value", "worth"),
    [
        (TURN_WORTH_RECORDS - 1, None, False),
        (TURN_WORTH_RECORDS, None, True),
        (2, b"x" * (TURN_WORTH_BYTES // 2 - 1), False),
        (2, b"x" * (TURN_WORTH_BYTES // 2), True),
    ],
)
def test_what_is_worth_a_turn_is_bounded_by_records_and_by_bytes(count: int, value: bytes | None, worth: bool) -> None:
    inbox = Inbox()
    inbox.add([Record(0, 0, None, None)])
    inbox.drop(1)
    for offset in range(count):
        inbox.add([Record(offset, 0, None, value)])
    assert inbox.is_worth_a_turn == worth
