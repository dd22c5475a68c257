"""Bugs in who is billed for whom, put in on purpose."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from unittest.mock import patch

from metering.records.ledger_records import Intent, MeterEvent
from reporter.planning.planner import PartitionReporter
from reporter.planning.unplanned import UnplannedUsage
from reporter.worker import ReportingWorker


@contextmanager
def who_is_billed_is_asked_when_it_is_sent() -> Iterator[None]:
    """And not when it is planned: an attempt after a takeover may be for another."""
    real = ReportingWorker._enqueue

    def enqueue(self: ReportingWorker, reporter: PartitionReporter, offset: int, *, doubtful: bool) -> None:
        entry = reporter.ledger.open.get(offset)
        if entry is not None and isinstance(entry.entry, Intent):
            events = [replace(event, linked=reporter._links.of(event.customer) or event.linked) for event in entry.entry.meter_events]
            entry.entry = replace(entry.entry, meter_events=events)
        real(self, reporter, offset, doubtful=doubtful)

    with patch.object(ReportingWorker, "_enqueue", enqueue):
        yield


@contextmanager
def usage_without_a_link_is_forgotten_on_takeover() -> Iterator[None]:
    """A new owner takes in what it can plan."""
    real = PartitionReporter._take_in

    def take_in(self: PartitionReporter, events: Iterable[MeterEvent]) -> None:
        real(self, [event for event in events if self._links.of(event.customer) is not None])

    with patch.object(PartitionReporter, "_take_in", take_in):
        yield


@contextmanager
def what_a_link_releases_stays_carried() -> Iterator[None]:
    """It is told, and told again by the next intent."""
    real = UnplannedUsage.move_to

    def move_to(self: UnplannedUsage, other: UnplannedUsage, *are_moved: Callable[[str, str], bool]) -> int | None:
        before = {key: list(entry) for key, entry in self._sums.items()}
        oldest = real(self, other, *are_moved)
        if self._carried_max is not None:
            self._sums = before
        return oldest

    with patch.object(UnplannedUsage, "move_to", move_to):
        yield


@contextmanager
def customers_are_billed_by_their_own_ids() -> Iterator[None]:
    """Whatever their links say."""
    with patch.object(PartitionReporter, "_linked", lambda _, event: event):
        yield


@contextmanager
def usage_that_finds_no_place_is_dropped() -> Iterator[None]:
    """Instead of being told for nobody."""
    real = PartitionReporter._with_place
    with patch.object(PartitionReporter, "_with_place", lambda self, carried: (real(self, carried)[0], [])):
        yield


@contextmanager
def usage_that_finds_no_place_is_carried_as_well() -> Iterator[None]:
    """It is told for nobody, and again by the next intent."""
    real = PartitionReporter._with_place
    with patch.object(PartitionReporter, "_with_place", lambda self, carried: (list(carried), real(self, carried)[1])):
        yield


PLANTED_IN_LINKS: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    "who_is_billed_is_asked_when_it_is_sent": who_is_billed_is_asked_when_it_is_sent,
    "usage_without_a_link_is_forgotten_on_takeover": usage_without_a_link_is_forgotten_on_takeover,
    "what_a_link_releases_stays_carried": what_a_link_releases_stays_carried,
    "customers_are_billed_by_their_own_ids": customers_are_billed_by_their_own_ids,
    "usage_that_finds_no_place_is_dropped": usage_that_finds_no_place_is_dropped,
    "usage_that_finds_no_place_is_carried_as_well": usage_that_finds_no_place_is_carried_as_well,
}
