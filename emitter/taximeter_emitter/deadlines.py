"""Time limits and tasks that end together, as asyncio has them from Python 3.11 on."""

import asyncio
import sys
from collections.abc import Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from types import TracebackType
from typing import Any, Final

_CANCEL_AGAIN_SECONDS: Final = 1.0


class TimeLimit:
    """What asyncio.timeout does, for Python 3.10: after this many seconds, cancel what runs inside, and raise TimeoutError in its place."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._is_over = False
        self._task: asyncio.Task[Any] | None = None
        self._handle: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> None:
        self._task = asyncio.current_task()
        self._handle = asyncio.get_running_loop().call_later(self._seconds, self._end)

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self._is_over and kind is asyncio.CancelledError:
            raise TimeoutError from None

    def _end(self) -> None:
        if self._task is not None:
            self._is_over = True
            self._task.cancel()


if sys.version_info >= (3, 11):
    timeout: Final[Callable[[float], AbstractAsyncContextManager[object]]] = asyncio.timeout
else:
    timeout: Final[Callable[[float], AbstractAsyncContextManager[object]]] = TimeLimit


async def wait_for_event(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, at most for this long."""
    with suppress(TimeoutError):
        async with timeout(seconds):
            await event.wait()


async def run_together(*coroutines: Coroutine[Any, Any, None]) -> None:
    """Until all have ended; when one fails, or this is cancelled, the others are cancelled. Raises the first failure."""
    tasks = [asyncio.ensure_future(coroutine) for coroutine in coroutines]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        await _cancel(tasks)
    for task in ended:
        task.result()


def work_to_the_end(loop: asyncio.AbstractEventLoop) -> None:
    """Make the loop do by itself what its executor refuses when the interpreter ends: to look up a host name, or to compute for SASL.

    An emitter that closes at exit would not reach a broker otherwise. It blocks the loop, where nothing else is left to do.
    """
    in_executor = loop.run_in_executor

    def run_in_executor(executor: Any, function: Callable[..., Any], *arguments: Any) -> "asyncio.Future[Any]":
        try:
            return in_executor(executor, function, *arguments)
        except RuntimeError:
            future = loop.create_future()
            try:
                future.set_result(function(*arguments))
            except Exception as error:  # whatever it is, the one who waits gets it
                future.set_exception(error)
            return future

    loop.run_in_executor = run_in_executor  # type: ignore[assignment]  # asyncio itself looks names up through it


async def _cancel(tasks: "Sequence[asyncio.Future[None]]") -> None:
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            # Again and again: a TimeLimit that ends at the same moment hides a cancellation.
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_SECONDS)
