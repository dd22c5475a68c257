"""Wait for what another thread or task will do. The limit is there for a test that fails, not a claim about speed."""

import asyncio
import time
from collections.abc import Callable

LIMIT_SECONDS = 30.0


def until(condition: Callable[[], bool]) -> None:
    """Block until the condition holds."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.005)


async def until_async(condition: Callable[[], bool]) -> None:
    """Wait until the condition holds, and let the event loop run meanwhile."""
    deadline = time.monotonic() + LIMIT_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        await asyncio.sleep(0.002)
