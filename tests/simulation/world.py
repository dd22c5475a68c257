"""The simulated world: one clock, one source of chance, Kafka's partitions, and a scheduler that resumes one task at a time.

Nothing sleeps and nothing runs by itself. Whatever can go on is in `ready`, and chance says which of it does. Wherever a coroutine waits, any
other may go on, the clock may move, and its process may be killed or frozen.
"""

import heapq
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from metering.kafka.topics import topics_named
from tests.simulation.chance import Draws

TOPICS = topics_named("simulated")
EVENTS, TALLIES, LEDGER, DEADLETTERS, CATALOGUE, CUSTOMERS = (topic.name for topic in TOPICS)
START_MS = 1_780_000_000_000
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000


class PartitionStopped(Exception):
    """A partition failed closed: in a world whose logs are sound, that is a bug."""


@dataclass(slots=True)
class SimulatedRecord:
    """A record of a simulated partition. `content` is what the pipeline has decoded from it, once."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    content: Any = None


Log = list[SimulatedRecord | None]
"""Where None is, an offset holds no record that a reader may see: a marker of a transaction, or a record of one that was aborted."""


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad a run is. Chances are between 0 and 1, of one append, read or call going wrong."""

    append_faults: float
    read_faults: float
    stripe_faults: float
    noise: float  # of a refusal for too many calls, which has nothing to do with how many there are
    chaos: float  # of a crash, a freeze or a rebalance, at each step
    jumps: float  # of the clock leaping ahead, at each step
    longest_jump_ms: int


CALM = Weather(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)


class Owner(Protocol):
    """A process, as far as the scheduler must know it: what it has to do waits while it is frozen, and is dropped when it is dead."""

    alive: bool
    frozen_until_ms: int
    parked: "list[Runnable]"


class Runnable(Protocol):
    """Something that can go on."""

    @property
    def process(self) -> Owner: ...

    def resume(self) -> None:
        """Go on for one turn."""
        ...


class World:
    """Everything that outlives a process."""

    def __init__(self, seed: int, *, partitions: int, weather: Weather, tracing: bool) -> None:
        self.rng = Draws(seed)
        self.now_ms = START_MS
        self.meters: tuple[str, ...] = ("tokens", "requests")  # at Stripe
        self.partitions = partitions
        self.weather = weather
        self.constancy = self.rng.pick((0.0, 0.3, 0.7))  # how often what went on last goes on next
        self.lateness_ms = self.rng.pick((2 * SECOND, 10 * SECOND, 30 * SECOND))  # of whoever wakes up by the clock, at most
        self.ready: list[Runnable] = []
        self.owners: list[Owner] = []  # all processes that there ever were
        self.logs: dict[tuple[str, int], Log] = {
            (topic.name, partition): [] for topic in TOPICS for partition in range(topic.partitions_of(partitions))
        }
        self.followers: dict[tuple[str, int], list[Callable[[], None]]] = {place: [] for place in self.logs}
        self.stable: dict[int, int] = {}  # by events partition, where an open transaction begins: nobody sees what lies behind
        self.transacted: dict[int, list[int]] = {}  # by events partition, the offsets of records of the open transaction
        self.read_to = [0] * partitions  # the end of what any aggregator has read of the events of each partition
        self.kept_from = [0] * partitions  # the first offset of the events that retention has not deleted; the checker still sees what lies before
        self.tracing = tracing
        self.trace: deque[str] = deque(maxlen=2_000)
        self._wobble_ms = dict.fromkeys(self.logs, 0)
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._scheduled = 0
        self._on_its_way = 0

    def note(self, text: str) -> None:
        """Add a line to the trace. Ask `tracing` before making the text."""
        self.trace.append(f"{(self.now_ms - START_MS) / 1000:12.3f}  {text}")

    def chance(self, probability: float) -> bool:
        """True that often."""
        return self.rng.random() < probability

    # Time

    def at(self, time_ms: int, action: Callable[[], None]) -> None:
        """Something is on its way, and arrives when the clock gets there."""
        self._on_its_way += 1

        def arrive() -> None:
            self._on_its_way -= 1
            action()

        self.wake_at(time_ms, arrive)

    def wake_at(self, time_ms: int, action: Callable[[], None]) -> None:
        """Do this when the clock gets there; a world in which only that is left to do is at rest."""
        self._scheduled += 1
        heapq.heappush(self._due, (time_ms, self._scheduled, action))

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is on its way: no request, no late record."""
        return not self._on_its_way

    def advance(self, milliseconds: int) -> None:
        """Move the clock, and do what falls due on the way."""
        until = self.now_ms + milliseconds
        due = self._due
        while due and due[0][0] <= until:
            self.now_ms = max(self.now_ms, due[0][0])
            heapq.heappop(due)[2]()
        self.now_ms = until

    def advance_to_next(self, most_ms: int) -> None:
        """Move the clock to what falls due next, at most this far."""
        self.advance(min(max(1, self._due[0][0] - self.now_ms), most_ms) if self._due else most_ms)

    def step(self) -> bool:
        """Let something go on; False if there is nothing that could."""
        ready, rng = self.ready, self.rng
        while ready:
            dice = rng.random()
            if dice < self.constancy:
                runnable = ready.pop()
            else:
                at = int((dice - self.constancy) / (1.0 - self.constancy) * len(ready))
                runnable, ready[at] = ready[at], ready[-1]
                del ready[-1]
            process = runnable.process
            if not process.alive:
                continue
            if process.frozen_until_ms > self.now_ms:
                process.parked.append(runnable)
                continue
            runnable.resume()
            return True
        return False

    # Kafka

    def land(
        self, topic: str, partition: int, value: bytes | None, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> SimulatedRecord:
        """The leader appends a record."""
        log = self.logs[topic, partition]
        record = SimulatedRecord(len(log), self.now_ms + self._wobble_ms[topic, partition], key, value, headers)
        log.append(record)
        self.tell(topic, partition)
        return record

    def begin(self, partition: int) -> None:
        """A producer begins a transaction in a partition of the events, in which none is open."""
        assert partition not in self.stable
        self.stable[partition] = len(self.logs[EVENTS, partition])

    def end(self, partition: int, *, committed: bool) -> None:
        """The transaction ends with a marker, which is an offset without a record. Nobody sees the records of one that was aborted."""
        log = self.logs[EVENTS, partition]
        start = self.stable.pop(partition)
        if not committed:
            for offset in self.transacted.pop(partition, ()):
                log[offset] = None
        self.transacted.pop(partition, None)
        log.append(None)
        if self.tracing:
            self.note(f"the transaction in {partition} from {start} on is {'committed' if committed else 'aborted'}")
        self.tell(EVENTS, partition)

    def tell(self, topic: str, partition: int) -> None:
        """There is more to read."""
        for follower in self.followers[topic, partition]:
            follower()

    def end_of(self, topic: str, partition: int) -> int:
        """The offset up to which a reader sees the log."""
        end = len(self.logs[topic, partition])
        return self.stable.get(partition, end) if topic == EVENTS else end

    def elect(self) -> None:
        """Another broker leads a partition."""
        self.elect_at(self.rng.pick(list(self._wobble_ms)), self.rng.between(-2 * MINUTE, 2 * MINUTE))

    def elect_at(self, place: tuple[str, int], clock_ms: int) -> None:
        """Another broker leads this partition, by a clock that is so far ahead, or behind."""
        self._wobble_ms[place] = clock_ms

    def produce(
        self, topic: str, partition: int, value: bytes | None, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> SimulatedRecord | None:
        """Append with whatever fate the weather has for it. None: no acknowledgement came, and it may or may not be, or come to be, in the log."""
        if not self.weather.append_faults or not self.chance(self.weather.append_faults):
            return self.land(topic, partition, value, key, headers)
        fate = self.rng.below(4)
        if self.tracing:
            self.note(f"append to {topic}/{partition}: {('lost', 'landed, unacknowledged', 'on its way', 'landed twice')[fate]}")
        if fate == 1:
            self.land(topic, partition, value, key, headers)
        elif fate == 2:

            def arrive() -> None:
                self.land(topic, partition, value, key, headers)

            self.at(self.now_ms + self.rng.spread(SECOND, 10 * MINUTE), arrive)
        elif fate == 3:
            self.land(topic, partition, value, key, headers)
            return self.land(topic, partition, value, key, headers)
        return None
