"""An event that was set aside, a copy of it, and a redrive: in every order, by any clock up to an hour ahead, they count once."""

from datetime import UTC, datetime
from typing import Any

import pytest
from taximeter_emitter.wire.limits import HOUR_MS, MINUTE_MS

from aggregator.dead_letters.letter_book import LetterBook, SetAsideState
from aggregator.dead_letters.redrive_plan import RedrivePlan, RedriveRules, plan_redrive
from aggregator.dead_letters.redriving import Signature
from metering.records.redrive import NO_EDIT
from tests.support.aggregator_installation import MemoryInstallation
from tests.support.aggregator_records import HORIZON_MS, START_MS
from tests.support.metering_memory_log import finished


class Person:
    """Redrives all that is open. `clock_ms`: how far the clock of the machine is ahead."""

    def __init__(self, installation: MemoryInstallation, *, clock_ms: int = 0) -> None:
        self._installation = installation
        self._clock_ms = clock_ms
        self._log = installation.dead_letters()
        self._appender = installation.appender

    def plans(self) -> tuple[LetterBook, RedrivePlan]:
        book = finished(self._log.read(0))
        rules = RedriveRules(self._installation.catalogue, self._installation.clock.now_ms() + self._clock_ms, HORIZON_MS)
        plan = plan_redrive(book, [place for place, _, state in book.places() if state is SetAsideState.OPEN], NO_EDIT, rules)
        finished(self._log.look_up(plan))
        return book, plan

    def redrives(self, planned: tuple[LetterBook, RedrivePlan]) -> None:
        book, plan = planned
        for part in plan.parts():
            finished(self._log.redrive(book, part, NO_EDIT, Signature("late", "ann"), self._appender))


def event(time_ms: int) -> dict[str, Any]:
    return {"id": "1", "customer": "ann", "time": datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(), "usage": {"input": 3}}


def wait(installation: MemoryInstallation, milliseconds: int) -> None:
    installation.clock.advance(milliseconds / 1000)


def tokens(installation: MemoryInstallation) -> int:
    installation.count()
    return installation.counted["ann", "tokens"]


def set_aside(time_ms: int) -> MemoryInstallation:
    """An event of this time that came too early, and a client that will send it again."""
    installation = MemoryInstallation()
    installation.emit(event(time_ms))
    assert tokens(installation) == 0
    return installation


@pytest.mark.parametrize("later_ms", [HOUR_MS, HORIZON_MS, HORIZON_MS + 30 * MINUTE_MS, 3 * HORIZON_MS])
def test_a_copy_that_was_counted_when_its_time_had_come_is_known_to_a_redrive_however_late(later_ms: int) -> None:
    installation = set_aside(START_MS + HOUR_MS)
    wait(installation, HOUR_MS)
    installation.emit(event(START_MS + HOUR_MS))
    assert tokens(installation) == 3
    wait(installation, later_ms)
    person = Person(installation)
    person.redrives(person.plans())
    assert tokens(installation) == 3


@pytest.mark.parametrize("age_ms", [HORIZON_MS - 30 * MINUTE_MS, HORIZON_MS - 1])
def test_a_copy_that_comes_between_the_search_of_the_log_and_the_redrive_counts_once(age_ms: int) -> None:
    installation = set_aside(START_MS + HOUR_MS)
    wait(installation, HOUR_MS + age_ms)
    person = Person(installation)
    planned = person.plans()
    installation.emit(event(START_MS + HOUR_MS))
    assert tokens(installation) == 3
    person.redrives(planned)
    assert tokens(installation) == 3


@pytest.mark.parametrize("clock_ms", [-3 * HOUR_MS, 0, HOUR_MS - 2])
@pytest.mark.parametrize("age_ms", [HOUR_MS, HORIZON_MS - 30 * MINUTE_MS, HORIZON_MS - 1, HORIZON_MS + 1])
def test_a_copy_that_comes_after_the_redrive_counts_once(age_ms: int, clock_ms: int) -> None:
    installation = set_aside(START_MS + HOUR_MS)
    wait(installation, HOUR_MS + age_ms)
    person = Person(installation, clock_ms=clock_ms)
    person.redrives(person.plans())
    tokens(installation)
    installation.change_catalogue(installation.catalogue)  # a new owner, which reads the ids from the log
    installation.emit(event(START_MS + HOUR_MS))
    assert tokens(installation) in {0, 3}
    wait(installation, HORIZON_MS + 2 * HOUR_MS)
    for _ in range(2):  # what was set aside again is taken back when it is old enough to be looked for
        right = Person(installation)
        right.redrives(right.plans())
        assert tokens(installation) == 3
