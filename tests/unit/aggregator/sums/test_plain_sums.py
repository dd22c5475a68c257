"""Sums by arrays come to what rows come to that are added one event at a time."""

import pytest
from taximeter_emitter.wire.limits import QUANTITY_MAX

from aggregator.sums import plain_sums
from tests.support.aggregator_plain_sums import by_key, columns, event, sums


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
