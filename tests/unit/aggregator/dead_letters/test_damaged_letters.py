"""A damaged batch of usage.deadletters: it may hold redrives. So what these may have taken back is doubtful, and the rest is not."""

import pytest

from aggregator.dead_letters.letter_book import EventPlace, SetAsideState
from aggregator.dead_letters.redrive_plan import Judged, RedrivePlan, RedriveVerdict
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


def states(installation: MemoryInstallation) -> dict[int, SetAsideState]:
    return {place.offset: state for place, _, state in finished(installation.dead_letters().read(0)).places()}


def test_who_looks_is_told_what_is_left_out_and_sees_the_rest() -> None:
    installation = set_aside()
    installation.log.damaged[LETTERS] = range(1)
    left_out: list[tuple[int, int]] = []
    book = finished(installation.dead_letters().read(0, lambda start, end, _error: left_out.append((start, end))))
    assert left_out == [(0, 1)]
    assert [place.offset for place, _, _ in book.places()] == [1]


def test_what_a_redrive_in_it_may_have_taken_back_is_doubtful_and_what_was_counted_later_is_open() -> None:
    installation = set_aside()
    assert states(installation) == {0: SetAsideState.OPEN, 1: SetAsideState.OPEN}
    installation.log.damaged[LETTERS] = range(1, 2)
    assert states(installation) == {0: SetAsideState.DOUBTFUL}  # nothing says how old the damaged ones are
    for number, minutes in enumerate((1, 10, 30), start=3):
        installation.clock.advance(minutes * 60)
        installation.emit({"id": str(number), "customer": "ann", "time": "2027-01-15T09:00:00Z", "usage": {"misspelt": 3}})
        installation.count()
    # The first behind the damage came a minute later; brokers' clocks differ by ten.
    assert states(installation) == {0: SetAsideState.DOUBTFUL, 2: SetAsideState.DOUBTFUL, 3: SetAsideState.DOUBTFUL, 4: SetAsideState.OPEN}


def test_old_events_are_not_taken_back_where_nobody_knows_what_was_counted() -> None:
    installation = set_aside()
    installation.log.damaged[LETTERS] = range(1)
    with pytest.raises(RecordUnreadable, match=r"Dead letters 0 to 0 may hold redrives.*a broker lead that has a sound copy"):
        finished(installation.dead_letters().nameless_identities())
    plan = RedrivePlan(0, [Judged(EventPlace(1, 0), None, RedriveVerdict.COUNTED, look_up=True)])
    plan.cannot_look_up("why")
    assert [(each.verdict, each.why, each.look_up) for each in plan.judged] == [(RedriveVerdict.FAILS, "why", False)]
