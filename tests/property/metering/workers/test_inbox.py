"""An inbox against a plain list."""

from collections.abc import Callable, Sequence
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metering.records.record import LogRecord, Record
from metering.workers.inbox import Inbox
from tests.support.metering_framed_records import framed
from tests.support.metering_inbox_records import no_hole

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.tuples(st.integers(1, 2), st.none() | st.binary(max_size=4)), max_size=5)),
        st.tuples(st.just("take"), st.none()),
        st.tuples(st.just("run"), st.tuples(st.integers(1, 6), st.integers(0, 12), st.integers(0, 6))),
        st.tuples(st.just("pass"), st.integers(0, 6)),
        st.tuples(st.just("clear"), st.none()),
    ),
    max_size=30,
)


@pytest.mark.parametrize("kinds", [[list], [framed], [framed, list]])
@given(steps=STEPS)
def test_it_holds_what_a_plain_list_would_hold(kinds: list[Callable[[list[Record]], Sequence[LogRecord]]], steps: list[tuple[str, Any]]) -> None:
    handing = cycle(kinds)
    inbox, wanted, offset = Inbox(), list[Record](), 0
    for what, argument in steps:
        if what == "add":
            handed = []
            for gap, value in argument:
                offset += gap
                handed.append(Record(offset, 0, None, value))
            inbox.add(next(handing)(handed))
            wanted += handed
        elif what == "clear":
            inbox.clear()
            wanted.clear()
        elif wanted and what == "take":
            assert inbox.first_offset == wanted[0].offset
            assert inbox.take() == wanted.pop(0)
        elif wanted and what == "pass":
            inbox.drop_before(wanted[0].offset + argument)
            del wanted[: sum(1 for record in wanted if record.offset < wanted[0].offset + argument)]
        elif wanted:
            records_max, bytes_max, dropped = argument
            run = inbox.run(records_max, bytes_max, no_hole)
            longest = longest_run(wanted, records_max, bytes_max)
            # A run of both kinds is given in parts.
            assert list(run) == longest[: len(run)]
            assert len(run) == len(longest) or len(kinds) > 1
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
