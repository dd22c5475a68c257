"""Sums of runs of plain events against their sums one by one."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.event import parse_event
from taximeter_emitter.wire.limits import QUANTITY_MAX

from aggregator.sums.rows import Rows
from tests.support.aggregator_plain_sums import CATALOGUE, by_key, columns, event, sums

USAGE = st.dictionaries(st.sampled_from(["input", "output", "calls"]), st.sampled_from([0, 0, 1, 5, QUANTITY_MAX]), min_size=1)
EVENTS = st.builds(event, st.sampled_from("ab"), st.sampled_from("mn"), st.integers(0, 6), USAGE)


@given(st.lists(st.lists(EVENTS, min_size=1, max_size=8), max_size=5))
def test_runs_come_to_what_their_events_come_to_one_by_one(runs: list[list[dict[str, Any]]]) -> None:
    plain, subject, rows = sums()
    wanted = Rows(CATALOGUE)
    for run in runs:
        subject.add(columns(plain, run), rows)
        for document in run:
            wanted.add_event(parse_event(document, arrival_ms=0))
        assert subject.bytes + rows.bytes >= wanted.bytes
    subject.move_to(rows)
    assert subject.bytes == 0
    assert by_key(rows) == by_key(wanted)
