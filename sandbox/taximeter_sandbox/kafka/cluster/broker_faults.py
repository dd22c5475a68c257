"""Faults that no real broker makes on demand, armed over the control port and consulted by the request handlers."""

import asyncio
from dataclasses import dataclass, field


class ConnectionMustClose(Exception):
    """Raised by a handler to close the connection without an answer."""


@dataclass(slots=True)
class Faults:
    """The faults that are armed now. Counts are produce requests for one partition of a topic (None: of any topic)."""

    #: Acknowledge a batch and do not store it.
    lose_append: dict[str | None, int] = field(default_factory=dict)
    #: Store a batch, then close the connection instead of answering.
    lose_acknowledgement: dict[str | None, int] = field(default_factory=dict)
    #: Loop time until which nothing is answered.
    frozen_until: float = 0.0
    #: Seconds that every answer is held back, and the loop time until which that holds.
    delay_s: float = 0.0
    delay_until: float = 0.0

    def take_lose_append(self, topic: str) -> bool:
        """Whether this batch is to be acknowledged and lost; uses up one."""
        return _take(self.lose_append, topic)

    def take_lose_acknowledgement(self, topic: str) -> bool:
        """Whether this batch's acknowledgement is to be lost; uses up one."""
        return _take(self.lose_acknowledgement, topic)

    async def hold_back(self) -> None:
        """Wait out a freeze and a delay; called before each request is handled."""
        loop = asyncio.get_running_loop()
        if self.frozen_until > loop.time():
            await asyncio.sleep(self.frozen_until - loop.time())
        if self.delay_until > loop.time():
            await asyncio.sleep(self.delay_s)

    def clear(self) -> None:
        """Disarm everything; a freeze that is being waited out still runs its course."""
        self.lose_append.clear()
        self.lose_acknowledgement.clear()
        self.frozen_until = self.delay_until = self.delay_s = 0.0


def _take(armed: dict[str | None, int], topic: str) -> bool:
    for name in (topic, None):
        if armed.get(name, 0) > 0:
            armed[name] -= 1
            return True
    return False
