"""The simulated world: one clock, one source of chance, Kafka's partitions, and a scheduler that resumes one process at a time.

Nothing sleeps and nothing runs by itself. A process is a set of coroutines; wherever one awaits `turn()`, any other may go on, the clock may
move, and the process may be killed or frozen.
"""

import heapq
import inspect
import types
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Sequence
from dataclasses import dataclass
from math import exp, log
from random import Random
from typing import Any, TypeVar, cast

from aiokafka.structs import ConsumerRecord

from metering.kafka.partition_log import Appended, Appender, LogEnds, LogReader, LogUnavailable
from metering.kafka.topics import topics_named
from metering.records.fail_closed import HistoryLost

TOPICS = topics_named("simulated")
EVENTS, TALLIES, LEDGER, DEADLETTERS = (topic.name for topic in TOPICS)
Thing = TypeVar("Thing")
START_MS = 1_780_000_000_000
SECOND, MINUTE, HOUR = 1_000, 60_000, 3_600_000


@types.coroutine
def turn() -> Generator[None, None, None]:
    """Let anything else happen."""
    yield


class Draws(Random):
    """Chance that costs little: the draws of `random` in a third of the time, from one number between 0 and 1 each."""

    def below(self, end: int) -> int:
        """A whole number from 0 to `end` - 1."""
        return int(self.random() * end)

    def between(self, start: int, end: int) -> int:
        """A whole number from `start` to `end` - 1."""
        return start + int(self.random() * (end - start))

    def spread(self, start: int, end: int) -> int:
        """A whole number between these, as likely among the tens as among the thousands."""
        return int(exp(log(start) + self.random() * (log(end) - log(start))))

    def pick(self, things: Sequence[Thing]) -> Thing:
        """One of them."""
        return things[int(self.random() * len(things))]


class PartitionStopped(Exception):
    """A partition failed closed: in a world whose logs are sound, that is a bug."""


class Killed(BaseException):
    """Thrown into a coroutine whose process is no more."""


@dataclass(slots=True)
class SimulatedRecord:
    """A record of a simulated partition. `content` is what the pipeline has decoded from it, once."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]] = ()
    content: Any = None


@dataclass(frozen=True, slots=True)
class Weather:
    """How bad a run is. Chances are between 0 and 1, of one append, read or call going wrong."""

    append_faults: float
    read_faults: float
    stripe_faults: float
    chaos: float  # of a crash, a freeze or a rebalance, at each step
    jumps: float  # of the clock leaping ahead, at each step
    longest_jump_ms: int


CALM = Weather(0.0, 0.0, 0.0, 0.0, 0.0, 0)


class World:
    """Everything that outlives a process."""

    def __init__(self, seed: int, *, partitions: int, weather: Weather, tracing: bool) -> None:
        self.rng = Draws(seed)
        self.now_ms = START_MS
        self.hurried = False
        self.partitions = partitions
        self.weather = weather
        self.logs: dict[tuple[str, int], list[SimulatedRecord | None]] = {
            (topic, partition): [] for topic in (EVENTS, TALLIES, LEDGER, DEADLETTERS) for partition in range(partitions)
        }
        self.read_to = [0] * partitions  # the end of what any aggregator has read of the events of each partition
        self.kept_from = [0] * partitions  # the first offset of the events that retention has not deleted; the checker still sees what lies before
        self.tracing = tracing
        self.trace: deque[str] = deque(maxlen=2_000)
        self._wobble_ms = dict.fromkeys(self.logs, 0)
        self._due: list[tuple[int, int, Callable[[], None]]] = []
        self._scheduled = 0

    def note(self, text: str) -> None:
        """Add a line to the trace. Ask `tracing` before making the text."""
        self.trace.append(f"{(self.now_ms - START_MS) / 1000:12.3f}  {text}")

    def chance(self, probability: float) -> bool:
        """True that often."""
        return self.rng.random() < probability

    def soon(self, probability: float) -> bool:
        """Whether something is done that is done sooner or later: that often, and at once when everything shall come to rest."""
        return self.hurried or self.rng.random() < probability

    # Time

    def at(self, time_ms: int, action: Callable[[], None]) -> None:
        """Do this when the clock gets there."""
        self._scheduled += 1
        heapq.heappush(self._due, (time_ms, self._scheduled, action))

    @property
    def is_quiet(self) -> bool:
        """Whether nothing is on its way: no request, no late record."""
        return not self._due

    def advance(self, milliseconds: int) -> None:
        """Move the clock, and do what falls due on the way."""
        until = self.now_ms + milliseconds
        due = self._due
        while due and due[0][0] <= until:
            self.now_ms = max(self.now_ms, due[0][0])
            heapq.heappop(due)[2]()
        self.now_ms = until

    # Kafka

    def land(
        self, topic: str, partition: int, value: bytes | None, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> SimulatedRecord:
        """The leader appends a record."""
        log = self.logs[topic, partition]
        if topic == EVENTS and self.weather.chaos and self.chance(0.01):
            log.append(None)  # an offset without a record, as a transaction's marker has
        record = SimulatedRecord(len(log), self.now_ms + self._wobble_ms[topic, partition], key, value, headers)
        log.append(record)
        return record

    def elect(self) -> None:
        """Another broker leads a partition: its clock is a little different, forwards or back."""
        place = self.rng.pick(list(self._wobble_ms))
        self._wobble_ms[place] = self.rng.between(-2 * MINUTE, 2 * MINUTE)

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


class SimulatedReader(LogReader):
    """The port through which takeovers read, on the simulated partitions."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def close(self) -> None:
        """Nothing is open."""

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        await self._reach()
        return self._kept_from(topic, partition), len(self._world.logs[topic, partition])

    async def offset_for_time(self, topic: str, partition: int, log_time_ms: int) -> int | None:
        await self._reach()
        for record in self._world.logs[topic, partition][self._kept_from(topic, partition) :]:
            if record is not None and record.timestamp >= log_time_ms:
                return record.offset
        return None

    async def records(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[Sequence[ConsumerRecord[bytes, bytes]], None]:
        if start >= end:
            return
        await self._reach()
        if start < self._kept_from(topic, partition):
            raise HistoryLost(f"offset {start} of {topic}/{partition} is not kept any more")
        found = [record for record in self._world.logs[topic, partition][start:end] if record is not None]
        if len(found) > 8 and self._world.chance(0.3):
            cut = self._world.rng.between(1, len(found))
            yield cast("list[ConsumerRecord[bytes, bytes]]", found[:cut])
            await self._reach()
            found = found[cut:]
        if found:
            yield cast("list[ConsumerRecord[bytes, bytes]]", found)

    async def ends(self, topic: str, partition: int) -> LogEnds:
        end = (await self.bounds(topic, partition))[1]
        return LogEnds(end, end)

    async def holds_no_record(self, topic: str, partition: int, start: int, end: int) -> bool:
        await self._reach()
        if start < self._kept_from(topic, partition):
            raise HistoryLost(f"offset {start} of {topic}/{partition} is not kept any more")
        return self.is_proved_empty(topic, partition, start, end)

    def is_proved_empty(self, topic: str, partition: int, start: int, end: int) -> bool:
        return not any(self._world.logs[topic, partition][start:end])

    async def record(self, topic: str, partition: int, offset: int) -> ConsumerRecord[bytes, bytes] | None:
        await self._reach()
        log = self._world.logs[topic, partition]
        there = self._kept_from(topic, partition) <= offset < len(log)
        return cast("ConsumerRecord[bytes, bytes] | None", log[offset] if there else None)

    def _kept_from(self, topic: str, partition: int) -> int:
        return self._world.kept_from[partition] if topic == EVENTS else 0

    async def _reach(self) -> None:
        await turn()
        faults = self._world.weather.read_faults
        if faults and self._world.chance(faults):
            raise LogUnavailable("the simulated broker does not answer")


class SimulatedAppender(Appender):
    """The port through which services append, on the simulated partitions."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def close(self) -> None:
        """Nothing is open."""

    async def append(
        self, topic: str, partition: int, value: bytes | None, *, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> Appended:
        await turn()
        record = self._world.produce(topic, partition, value, key, headers)
        await turn()
        if record is None:
            raise LogUnavailable("no acknowledgement came")
        return Appended(record.offset, record.timestamp)


class Process:
    """A set of coroutines that die together, and a clock that is a little wrong."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        self.name = name
        self.alive = True
        self.frozen_until_ms = 0
        self.skew_ms = world.rng.between(-3 * MINUTE, 3 * MINUTE)
        self._tasks: dict[str, Coroutine[Any, Any, None]] = {}

    @property
    def clock_ms(self) -> int:
        """What this process believes the time to be."""
        return self.world.now_ms + self.skew_ms

    @property
    def monotonic(self) -> float:
        """Seconds; goes on while the process is frozen."""
        return self.world.now_ms / 1000

    def start(self, name: str, task: Coroutine[Any, Any, None]) -> None:
        """Add a coroutine; one of the same name is cancelled."""
        self.cancel(name)
        self._tasks[name] = task

    def cancel(self, name: str) -> None:
        """Drop a coroutine wherever it stands."""
        task = self._tasks.pop(name, None)
        if task is None or inspect.getcoroutinestate(task) == inspect.CORO_CREATED:
            if task is not None:
                task.close()
            return
        # Thrown, not closed: closing a coroutine leaves the asynchronous generators that it awaits half open.
        try:
            task.throw(Killed())
        except (Killed, StopIteration):
            return
        raise RuntimeError(f"{name} of {self.name} went on after it was cancelled")

    def runs(self, name: str) -> bool:
        """Whether this coroutine has not come to its end."""
        return name in self._tasks

    def step(self) -> None:
        """Resume one of the coroutines."""
        tasks = self._tasks
        if not tasks:
            return
        names = list(tasks)
        self._resume(names[0] if len(names) == 1 else names[int(self.world.rng.random() * len(names))])

    def step_all(self) -> None:
        """Resume each of the coroutines."""
        for name in list(self._tasks):
            self._resume(name)

    def _resume(self, name: str) -> None:
        try:
            self._tasks[name].send(None)
        except StopIteration:
            del self._tasks[name]
        except BaseException:
            del self._tasks[name]  # it cannot be thrown into any more
            raise

    def kill(self) -> None:
        """kill -9."""
        self.alive = False
        for name in list(self._tasks):
            self.cancel(name)
