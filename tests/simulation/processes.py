"""Processes of the simulated world: their tasks, their clocks, and `Turns` for the workers that run in them."""

import inspect
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable
from functools import partial
from typing import Any, Generic, TypeVar

from tests.simulation.world import MINUTE, Runnable, World

T = TypeVar("T")


class Killed(BaseException):
    """Thrown into a coroutine whose process is no more."""


@types.coroutine
def turn() -> Generator[None, None, None]:
    """Let anything else happen."""
    yield


class Process:
    """A set of tasks that die together, and a clock that is a little wrong."""

    def __init__(self, world: World, name: str) -> None:
        self.world = world
        world.owners.append(self)
        self.name = name
        self.alive = True
        self.frozen_until_ms = 0
        self.parked: list[Runnable] = []
        self.skew_ms = world.rng.between(-3 * MINUTE, 3 * MINUTE)
        self._tasks: dict[str, Task] = {}

    # A clock, as services use it

    def now_ms(self) -> int:
        """What this process believes the time to be."""
        return self.world.now_ms + self.skew_ms

    def monotonic(self) -> float:
        """Seconds; goes on while the process is frozen."""
        return self.world.now_ms / 1000

    async def sleep(self, seconds: float) -> None:
        """Wait for this long."""
        await SimulatedNews(self.world).wait(seconds)

    # Tasks

    def start(self, name: str, coroutine: Coroutine[Any, Any, object], then: Callable[[Exception | None], None] | None = None) -> None:
        """Add a task; one of the same name is cancelled. `then` gets to know that it has ended and how; without it an exception ends the run."""
        self.cancel(name)
        self._tasks[name] = Task(self, name, coroutine, then)

    def cancel(self, name: str) -> None:
        """Drop a task wherever it is."""
        task = self._tasks.pop(name, None)
        if task is not None:
            task.cancel()

    def ended(self, name: str) -> None:
        """A task came to its end, or failed: it cannot be cancelled any more."""
        del self._tasks[name]

    def runs(self, name: str) -> bool:
        """Whether this task has not come to its end."""
        return name in self._tasks

    def freeze(self, milliseconds: int) -> None:
        """SIGSTOP; it continues after this time."""
        self.frozen_until_ms = self.world.now_ms + milliseconds
        self.world.wake_at(self.frozen_until_ms, self.thaw)

    def thaw(self) -> None:
        """Continue, unless it was frozen again."""
        if self.frozen_until_ms <= self.world.now_ms:
            self.world.ready += self.parked
            self.parked.clear()

    def kill(self) -> None:
        """kill -9."""
        self.alive = False
        for name in list(self._tasks):
            self.cancel(name)


class Task:
    """A coroutine of a process."""

    __slots__ = ("_coroutine", "_then", "_waits", "name", "process")

    def __init__(self, process: Process, name: str, coroutine: Coroutine[Any, Any, object], then: Callable[[Exception | None], None] | None) -> None:
        self.process = process
        self.name = name
        self._coroutine: Coroutine[Any, Any, object] | None = coroutine
        self._then = then
        self._waits = 0
        process.world.ready.append(self)

    def resume(self) -> None:
        """Go on until it waits."""
        if self._coroutine is None:
            return  # it was cancelled
        try:
            awaited = self._coroutine.send(None)
        except StopIteration:
            self._end(None)
            return
        except Exception as error:
            self._end(error)
            return
        world = self.process.world
        if awaited is None:
            world.ready.append(self)
            return
        waits = self._waits = self._waits + 1
        awaited.waiting = self
        world.wake_at(awaited.until_ms, partial(self._timed_out, waits, awaited))

    def wake(self) -> None:
        """What it waits for came."""
        self._waits += 1
        self.process.world.ready.append(self)

    def cancel(self) -> None:
        """Throw it away."""
        coroutine, self._coroutine = self._coroutine, None
        if coroutine is None:
            return
        if inspect.getcoroutinestate(coroutine) == inspect.CORO_CREATED:
            coroutine.close()
            return
        # Thrown, not closed: closing a coroutine leaves the asynchronous generators that it awaits half open.
        try:
            coroutine.throw(Killed())
        except (Killed, StopIteration):
            return
        raise RuntimeError(f"{self.name} of {self.process.name} went on after it was cancelled")

    def _end(self, error: Exception | None) -> None:
        self._coroutine = None
        self.process.ended(self.name)
        if self._then is not None:
            self._then(error)
        elif error is not None:
            raise error

    def _timed_out(self, wait: int, news: "SimulatedNews") -> None:
        if wait == self._waits:
            news.waiting = None
            self.wake()


class SimulatedNews:
    """`News`: one task waits for them at a time."""

    __slots__ = ("_world", "until_ms", "waiting")

    def __init__(self, world: World) -> None:
        self._world = world
        self.until_ms = 0
        self.waiting: Task | None = None

    def tell(self) -> None:
        """See News."""
        task, self.waiting = self.waiting, None
        if task is not None:
            task.wake()

    @types.coroutine
    def wait(self, seconds: float) -> Generator["SimulatedNews", None, None]:
        """See News."""
        world = self._world
        self.until_ms = world.now_ms + (int(seconds * 1000) if seconds > 0.001 else 1) + int(world.rng.random() * world.lateness_ms)
        yield self


class SimulatedCall(Generic[T]):
    """What a simulated port gives for a call: `begin` starts it, and delivers its result once, later."""

    def __init__(self, begin: Callable[[Callable[[T], None]], None]) -> None:
        self.begin = begin

    def __await__(self) -> Generator[Any, None, T]:
        raise AssertionError("calls are started by `SimulatedCalls`")


class SimulatedCalls(Generic[T]):
    """`CallsUnderWay` of a process: a reply is looked at when the process comes to it."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._under_way = 0

    def __len__(self) -> int:
        return self._under_way

    def start(self, call: Awaitable[T], ended: Callable[[T], None], _failed: Callable[[Exception], None]) -> None:
        """See CallsUnderWay. What fails here fails the simulation."""
        assert isinstance(call, SimulatedCall)
        self._under_way += 1

        def deliver(result: T) -> None:
            self._process.world.ready.append(_Delivery(self._process, partial(self._end, ended, result)))

        call.begin(deliver)

    def _end(self, ended: Callable[[T], None], result: T) -> None:
        self._under_way -= 1
        ended(result)

    async def finish(self) -> None:
        """See CallsUnderWay."""
        while self._under_way:
            await turn()

    async def cancel(self) -> None:
        """See CallsUnderWay."""
        raise AssertionError("simulated processes are killed, and close nothing")


class _Delivery:
    """A reply that has reached its process."""

    __slots__ = ("process", "resume")

    def __init__(self, process: Process, resume: Callable[[], None]) -> None:
        self.process = process
        self.resume = resume


class SimulatedTurns:
    """`Turns` of a process."""

    def __init__(self, process: Process) -> None:
        self._process = process
        self._started = 0

    def news(self) -> SimulatedNews:
        """See Turns."""
        return SimulatedNews(self._process.world)

    def calls(self) -> SimulatedCalls[Any]:
        """See Turns."""
        return SimulatedCalls(self._process)

    async def others(self) -> None:
        """See Turns."""
        await turn()

    async def together(self, appends: Iterable[Awaitable[object]]) -> None:
        """See Turns."""
        waiting = list(appends)
        if len(waiting) == 1:
            await waiting[0]  # nobody can tell the difference
        elif waiting:
            await self._together(waiting)

    async def _together(self, appends: list[Awaitable[object]]) -> None:
        left = len(appends)
        failed: list[Exception] = []
        done = self.news()

        def then(error: Exception | None) -> None:
            nonlocal left
            left -= 1
            if error is not None:
                failed.append(error)
            if failed or not left:
                done.tell()

        for append in appends:
            assert inspect.iscoroutine(append)
            self._started += 1
            self._process.start(f"append {self._started}", append, then)
        while left and not failed:
            await done.wait(3600.0)
        if failed:
            raise failed[0]
