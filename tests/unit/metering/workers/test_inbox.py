"""The inbox of a partition's worker: what is handed in comes out in runs without gaps, and its bytes are counted."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from metering.records.record import Record
from metering.workers.inbox import Inbox


def records(*offsets: int, size: int = 10) -> list[Record]:
    return [Record(offset, 0, None, b"x" * size) for offset in offsets]


def test_a_run_ends_before_a_gap() -> None:
    inbox = Inbox()
    inbox.add(records(3, 4))
    inbox.add(records(5, 8, 9))
    assert [record.offset for record in inbox.run(100, 10**6)] == [3, 4, 5]
    inbox.drop(len(inbox.run(100, 10**6)))
    assert [record.offset for record in inbox.run(100, 10**6)] == [8, 9]


def test_a_run_is_bounded_by_records_and_bytes_and_is_never_empty() -> None:
    inbox = Inbox()
    inbox.add(records(0, 1, 2, 3, 4, 5))
    assert len(inbox.run(2, 10**6)) == 2
    assert len(inbox.run(100, 39)) == 3
    assert len(inbox.run(100, 40)) == 4
    assert len(inbox.run(100, 1)) == 1


def test_looking_at_a_run_takes_nothing_out_and_taking_a_part_leaves_the_rest() -> None:
    inbox = Inbox()
    inbox.add([*records(0, 1, 2), Record(3, 0, None, None)])
    assert (len(inbox), inbox.bytes) == (4, 30)
    inbox.run(100, 10**6)
    inbox.drop(1)
    assert (len(inbox), inbox.bytes) == (3, 20)
    inbox.drop(len(inbox.run(100, 10**6)))
    assert (len(inbox), inbox.bytes) == (0, 0)


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.tuples(st.integers(1, 2), st.none() | st.binary(max_size=4)), max_size=5)),
        st.tuples(st.just("take"), st.none()),
        st.tuples(st.just("run"), st.tuples(st.integers(1, 6), st.integers(0, 12), st.integers(0, 6))),
        st.tuples(st.just("clear"), st.none()),
    ),
    max_size=30,
)


@given(STEPS)
def test_it_holds_what_a_plain_list_would_hold(steps: list[tuple[str, Any]]) -> None:
    inbox, wanted, offset = Inbox(), list[Record](), 0
    for what, argument in steps:
        if what == "add":
            handed = []
            for gap, value in argument:
                offset += gap
                handed.append(Record(offset, 0, None, value))
            inbox.add(handed)
            wanted += handed
        elif what == "clear":
            inbox.clear()
            wanted.clear()
        elif wanted and what == "take":
            assert inbox.first is wanted[0]
            assert inbox.take() is wanted.pop(0)
        elif wanted:
            records_max, bytes_max, dropped = argument
            run = inbox.run(records_max, bytes_max)
            assert list(run) == wanted[: len(run)] == longest_run(wanted, records_max, bytes_max)
            inbox.drop(min(dropped, len(run)))
            del wanted[: min(dropped, len(run))]
        assert len(inbox) == len(wanted)
        assert bool(inbox) == bool(wanted)
        assert inbox.bytes == sum(len(record.value or b"") for record in wanted)


def longest_run(records: Sequence[Record], records_max: int, bytes_max: int) -> Sequence[Record]:
    found = list(records[:1])
    for record in records[1:records_max]:
        if record.offset != found[-1].offset + 1 or sum(len(each.value or b"") for each in [*found, record]) > bytes_max:
            break
        found.append(record)
    return found
