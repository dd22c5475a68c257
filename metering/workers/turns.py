"""How workers wait and let others go on: all that they need of whatever runs them, so that a simulation can run them as well."""

from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol, TypeVar

T = TypeVar("T")


class News(Protocol):
    """Wakes the one who waits for it."""

    def tell(self) -> None:
        """There is something to do."""
        ...

    async def wait(self, seconds: float) -> None:
        """Return when `tell` is called, or after this time. A call before this one has no effect."""
        ...


class CallsUnderWay(Protocol[T]):
    """Calls that run beside the one who started them."""

    def __len__(self) -> int: ...

    def start(self, call: Awaitable[T], ended: Callable[[T], None], failed: Callable[[Exception], None]) -> None:
        """Begin a call. `ended` gets its result, or `failed` what it raised: never before this returns, and neither if it is cancelled."""
        ...

    async def finish(self) -> None:
        """Until none is under way."""
        ...

    async def cancel(self) -> None:
        """Cancel what is under way, and wait for that."""
        ...


class Turns(Protocol):
    """Makes them, and lets others go on."""

    def news(self) -> News:
        """For one who waits."""
        ...

    def calls(self) -> CallsUnderWay[T]:
        """For one who calls."""
        ...

    async def others(self) -> None:
        """Let everything else go on that can."""
        ...

    async def together(self, appends: Iterable[Awaitable[object]]) -> None:
        """All of these at once, until they are done. Raises what the first one raises that fails; the others go on."""
        ...
