"""Time limits and tasks that end together, as asyncio has them from Python 3.11 on."""

import asyncio
import sys
from collections.abc import Coroutine, Sequence
from contextlib import suppress
from typing import Any, Final

_CANCEL_AGAIN_SECONDS: Final = 1.0

if sys.version_info >= (3, 11):
    from asyncio import timeout as timeout  # noqa: PLC0414  # for others
else:
    from types import TracebackType

    class timeout:  # noqa: N801  # named as asyncio's
        """Cancel what runs inside after so many seconds, and raise TimeoutError in its place."""

        def __init__(self, seconds: float) -> None:
            self._seconds = seconds
            self._is_over = False

        async def __aenter__(self) -> None:
            task = asyncio.current_task()
            assert task is not None, "time limits are for tasks"
            self._task = task
            self._handle = asyncio.get_running_loop().call_later(self._seconds, self._end)

        async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
            self._handle.cancel()
            if self._is_over and kind is asyncio.CancelledError:
                raise TimeoutError from None

        def _end(self) -> None:
            self._is_over = True
            self._task.cancel()


async def wait_for_event(event: asyncio.Event, seconds: float) -> None:
    """Until the event is set, at most so long."""
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


async def _cancel(tasks: "Sequence[asyncio.Future[None]]") -> None:
    pending = {task for task in tasks if not task.done()}
    while pending:
        for task in pending:
            # Again and again: in Python 3.10 a time limit that ends at the same moment hides a cancellation.
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=_CANCEL_AGAIN_SECONDS)
