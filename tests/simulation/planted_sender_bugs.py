"""Bugs in what is made of a sender's clock and of usage fields that nobody knows, put in on purpose."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np

from aggregator.core import counting, judging, numbering
from aggregator.core.numbering import at_log_times
from aggregator.core.pending_tally import Pending
from aggregator.ids.fingerprints import Mask
from aggregator.reading.events import Events
from aggregator.worker import CountingWorker
from metering.records.integer_columns import Integers


@contextmanager
def stamped_times_are_capped_by_the_clock_of_whoever_counts() -> Iterator[None]:
    """So another owner counts the same event in another window."""
    count_inbox = CountingWorker._count_inbox
    now_ms = 0

    def counting_now(self: CountingWorker, *given: object, **named: object) -> object:
        nonlocal now_ms
        now_ms = self._clock.now_ms()
        return count_inbox(self, *given, **named)  # type: ignore[arg-type]  # passed on

    def capped(pending: Pending, events: Events, moments: Integers, *given: Any) -> Events:
        return at_log_times(pending, events, np.full(len(moments), now_ms), *given)

    with patch.object(CountingWorker, "_count_inbox", counting_now), patch.object(counting, "at_log_times", capped):
        yield


@contextmanager
def stamped_times_are_not_capped() -> Iterator[None]:
    """A sender's clock is taken for right."""
    with patch.object(counting, "at_log_times", lambda _pending, events, *_: events):
        yield


@contextmanager
def a_clock_that_is_hours_ahead_is_believed() -> Iterator[None]:
    """Its events count at the log time, however far it is ahead."""
    with patch.object(numbering, "CLOCK_AHEAD_MAX_MS", 10**15):
        yield


@contextmanager
def times_of_clients_are_capped_too() -> Iterator[None]:
    """An event that its client dates in the future is counted now."""

    def capped(pending: Pending, events: Events, *given: Any) -> Events:
        return at_log_times(pending, events._replace(stamped=np.ones(len(events.times), np.bool_)), *given)

    with patch.object(counting, "at_log_times", capped):
        yield


@contextmanager
def unknown_usage_is_not_named() -> Iterator[None]:
    """What events have of fields that no meter sums is in no row, and nobody says so."""
    with patch.object(Pending, "add_unknown", lambda *_: None):
        yield


@contextmanager
def unknown_usage_of_duplicates_is_named_too() -> Iterator[None]:
    """All of a batch is named, whichever of its events count."""

    real = Events.chosen

    def chosen(events: Events, which: Mask) -> Events:
        return real(events, which)._replace(unknown=[(0, name, quantity) for _, name, quantity in events.unknown])

    with patch.object(Events, "chosen", chosen):
        yield


@contextmanager
def an_unknown_field_costs_the_event() -> Iterator[None]:
    """An event with a field that no meter sums is set aside, although it has known ones."""

    def all_with_one(events: Events) -> Mask:
        found = np.zeros(len(events.times), np.bool_)
        found[[place for place, _, _ in events.unknown]] = True
        return found

    with patch.object(judging, "_is_unknown", all_with_one):
        yield


PLANTED_FOR_SENDERS: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    planted.__name__: planted
    for planted in (
        stamped_times_are_capped_by_the_clock_of_whoever_counts,
        stamped_times_are_not_capped,
        a_clock_that_is_hours_ahead_is_believed,
        times_of_clients_are_capped_too,
        unknown_usage_is_not_named,
        unknown_usage_of_duplicates_is_named_too,
        an_unknown_field_costs_the_event,
    )
}
