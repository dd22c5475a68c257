"""An event loop whose time stands still while anything runs and jumps ahead when everything waits: hours pass in the CPU time that they need."""

import asyncio
import selectors
from collections.abc import Mapping
from typing import Any


class VirtualLoop(asyncio.SelectorEventLoop):
    """For code that waits for nothing but time: there is no network and no thread in it. Its time begins at 0."""

    def __init__(self) -> None:
        self._now = 0.0
        super().__init__(_Jumping(self))

    def time(self) -> float:
        """Virtual seconds."""
        return self._now

    def jump(self, seconds: float) -> None:
        """Everything waits for so long."""
        self._now += seconds


class VirtualClock:
    """A Clock that follows a VirtualLoop; `start_ms` is the wall time at its begin (Unix ms)."""

    def __init__(self, loop: VirtualLoop, start_ms: int) -> None:
        self._loop = loop
        self._start_ms = start_ms

    def now_ms(self) -> int:
        """Milliseconds since the Unix epoch, UTC."""
        return self._start_ms + round(self._loop.time() * 1000)

    def monotonic(self) -> float:
        """Seconds since the loop's begin."""
        return self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Wait for this many virtual seconds."""
        await asyncio.sleep(seconds)


class _Jumping(selectors.BaseSelector):
    """Where a loop would sleep, its time jumps. Nothing ever becomes readable."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._keys: dict[int, selectors.SelectorKey] = {}

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Raises RuntimeError where the loop would sleep for ever."""
        if timeout is None:
            raise RuntimeError("everything waits for something that never comes")
        if timeout > 0:
            self._loop.jump(timeout)
        return []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """The loop's own pipe to itself comes here, and is never written to."""
        number = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        self._keys[number] = selectors.SelectorKey(fileobj, number, events, data)
        return self._keys[number]

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """See `register`."""
        return self._keys.pop(fileobj if isinstance(fileobj, int) else fileobj.fileno())

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """What was registered."""
        return self._keys
