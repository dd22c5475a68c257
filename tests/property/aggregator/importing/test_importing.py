"""Whatever a file holds, by whomever it is brought in, at once, again, or interrupted anywhere: each line counts once."""

from collections.abc import Coroutine, Generator, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from taximeter_emitter.wire.batch import NO_ID
from taximeter_emitter.wire.event import fingerprint

from aggregator.dead_letters.letter_book import LetterBook
from aggregator.dead_letters.redrive_plan import RedrivePlan, RedriveRules, plan_redrive
from aggregator.dead_letters.redriving import DeadLetterLog, NotRedriven, Signature
from aggregator.importing.import_log import NotImported
from aggregator.importing.import_survey import ImportRules
from aggregator.importing.importer import Importer, ImportKit, WrittenSoFar
from aggregator.importing.source_entries import SourceEvent
from metering.kafka.partition_log import Appended, Appender, LogUnavailable
from metering.plans.import_records import IMPORT_HEADER
from metering.records.redrive import NO_EDIT
from tests.support.aggregator_entries import Lines
from tests.support.aggregator_installation import TOPICS, MemoryInstallation, at_home
from tests.support.aggregator_records import HORIZON_MS
from tests.support.metering_memory_log import finished

CUSTOMERS = ("ann", "bob")
SIGNATURE = Signature("the gateway was down", "ann")
# Whose, which id (None: none), how many units, and how many hours before the beginning.
LINE = st.tuples(st.sampled_from(CUSTOMERS), st.none() | st.integers(0, 3), st.integers(1, 3), st.sampled_from([0, 1, 20, 30]))
FILE = st.lists(LINE, max_size=8)
STEP = st.one_of(
    st.builds(lambda number: ("send", number), st.integers(0, 7)),
    st.builds(lambda dies: ("count", dies), st.booleans()),
    st.builds(lambda hours: ("wait", hours), st.integers(1, 40)),
    st.sampled_from([("look up", None), ("take back", None)]),
    # Which of three machines takes the next step, for how long, and how that ends.
    st.builds(lambda order, end: ("bring in", (order, end)), st.lists(st.integers(0, 2), max_size=35), st.sampled_from(["killed", "lost", "unsent"])),
)


class Pause:
    """A point at which another machine may go on, or this one may be killed."""

    def __await__(self) -> Generator[None, None, None]:
        yield


class PausingAppender(Appender):
    """Pauses before and after each append."""

    def __init__(self, installation: MemoryInstallation) -> None:
        self.fault: str | None = None
        self._appender = installation.appender

    async def append(
        self, topic: str, partition: int, value: bytes | None, *, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> Appended:
        await Pause()
        fault, self.fault = self.fault, None
        if fault == "unsent":
            raise LogUnavailable("it was not sent")
        found = await self._appender.append(topic, partition, value, key=key, headers=headers)
        if fault == "lost":
            raise LogUnavailable("it was not acknowledged")
        await Pause()
        return found


class Machine:
    """Brings the file in; keeps what it wrote across its own deaths."""

    def __init__(self, installation: MemoryInstallation, lines: Lines) -> None:
        self.appender = PausingAppender(installation)
        self._installation = installation
        self._lines = lines
        self._following = [0]

    async def bring_in(self) -> None:
        rules = ImportRules(self._installation.catalogue, self._installation.clock.now_ms(), HORIZON_MS, at_home)
        kit = ImportKit(self._installation.log, self.appender, TOPICS, 1)
        importer = Importer(kit, self._installation.dead_letters(), rules)
        book, accepted = await importer.begin(self._lines, (await self._lines.content()).digest, SIGNATURE)
        if accepted.emitter not in book.ended:
            await importer.write(self._lines, book, accepted, WrittenSoFar(self._following, self._keep))

    def _keep(self, following: Sequence[int]) -> None:
        self._following = list(following)


class Model:
    """An installation, a file, two machines that bring it in, a third that brings in another file with those of its events that have an id, and
    clients that send some of the same events.
    """

    def __init__(self, lines: Sequence[tuple[str, int | None, int, int]]) -> None:
        self.installation = MemoryInstallation()
        self._start_ms = self.installation.clock.now_ms()
        self._lines = lines
        events = [self._event(line) for line in lines]
        with_ids = [event for event in reversed(events) if event.fingerprint != NO_ID]
        self.machines = [Machine(self.installation, Lines(found)) for found in (events, events, with_ids)]
        self.owed = dict.fromkeys(CUSTOMERS, 0)
        self._looked_up: list[tuple[DeadLetterLog, LetterBook, RedrivePlan]] = []
        seen = set()
        for line, event in zip(lines, events, strict=True):
            if event.fingerprint == NO_ID or (event.customer, event.fingerprint) not in seen:
                self.owed[event.customer] += line[2]
            seen.add((event.customer, event.fingerprint))

    def send(self, number: int) -> None:
        """A client sends the event of a line, which has an id."""
        if number >= len(self._lines) or self._lines[number][1] is None:
            return
        customer, _, units, _ = line = self._lines[number]
        moment = datetime.fromtimestamp(self._time_ms(line) / 1000, UTC).isoformat()
        self.installation.emit({"id": _id(line), "time": moment, "customer": customer, "usage": {"input": units}})

    def bring_in(self, order: Sequence[int], end: str) -> None:
        """The machines, in this order of steps; then what is left of each is killed, or loses an append and ends by itself."""
        running: list[Coroutine[Any, Any, None] | None] = [machine.bring_in() for machine in self.machines]
        for which in order:
            self.step(running, which)
        for which, machine in enumerate(self.machines):
            if end != "killed":
                machine.appender.fault = end
                self.finish(running, which)
        for left in filter(None, running):
            left.close()

    def look_up(self) -> None:
        """Plan to take back what is set aside, as the command does before it asks."""
        log = self.installation.dead_letters()
        book = finished(log.read(0))
        rules = RedriveRules(self.installation.catalogue, self.installation.clock.now_ms(), HORIZON_MS)
        plan = plan_redrive(book, [place for place, _, state in book.places() if state == "open"], NO_EDIT, rules)
        finished(log.look_up(plan))
        self._looked_up.append((log, book, plan))

    def take_back(self) -> None:
        """Do what was planned last, however long ago; unless another plan took some of it."""
        if self._looked_up:
            log, book, plan = self._looked_up.pop()
            with suppress(NotRedriven):
                for part in plan.parts():
                    finished(log.redrive(book, part, NO_EDIT, SIGNATURE, self.installation.appender))

    @classmethod
    def finish(cls, running: list[Coroutine[Any, Any, None] | None], which: int) -> None:
        """One machine goes on to its end."""
        while running[which] is not None:
            cls.step(running, which)

    @staticmethod
    def step(running: list[Coroutine[Any, Any, None] | None], which: int) -> None:
        """One machine goes on to its next pause."""
        machine = running[which]
        if machine is not None:
            try:
                machine.send(None)
            except (StopIteration, LogUnavailable):
                running[which] = None

    def _event(self, line: tuple[str, int | None, int, int]) -> SourceEvent:
        mark = NO_ID if line[1] is None else fingerprint("", _id(line))
        return SourceEvent(line[0], (), self._time_ms(line), (("input", line[2]),), mark)

    def _time_ms(self, line: tuple[str, int | None, int, int]) -> int:
        return self._start_ms - line[3] * 3_600_000


def _id(line: tuple[str, int | None, int, int]) -> str:
    """The same id means the same event."""
    return f"{line[1]}-{line[2]}-{line[3]}"


@given(FILE, st.lists(STEP, max_size=12))
def test_each_line_counts_once(lines: list[tuple[str, int | None, int, int]], steps: list[tuple[str, Any]]) -> None:
    model = Model(lines)
    for kind, about in steps:
        match kind:
            case "send":
                model.send(about)
            case "count":
                model.installation.count(dies=about)
            case "wait":
                model.installation.clock.advance(about * 3600)
            case "look up":
                model.look_up()
            case "take back":
                model.take_back()
            case _:
                model.bring_in(*about)
    for machine in model.machines:
        running: list[Coroutine[Any, Any, None] | None] = [machine.bring_in()]
        Model.finish(running, 0)
    # What waited too long is set aside, and taken back when it is past the horizon for sure.
    for _ in range(4):
        model.installation.count()
        model.installation.clock.advance(2 * 3600)
        model.look_up()
        model.take_back()
    model.installation.count()
    assert {customer: model.installation.counted[customer, "tokens"] for customer in CUSTOMERS} == model.owed
    claims = [record for record in model.installation.log.topics.get(TOPICS.deadletters.name, []) if record and IMPORT_HEADER in dict(record.headers)]
    assert claims, "it is written down"


OLD = ("ann", 1, 7, 30)


def test_a_search_says_nothing_of_what_counted_after_it() -> None:
    """A redrive and an import of one old event both search before either writes."""
    for first in ("redrive", "import"):
        model = Model([OLD])
        model.send(0)
        model.installation.count()  # it is too old, and set aside
        model.look_up()
        running: list[Coroutine[Any, Any, None] | None] = [model.machines[2].bring_in()]
        for _ in range(2):
            Model.step(running, 0)
        assert any(record and IMPORT_HEADER in dict(record.headers) for record in model.installation.log.topics[TOPICS.deadletters.name])
        assert not model.installation.counted
        if first == "redrive":
            model.take_back()
            model.installation.count()
        Model.finish(running, 0)
        model.installation.count(dies=True)
        model.installation.count()
        if first == "import":
            model.take_back()
            model.installation.count()
        assert model.installation.counted["ann", "tokens"] == model.owed["ann"] == 7


def test_a_search_is_the_last_word_for_as_long_as_ids_are_remembered() -> None:
    """An import was searched for, and is written two days later. Meanwhile one of its events was counted, and forgotten."""
    model = Model([OLD])
    model.send(0)
    model.installation.count()
    model.look_up()
    running: list[Coroutine[Any, Any, None] | None] = [model.machines[2].bring_in()]
    for _ in range(2):
        Model.step(running, 0)
    model.take_back()
    model.installation.count()
    for _ in range(3):
        model.installation.clock.advance(20 * 3600)
        model.installation.emit({"customer": "bob", "id": str(model.installation.clock.now_ms()), "usage": {"input": 1}})
        model.installation.count()
    Model.finish(running, 0)
    model.installation.count()
    assert model.installation.counted["ann", "tokens"] == model.owed["ann"] == 7
    model.look_up()
    model.take_back()
    model.installation.count()
    assert model.installation.counted["ann", "tokens"] == 7
    assert {state for _, _, state in finished(model.installation.dead_letters().read(0)).places()} == {"redriven", "known"}


def test_a_file_that_changed_is_refused() -> None:
    model = Model([("ann", 1, 1, 0)])
    kit = ImportKit(model.installation.log, model.installation.appender, TOPICS, 1)
    importer = Importer(kit, model.installation.dead_letters(), ImportRules(model.installation.catalogue, 0, HORIZON_MS, at_home))
    with pytest.raises(NotImported, match="its content has changed"):
        finished(importer.begin(Lines([]), "another", SIGNATURE))
