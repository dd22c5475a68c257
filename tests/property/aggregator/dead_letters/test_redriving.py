"""Whatever is set aside, by whomever it is taken back and however often that is interrupted: each event counts once."""

from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st

from aggregator.dead_letters.letter_book import EventPlace, LetterBook, SetAsideState
from aggregator.dead_letters.redrive_plan import RedriveRules, plan_redrive
from aggregator.dead_letters.redriving import NotRedriven, Signature
from metering.kafka.partition_log import LogUnavailable
from metering.records.redrive import NO_EDIT, REDRIVE_HEADER, Edit
from tests.support.aggregator_installation import TOPICS, MemoryInstallation
from tests.support.aggregator_records import HORIZON_MS
from tests.support.metering_memory_log import finished
from tests.support.schemas import faults

CUSTOMERS = ("ann", "bob")
RENAMED = Edit(rename=(("mystery", "input"),))
SIGNATURE = Signature("the field was misspelt", "ann")
# Whose, which id, how many units, under which name, and how many hours ago when it is sent first.
SENT = st.tuples(st.sampled_from(CUSTOMERS), st.integers(0, 3), st.integers(1, 3), st.sampled_from(["input", "mystery"]), st.sampled_from([0, 1, 30]))
EMIT = st.lists(SENT, max_size=6)
# After how many appends one is not acknowledged, and whether it arrived all the same.
FAULT = st.tuples(st.integers(0, 5), st.booleans())
STEP = st.one_of(
    st.builds(lambda events: ("emit", events), EMIT),
    st.builds(lambda dies: ("count", dies), st.booleans()),
    st.builds(lambda fault: ("redrive", fault), st.none() | FAULT),
    st.builds(lambda edits: ("race", edits), st.booleans()),
    st.builds(lambda hours: ("wait", hours), st.integers(1, 40)),
)


class Sender:
    """Sends events; one that is sent again is the same to the letter."""

    def __init__(self, installation: MemoryInstallation) -> None:
        self.sent: dict[Any, dict[str, Any]] = {}
        self._installation = installation

    def send(self, event: tuple[str, int, int, str, int]) -> None:
        customer, _, units, name, hours = event
        moment = datetime.fromtimestamp(self._installation.clock.now_ms() // 1000 - hours * 3600, UTC)
        document = {"id": "-".join(map(str, event[1:])), "time": moment.isoformat(), "customer": customer, "usage": {name: units}}
        self._installation.emit(self.sent.setdefault(event, document))

    def owed(self) -> dict[str, int]:
        """Units by customer."""
        return {customer: sum(event[2] for event in self.sent if event[0] == customer) for customer in CUSTOMERS}


def open_places(book: LetterBook) -> list[EventPlace]:
    return [place for place, _, state in book.places() if state is SetAsideState.OPEN]


def redrive(installation: MemoryInstallation, edit: Edit, *, book: LetterBook | None = None) -> None:
    """As the command does it. `book` is what another command read before."""
    log, appender = installation.dead_letters(), installation.appender
    read = finished(log.read(0)) if book is None else book
    for offset in sorted(read.unfinished):
        finished(log.write(read, read.redrives[offset], appender))
    rules = RedriveRules(installation.catalogue, installation.clock.now_ms(), HORIZON_MS)
    places = open_places(read)
    plan = plan_redrive(read, places, edit, rules)
    finished(log.look_up(plan))
    for part in plan.parts():
        finished(log.redrive(read, part, edit, SIGNATURE, appender))


def take(installation: MemoryInstallation, sender: Sender, kind: str, about: Any) -> None:
    """One step."""
    match kind:
        case "emit":
            for event in about:
                sender.send(event)
        case "count":
            installation.count(dies=about)
        case "wait":
            installation.clock.advance(about * 3600)
        case "race":
            stale = finished(installation.dead_letters().read(0))
            redrive(installation, RENAMED)
            with suppress(NotRedriven):
                redrive(installation, RENAMED if about else NO_EDIT, book=stale)
        case _:
            if about is not None:
                installation.appender.fails_after, installation.appender.arrives = about
            with suppress(LogUnavailable):
                redrive(installation, RENAMED)
            installation.appender.fails_after = None


@given(st.lists(STEP, max_size=12))
@example([("emit", [("ann", 0, 1, "input", 30)]), ("count", False), ("redrive", (0, True)), ("wait", 4)])  # set aside again: its search was too old
def test_each_event_counts_once(steps: list[tuple[str, Any]]) -> None:
    installation = MemoryInstallation()
    sender = Sender(installation)
    for kind, about in steps:
        take(installation, sender, kind, about)
    # A redrive that waited may find its events past the horizon; the next one takes those back when they are so for sure.
    for _ in range(4):
        installation.count()
        installation.clock.advance(2 * 3600)
        redrive(installation, RENAMED)
    installation.count()
    assert {customer: installation.counted[customer, "tokens"] for customer in CUSTOMERS} == sender.owed()
    for record in installation.log.topics.get(TOPICS.deadletters.name, []):
        if record is not None and REDRIVE_HEADER in dict(record.headers):
            document = orjson.loads(record.value or b"")
            assert faults(f"usage.deadletters/{document['format'].partition('/')[0]}", document) == []
    assert not [place for place, _, state in finished(installation.dead_letters().read(0)).places() if state is SetAsideState.OPEN]
