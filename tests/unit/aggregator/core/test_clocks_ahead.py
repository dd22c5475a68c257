"""A sender whose clock is ahead: its event counts once, however late a copy comes and whatever was forgotten meanwhile."""

from collections import Counter

import pytest
from taximeter_emitter.wire.limits import CLOCK_AHEAD_MAX_MS, MINUTE_MS

from aggregator.core.counting import PartitionCounter
from metering.records.record import Record
from tests.support.aggregator_counters import counter, cut
from tests.support.aggregator_records import HORIZON_MS, START_MS, Event, Numbered, encode

AHEAD = [0, 4 * MINUTE_MS, 50 * MINUTE_MS, CLOCK_AHEAD_MAX_MS]


class Log:
    """Counts each batch by itself. Ids are archived at once, so that they are forgotten as soon as they may be."""

    def __init__(self) -> None:
        self._counter: PartitionCounter = counter(recent_max=0)
        self._offset = 0

    def take(self, log_time_ms: int, *events: Event) -> Counter[str]:
        """What becomes of a batch of an emitter of its own."""
        value, _ = encode(Numbered(f"e{self._offset}", 0, events))
        self._counter.count_many([Record(self._offset, log_time_ms, None, value, ())], 10**9)
        self._offset += 1
        found = cut(self._counter).tally.events
        return Counter({"counted": found.counted, "duplicate": found.duplicates}) + Counter(found.dead_lettered)

    def latest_of_emitters(self) -> list[int]:
        """The own time of the latest event of each, by which they are forgotten."""
        return [state.latest_ms for state in self._counter.sequences.states()]


def event(event_id: str | None, time_ms: int, *, stamped: bool = True) -> Event:
    return Event(event_id, "c", (("input", 1),), "m", time_ms, stamped)


@pytest.mark.parametrize("ahead_ms", AHEAD)
def test_a_copy_is_known_until_it_is_too_old(ahead_ms: int) -> None:
    log, theirs = Log(), event("a", START_MS + ahead_ms)
    assert log.take(START_MS, theirs) == {"counted": 1}
    last_ms = theirs.time_ms + HORIZON_MS
    log.take(last_ms, event("b", last_ms))  # by now all is forgotten that may be
    assert log.take(last_ms, theirs) == {"duplicate": 1}
    assert set(log.take(last_ms + 1, theirs)) <= {"duplicate", "past_horizon"}


def test_a_time_that_is_further_ahead_is_in_the_future_until_it_comes() -> None:
    log, theirs = Log(), event("a", START_MS + CLOCK_AHEAD_MAX_MS + 1)
    assert log.take(START_MS, theirs) == {"in_future": 1}
    assert log.take(START_MS + 1, theirs) == {"counted": 1}
    last_ms = theirs.time_ms + HORIZON_MS
    log.take(last_ms, event("b", last_ms))
    assert log.take(last_ms, theirs) == {"duplicate": 1}


@pytest.mark.parametrize("ahead_ms", [0, CLOCK_AHEAD_MAX_MS, CLOCK_AHEAD_MAX_MS + 1])
def test_an_emitter_is_remembered_by_the_time_that_it_set(ahead_ms: int) -> None:
    log = Log()
    log.take(START_MS, *(event(None, time_ms) for time_ms in (START_MS - 1, START_MS + ahead_ms)))
    assert log.latest_of_emitters() == [START_MS + min(ahead_ms, CLOCK_AHEAD_MAX_MS)]


def test_what_its_client_dates_is_in_the_future_after_five_minutes() -> None:
    log = Log()
    assert log.take(START_MS, event("a", START_MS + 5 * MINUTE_MS, stamped=False)) == {"counted": 1}
    assert log.take(START_MS, event("b", START_MS + 5 * MINUTE_MS + 1, stamped=False)) == {"in_future": 1}
