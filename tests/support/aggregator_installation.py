"""One partition of an installation in memory: an aggregator that sets events aside, and a log from which they are taken back."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import orjson

from aggregator.core.counting import PartitionCounter
from aggregator.core.counting_rules import CountingRules
from aggregator.dead_letters.redriving import DeadLetterLog
from aggregator.takeover import CountingTakeover
from metering.folds.catalogue_timeline import always
from metering.kafka.partition_log import Appended, Appender, LogUnavailable
from metering.kafka.topics import Topics, topics_named
from metering.records.dead_letter import encode_dead_letter
from metering.records.meters import Catalogue
from tests.support.aggregator_records import START_MS, rules
from tests.support.ids_in_memory import in_memory
from tests.support.manual_clock import ManualClock
from tests.support.metering_memory_log import MemoryLog, finished

TOPICS: Topics = topics_named("usage")


class MemoryAppender(Appender):
    """Appends to a MemoryLog. After `fails_after` appends the next one is not acknowledged: it arrives or not, as `arrives` says."""

    def __init__(self, log: MemoryLog, clock: ManualClock) -> None:
        self.log = log
        self.clock = clock
        self.fails_after: int | None = None
        self.arrives = True

    async def append(
        self, topic: str, partition: int, value: bytes | None, *, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> Appended:
        assert partition == 0
        assert key is None
        fails = self.fails_after == 0
        if self.fails_after is not None:
            self.fails_after -= 1
        if fails:
            self.fails_after = None
            if not self.arrives:
                raise LogUnavailable("not acknowledged")
        kept = [(name, content) for name, content in headers if content is not None]
        record = self.log.append(topic, value, at_ms=self.clock.now_ms(), headers=kept)
        if fails:
            raise LogUnavailable("not acknowledged")
        return Appended(record.offset, record.timestamp)


class MemoryInstallation:
    """`emit` writes to usage.events, `count` lets the aggregator tally what is there, `dead_letters` takes back what it set aside.

    `counted`: units by customer and meter in accepted tallies.
    """

    def __init__(self) -> None:
        self.clock = ManualClock(START_MS)
        self.log = MemoryLog()
        self.appender = MemoryAppender(self.log, self.clock)
        self.rules: CountingRules = rules(topic=TOPICS.events.name, partition_of=at_home)
        self.counted: Counter[tuple[str, str]] = Counter()
        self._counter = self._owner()

    @property
    def catalogue(self) -> Catalogue:
        """What is counted by."""
        return self.rules.timeline.versions[-1].catalogue

    def dead_letters(self) -> DeadLetterLog:
        """A reader of its own each time, as each command has."""
        return DeadLetterLog(self.log, TOPICS, partitions=1, clock=self.clock)

    def emit(self, document: object) -> None:
        """One record with this JSON."""
        self.log.append(TOPICS.events.name, orjson.dumps(document), at_ms=self.clock.now_ms())

    def count(self, *, dies: bool = False) -> None:
        """Count to the end of the log. An aggregator that dies has written its dead letters and no tally; another one takes over."""
        events = self.log.topics.get(TOPICS.events.name, [])
        for record in events[self._counter.position :]:
            if record is not None:
                self._counter.count(record)
        cut = self._counter.cut()
        for letter in cut.dead_letters:
            value, headers = encode_dead_letter(letter)
            self.log.append(TOPICS.deadletters.name, value, at_ms=self.clock.now_ms(), headers=[(name, raw or b"") for name, raw in headers])
        if dies:
            self._counter = self._owner()
            return
        landed = self.log.append(TOPICS.tallies.name, cut.value, at_ms=self.clock.now_ms())
        assert self._counter.observe(landed.offset, cut.tally)
        for row in cut.tally.rows:
            self.counted[row.customer, row.meter] += row.quantity

    def change_catalogue(self, catalogue: Catalogue) -> None:
        """Another owner with other meters."""
        self.rules = replace(self.rules, timeline=always(catalogue))
        self._counter = self._owner()

    def _owner(self) -> PartitionCounter:
        takeover = CountingTakeover(self.log, self.rules, tallies_topic=TOPICS.tallies.name, found_at_log_start=True, snapshots=in_memory())
        return finished(takeover.take_over(0))


def at_home(_customer: str) -> int:
    """There is one partition."""
    return 0
