"""Turns of asyncio's event loop."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from functools import partial
from typing import Generic, TypeVar

T = TypeVar("T")


class LoopTurns:
    """`Turns` of the running loop."""

    def news(self) -> "LoopNews":
        """See Turns."""
        return LoopNews()

    def calls(self) -> "LoopCalls[T]":
        """See Turns."""
        return LoopCalls()

    async def others(self) -> None:
        """See Turns."""
        await asyncio.sleep(0)

    async def together(self, appends: Iterable[Awaitable[object]]) -> None:
        """See Turns."""
        await asyncio.gather(*appends)


class LoopNews:
    """`News` by an event."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def tell(self) -> None:
        """See News."""
        self._event.set()

    async def wait(self, seconds: float) -> None:
        """See News."""
        self._event.clear()
        try:
            async with asyncio.timeout(max(0.0, seconds)):
                await self._event.wait()
        except TimeoutError:
            return


class LoopCalls(Generic[T]):
    """`CallsUnderWay` as futures."""

    def __init__(self) -> None:
        self._calls: set[asyncio.Future[T]] = set()

    def __len__(self) -> int:
        return len(self._calls)

    def start(self, call: Awaitable[T], ended: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        """See CallsUnderWay."""
        future = asyncio.ensure_future(call)
        self._calls.add(future)
        # A callback of the call and no task around it: at thousands of events a second that is half of the work.
        future.add_done_callback(partial(self._done, ended, failed))

    def _done(self, ended: Callable[[T], None], failed: Callable[[Exception], None], call: asyncio.Future[T]) -> None:
        self._calls.discard(call)
        if call.cancelled():
            return
        error = call.exception()
        if isinstance(error, Exception):
            failed(error)
        else:
            ended(call.result())

    async def finish(self) -> None:
        """See CallsUnderWay."""
        if self._calls:
            await asyncio.wait(self._calls)

    async def cancel(self) -> None:
        """See CallsUnderWay."""
        for call in list(self._calls):
            call.cancel()
        await self.finish()
