"""Bugs in what becomes of latest values, put in on purpose."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from unittest.mock import patch

from aggregator.reading.events import Events
from aggregator.sums.series_meters import SeriesMeters
from metering.folds.told_readings import SaidAgain, ToldReadings
from metering.records.chain import NO_OFFSET
from metering.records.integer_columns import Integers
from reporter.planning.unplanned_readings import UnplannedReadings


@contextmanager
def latest_values_are_added_up() -> Iterator[None]:
    """Two values that wait for one intent become their sum."""
    real = UnplannedReadings._take

    def take(self: UnplannedReadings, customer: str, meter: str, happened_ms: int, value: int, *, is_newer: bool) -> None:
        _, before = self._latest.get((customer, meter, self._periods.since_s(customer, happened_ms)), (0, 0))
        real(self, customer, meter, happened_ms, value + before, is_newer=is_newer)

    with patch.object(UnplannedReadings, "_take", take):
        yield


@contextmanager
def the_latest_value_is_the_one_that_came_last() -> Iterator[None]:
    """A reporter keeps what it read last, whenever it happened."""

    def take(self: UnplannedReadings, customer: str, meter: str, happened_ms: int, value: int, *, is_newer: bool) -> None:
        assert is_newer in {True, False}
        self._latest[customer, meter, self._periods.since_s(customer, happened_ms)] = happened_ms, value

    with patch.object(UnplannedReadings, "_take", take):
        yield


@contextmanager
def an_older_value_is_sent_behind_a_later_one() -> Iterator[None]:
    """Nobody looks at what was told before."""
    with patch.object(ToldReadings, "has_later", lambda *_: False):
        yield


@contextmanager
def what_was_told_is_forgotten_on_takeover() -> Iterator[None]:
    """A new owner goes back in the ledger as far as is open, and no further, and nobody says again what was told before."""
    with patch.object(ToldReadings, "oldest", ()), patch.object(ToldReadings, "say_again", lambda *_: SaidAgain((), NO_OFFSET)):
        yield


@contextmanager
def a_reading_of_zero_is_none() -> Iterator[None]:
    """As for sums."""
    real = SeriesMeters.readings

    def readings(self: SeriesMeters, place: int, events: Events) -> tuple[Integers, Integers]:
        taken, values = real(self, place, events)
        return taken[values[taken] > 0], values

    with patch.object(SeriesMeters, "readings", readings):
        yield


PLANTED_IN_LATEST: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    planted.__name__: planted
    for planted in (
        latest_values_are_added_up,
        the_latest_value_is_the_one_that_came_last,
        an_older_value_is_sent_behind_a_later_one,
        what_was_told_is_forgotten_on_takeover,
        a_reading_of_zero_is_none,
    )
}
