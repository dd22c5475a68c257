"""The store's writer in a thread of its own, so that a slow disk delays nobody who asks."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from console.store.usage_store import UsageStore

T = TypeVar("T")
P = ParamSpec("P")


class StoreThread:
    """Owns the thread. `revision` counts what was written: nothing new is to be shown before it grows."""

    def __init__(self, store: UsageStore) -> None:
        self.store = store
        self.revision = 0
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="store")

    async def run(self, work: Callable[P, T], *arguments: P.args, **named: P.kwargs) -> T:
        """The result of this work on the store; raises what it raises. It runs to its end even if the caller is cancelled."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, lambda: work(*arguments, **named))

    async def close(self) -> None:
        """Wait for the work under way, and close the store."""
        await self.run(self.store.close)
        self._thread.shutdown()
