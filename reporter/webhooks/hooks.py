"""The hook: a function of the operator that gets each webhook event. The reporter carries on no matter what it does.

Calls run in threads beside the reporter's event loop. Their number and their time are limited. A plain function that does not return in
time cannot be stopped: it keeps its place until it returns. While all places are taken, further events skip the hook.
"""

import asyncio
import importlib
import inspect
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from metering.stripe.signatures import WebhookEvent

Hook = Callable[[WebhookEvent], object]


class HookOutcome(StrEnum):
    """How a call ended. BUSY: no place became free in time, so there was no call."""

    OK = "ok"
    FAILED = "failed"
    TIMEOUT = "timeout"
    BUSY = "busy"


@dataclass(frozen=True, slots=True)
class HookResult:
    """How a call ended, and the exception that it raised."""

    outcome: HookOutcome
    error: BaseException | None = None


class HookUnusable(Exception):
    """The setting does not name a usable function; the message says why."""


def load_hook(name: str) -> Hook:
    """The function that `package.module:function` names. Raises HookUnusable. Imports the module, which runs its code."""
    module_name, separator, function_name = name.partition(":")
    if not (separator and module_name and function_name.isidentifier()):
        raise HookUnusable("it must be written package.module:function")
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module may raise anything while it is imported
        raise HookUnusable(f"{module_name} cannot be imported: {error!r}") from error
    hook = getattr(module, function_name, None)
    if not callable(hook):
        raise HookUnusable(f"{module_name} has no function {function_name}")
    try:
        inspect.signature(hook).bind(None)
    except (TypeError, ValueError) as error:
        raise HookUnusable(f"{name} does not take one argument, the event: {error}") from error
    return hook  # type: ignore[no-any-return]  # what a module holds has no type; it is callable with one argument


class HookRunner:
    """Calls a hook. Call `close` in the end. `seconds` limits a call, and also the wait for a place."""

    def __init__(self, hook: Hook, *, seconds: float, places: int) -> None:
        self._hook = hook
        self._seconds = seconds
        self._places = asyncio.Semaphore(places)
        self._background: asyncio.AbstractEventLoop | None = None
        self._freeing: set[asyncio.Task[None]] = set()

    async def call(self, event: WebhookEvent) -> HookResult:
        """Call the hook once. Waits at most twice `seconds`. Raises only CancelledError."""
        try:
            async with asyncio.timeout(self._seconds):
                await self._places.acquire()
        except TimeoutError:
            return HookResult(HookOutcome.BUSY)
        loop = asyncio.get_running_loop()
        done: asyncio.Future[BaseException | None] = loop.create_future()
        self._start(event, lambda error: _tell(loop, done, error))
        freeing = asyncio.create_task(self._free(done), name="hook")
        self._freeing.add(freeing)
        freeing.add_done_callback(self._freeing.discard)
        finished, _ = await asyncio.wait({done}, timeout=self._seconds)
        if not finished:
            return HookResult(HookOutcome.TIMEOUT)
        error = done.result()
        if isinstance(error, TimeoutError | asyncio.CancelledError):
            return HookResult(HookOutcome.TIMEOUT, error)
        return HookResult(HookOutcome.OK if error is None else HookOutcome.FAILED, error)

    def close(self) -> None:
        """Stop waiting for running calls. They end with the process at the latest."""
        for task in self._freeing:
            task.cancel()
        if self._background is not None:
            self._background.call_soon_threadsafe(self._background.stop)

    async def _free(self, done: asyncio.Future[BaseException | None]) -> None:
        await asyncio.wait({done})
        self._places.release()

    def _start(self, event: WebhookEvent, told: Callable[[BaseException | None], None]) -> None:
        if inspect.iscoroutinefunction(self._hook):
            asyncio.run_coroutine_threadsafe(self._guarded(event, told), self._loop())
        else:
            _daemon("hook", lambda: self._call(event, told))

    def _call(self, event: WebhookEvent, told: Callable[[BaseException | None], None]) -> None:
        """Runs in a thread of its own: a hook that never returns must not keep the process from ending."""
        try:
            result = self._hook(event)
            if inspect.iscoroutine(result):
                asyncio.run(asyncio.wait_for(result, self._seconds))
        except BaseException as error:  # the operator's code may raise anything, even SystemExit
            told(error)
        else:
            told(None)

    async def _guarded(self, event: WebhookEvent, told: Callable[[BaseException | None], None]) -> None:
        """Runs in the hook's own event loop. All calls share it, so that the hook can keep connections open."""
        result = self._hook(event)
        assert inspect.iscoroutine(result), "an async function returns a coroutine"
        try:
            # Not in a task: SystemExit in a task would end the loop.
            async with asyncio.timeout(self._seconds):
                await result
        except BaseException as error:  # as above
            told(error)
        else:
            told(None)

    def _loop(self) -> asyncio.AbstractEventLoop:
        if self._background is None:
            self._background = loop = asyncio.new_event_loop()

            _daemon("hooks", lambda: _serve(loop))
        return self._background


def _tell(loop: asyncio.AbstractEventLoop, done: asyncio.Future[BaseException | None], error: BaseException | None) -> None:
    """Set the result from any thread. Does nothing once the reporter's loop is closed."""
    with suppress(RuntimeError):
        loop.call_soon_threadsafe(_set, done, error)


def _set(done: asyncio.Future[BaseException | None], error: BaseException | None) -> None:
    if not done.done():
        done.set_result(error)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    """Run a loop until it is stopped, then cancel its remaining tasks."""
    loop.run_forever()
    left = asyncio.all_tasks(loop)
    for task in left:
        task.cancel()
    if left:
        loop.run_until_complete(asyncio.wait(left))
    loop.close()


def _daemon(name: str, work: Callable[[], Any]) -> None:
    threading.Thread(target=work, name=name, daemon=True).start()
