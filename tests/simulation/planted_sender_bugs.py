"""Bugs in what is made of a sender's clock and of usage fields that nobody knows, put in on purpose."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from unittest.mock import patch

from taximeter_emitter.wire.batch import Batch
from taximeter_emitter.wire.errors import Reason

from aggregator.core import counting
from aggregator.reading import joined_batches
from aggregator.reading.screening import set_aside_reasons, unknown_usage
from aggregator.reading.stamped_times import Ahead, at_log_time
from aggregator.worker import CountingWorker
from metering.records.meters import Catalogue


@contextmanager
def stamped_times_are_capped_by_the_clock_of_whoever_counts() -> Iterator[None]:
    """So another owner counts the same event in another window."""
    count_inbox = CountingWorker._count_inbox
    now_ms = 0

    def counting_now(self: CountingWorker, *given: object, **named: object) -> object:
        nonlocal now_ms
        now_ms = self._clock.now_ms()
        return count_inbox(self, *given, **named)  # type: ignore[arg-type]  # passed on

    def capped(batch: Batch, _log_time_ms: int) -> tuple[Batch, Ahead]:
        return at_log_time(batch, now_ms)

    with patch.object(CountingWorker, "_count_inbox", counting_now), patch.object(counting, "at_log_time", capped):
        yield


@contextmanager
def stamped_times_are_not_capped_in_joined_batches() -> Iterator[None]:
    """The quick way takes a sender's clock for right."""

    def as_they_are(times: joined_batches.Unsigned, *_: object) -> tuple[joined_batches.Unsigned, dict[str, Ahead]]:
        return times, {}

    with patch.object(joined_batches, "_at_log_times", as_they_are):
        yield


@contextmanager
def a_clock_that_is_hours_ahead_is_believed() -> Iterator[None]:
    """Its events count at the log time, however far it is ahead."""

    def capped(batch: Batch, log_time_ms: int) -> tuple[Batch, Ahead]:
        return at_log_time(batch, log_time_ms, ahead_max_ms=10**15)

    with patch.object(counting, "at_log_time", capped), patch.object(joined_batches, "CLOCK_AHEAD_MAX_MS", 10**15):
        yield


@contextmanager
def times_of_clients_are_capped_too() -> Iterator[None]:
    """An event that its client dates in the future is counted now."""

    def capped(batch: Batch, log_time_ms: int) -> tuple[Batch, Ahead]:
        return at_log_time(batch._replace(stamped=True), log_time_ms)

    with patch.object(counting, "at_log_time", capped):
        yield


@contextmanager
def unknown_usage_is_not_named() -> Iterator[None]:
    """What a batch has of fields that no meter sums is in no row, and nobody says so."""
    with patch.object(counting, "unknown_usage", lambda *_: []):
        yield


@contextmanager
def unknown_usage_of_duplicates_is_named_too() -> Iterator[None]:
    """All of a batch is named, whichever of its events count."""

    def of_all(batch: Batch, _keep: Sequence[bool] | None, catalogue: Catalogue) -> list[tuple[str, int, int]]:
        return unknown_usage(batch, None, catalogue)

    with patch.object(counting, "unknown_usage", of_all):
        yield


@contextmanager
def an_unknown_field_costs_the_event() -> Iterator[None]:
    """An event of a batch with a field that no meter sums is set aside, although it has known ones."""

    def reasons(batch: Batch, log_time_ms: int, catalogue: Catalogue, *given: object, **named: object) -> dict[int, Reason]:
        found = set_aside_reasons(batch, log_time_ms, catalogue, *given, **named)  # type: ignore[arg-type]  # passed on
        for name in batch.usage.keys() - catalogue.known_fields:
            for index, quantity in enumerate(batch.usage[name]):
                if quantity:
                    found.setdefault(index, Reason.UNKNOWN_USAGE_FIELD)
        return found

    with patch.object(counting, "set_aside_reasons", reasons):
        yield


PLANTED_FOR_SENDERS: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    planted.__name__: planted
    for planted in (
        stamped_times_are_capped_by_the_clock_of_whoever_counts,
        stamped_times_are_not_capped_in_joined_batches,
        a_clock_that_is_hours_ahead_is_believed,
        times_of_clients_are_capped_too,
        unknown_usage_is_not_named,
        unknown_usage_of_duplicates_is_named_too,
        an_unknown_field_costs_the_event,
    )
}
