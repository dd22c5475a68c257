"""The logs of one partition, and its counter."""

from aggregator.core.counting import PartitionCounter
from aggregator.takeover import CountingTakeover
from tests.support.aggregator_records import EVENTS, START_MS, TALLIES, Event, Single, encode, rules
from tests.support.ids_in_memory import in_memory
from tests.support.metering_memory_log import MemoryLog, finished


class Partition:
    """One partition's logs, and a writer that flushes them."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.log.topics = {EVENTS: [], TALLIES: []}
        self.now_ms = START_MS

    def takeover(self, *, found_at_log_start: bool = False) -> CountingTakeover:
        return CountingTakeover(self.log, rules(), tallies_topic=TALLIES, found_at_log_start=found_at_log_start, snapshots=in_memory())

    def owner(self, *, found_at_log_start: bool = False) -> PartitionCounter:
        return finished(self.takeover(found_at_log_start=found_at_log_start).take_over(0))

    def emit(self, event_id: str, *, wait_ms: int = 1_000, mystery: int = 0) -> None:
        self.now_ms += wait_ms
        usage = (("mystery", 1),) if mystery else (("input", 1),)
        value, headers = encode(Single(Event(event_id, "c", usage, "m", self.now_ms), "own"))
        self.log.append(EVENTS, value, at_ms=self.now_ms, headers=headers)

    def flush(self, counter: PartitionCounter, *, wait_ms: int = 0) -> None:
        for record in self.log.topics[EVENTS][counter.position :]:
            if record is not None:
                counter.count(record)
        cut = counter.cut()
        self.now_ms += wait_ms
        offset = self.log.append(TALLIES, cut.value, at_ms=self.now_ms).offset
        finished(self.takeover().catch_up(counter, cut.tally, offset))
