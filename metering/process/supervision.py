"""Named tasks that end together: a crash cancels all of them; a request to stop lets each finish its work."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from taximeter_emitter.wire.errors import TaximeterError

from metering.process.logs import Log

Work = Coroutine[Any, Any, None]


class RefusedToStart(TaximeterError):
    """The service cannot run like this. `problems` has one sentence for each problem, with the remedy."""

    def __init__(self, problems: list[str] | tuple[str, ...]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


class Supervisor:
    """Runs a main coroutine and the tasks it spawns.

    Foreground tasks return by themselves soon after `stop` is set. Background tasks are cancelled once all foreground tasks have returned.
    A cancelled task is not drained. Foreground tasks are cancelled only if another task crashes or somebody cancels `run`.
    """

    def __init__(self, log: Log, *, on_stop: Callable[[], None]) -> None:
        self.stop = asyncio.Event()
        # Set by SIGHUP. A service that reads files again waits for it and clears it; the others ignore it.
        self.reload = asyncio.Event()
        self._log = log
        self._on_stop = on_stop
        self._group = asyncio.TaskGroup()
        self._foreground: set[asyncio.Task[None]] = set()
        self._background: set[asyncio.Task[None]] = set()

    async def run(self, main: Work) -> None:
        """Run until main and everything it spawned have ended. Raises ExceptionGroup with all crashes, each already logged."""
        async with self._group:
            self.spawn("main", main).add_done_callback(lambda _: self.request_stop("main returned"))
            while self._foreground:
                await asyncio.wait(self._foreground, return_when=asyncio.FIRST_COMPLETED)
            for task in self._background:
                task.cancel()

    def spawn(self, name: str, work: Work, *, background: bool = False) -> asyncio.Task[None]:
        """Start a named task. Raises RuntimeError while everything is ending."""
        guarded = self._guarded(name, work)
        try:
            task = self._group.create_task(guarded, name=name)
        except RuntimeError:
            guarded.close()
            work.close()
            raise
        tasks = self._background if background else self._foreground
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        # A task that is cancelled before its first step never starts its work. Closing finished work does nothing.
        task.add_done_callback(lambda _: work.close())
        return task

    def request_stop(self, reason: str) -> None:
        """Ask every task to finish. Only the first reason counts."""
        if not self.stop.is_set():
            self._log.info("stopping", reason=reason)
            self._on_stop()
            self.stop.set()

    def running(self) -> tuple[str, ...]:
        """Names of the tasks that have not ended."""
        return tuple(sorted(task.get_name() for task in self._foreground | self._background))

    async def _guarded(self, name: str, work: Work) -> None:
        try:
            await work
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # Nobody cancelled this task, so the group would mistake this for a normal end.
            self._log.error("task cancelled itself", task=name)
            self.request_stop(f"{name} cancelled itself")
            raise RuntimeError(f"task {name} cancelled itself") from None
        except RefusedToStart as refusal:
            for problem in refusal.problems:
                self._log.error("refused to start", problem=problem)
            self.request_stop(f"{name} refused to start")
            raise
        except Exception as error:
            self._log.failed("task crashed", error, task=name)
            self.request_stop(f"{name} crashed")
            raise
