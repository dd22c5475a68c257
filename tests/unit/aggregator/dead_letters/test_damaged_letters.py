"""A damaged batch of usage.deadletters: who looks goes on behind it and says so; who takes back stops, because it may hold redrives."""

import pytest

from aggregator.dead_letters.letter_book import SetAsideState
from metering.records.fail_closed import RecordUnreadable
from tests.support.aggregator_installation import TOPICS, MemoryInstallation
from tests.support.metering_memory_log import finished

LETTERS = TOPICS.deadletters.name


def set_aside() -> MemoryInstallation:
    """Two events that nobody can count yet, each a dead letter of its own."""
    installation = MemoryInstallation()
    for name in ("1", "2"):
        installation.emit({"id": name, "customer": "ann", "time": "2027-01-15T09:00:00Z", "usage": {"misspelt": 3}})
        installation.count()
    assert len(installation.log.topics[LETTERS]) == 2
    return installation


def test_who_looks_is_told_what_is_left_out_and_sees_the_rest() -> None:
    installation = set_aside()
    installation.log.damaged[LETTERS] = range(1)
    left_out: list[tuple[int, int]] = []
    book = finished(installation.dead_letters().read(0, lambda start, end, _error: left_out.append((start, end))))
    assert left_out == [(0, 1)]
    assert [(place.offset, state) for place, _, state in book.places()] == [(1, SetAsideState.OPEN)]


def test_who_takes_back_stops_and_says_why() -> None:
    installation = set_aside()
    installation.log.damaged[LETTERS] = range(1)
    with pytest.raises(RecordUnreadable, match="Dead letters 0 to 0 may hold redrives"):
        finished(installation.dead_letters().read(0))
    with pytest.raises(RecordUnreadable, match="a broker lead that has a sound copy"):
        finished(installation.dead_letters().nameless_identities())
