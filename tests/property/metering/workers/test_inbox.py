"""An inbox against a plain list."""

from collections.abc import Sequence
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from metering.records.record import Record
from metering.workers.inbox import Inbox
from tests.support.metering_inbox_records import no_hole

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
            run = inbox.run(records_max, bytes_max, no_hole)
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
