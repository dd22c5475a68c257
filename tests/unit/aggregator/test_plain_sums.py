"""Sums by arrays come to what rows come to that are added one event at a time."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.event import parse_event
from taximeter_emitter.wire.limits import QUANTITY_MAX

from aggregator.reading.plain_events import PlainColumns, PlainEvents
from aggregator.sums import plain_sums
from aggregator.sums.plain_sums import PlainSums
from aggregator.sums.rows import Rows
from metering.records.meters import Catalogue, Meter
from metering.records.tally import TallyRow

CATALOGUE = Catalogue([Meter("tokens", ("input", "output"), ("model",)), Meter("calls", ("calls",))])


def event(customer: str, model: str, minute: int, usage: dict[str, int]) -> dict[str, Any]:
    time = f"2026-11-22T10:{minute:02}:30.000Z"
    return {"id": "q", "source": "s", "time": time, "customer": customer, "usage": usage, "dimensions": {"model": model}}


USAGE = st.dictionaries(st.sampled_from(["input", "output", "calls"]), st.sampled_from([0, 0, 1, 5, QUANTITY_MAX]), min_size=1)
EVENTS = st.builds(event, st.sampled_from("ab"), st.sampled_from("mn"), st.integers(0, 6), USAGE)


def columns(plain: PlainEvents, documents: list[dict[str, Any]]) -> PlainColumns:
    odd, found = plain.read(list(map(orjson.dumps, documents)), np.zeros(len(documents), np.int64), np.full(len(documents), 2**60))
    assert not odd
    assert found is not None
    return found


def sums() -> tuple[PlainEvents, PlainSums, Rows]:
    plain = PlainEvents(CATALOGUE.usage_fields, lambda _: True, 2)
    return plain, PlainSums(CATALOGUE, plain), Rows(CATALOGUE)


def by_key(rows: Rows) -> list[TallyRow]:
    return sorted(rows.take(), key=lambda row: (row.customer, row.meter, row.dimensions, row.window_start_ms))


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


def test_what_was_cleared_is_not_moved() -> None:
    plain, subject, rows = sums()
    subject.add(columns(plain, [event("a", "m", 0, {"input": 1})]), rows)
    subject.clear()
    subject.move_to(rows)
    assert not rows.take()


def test_a_sum_that_would_not_fit_64_bits_goes_on_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plain_sums, "SUM_MAX", 3 * QUANTITY_MAX)
    plain, subject, rows = sums()
    run = columns(plain, 2 * [event("a", "m", 0, {"input": QUANTITY_MAX})])
    for _ in range(4):
        subject.add(run, rows)
    subject.move_to(rows)
    assert [(row.quantity, row.events) for row in rows.take()] == [(8 * QUANTITY_MAX, 8)]


def test_more_windows_than_may_be_open_are_summed_as_well() -> None:
    plain, subject, rows = sums()
    for minute in range(20):
        subject.add(columns(plain, [event("a", "m", minute, {"input": 1 + minute})]), rows)
    subject.move_to(rows)
    assert [row.quantity for row in by_key(rows)] == list(range(1, 21))
