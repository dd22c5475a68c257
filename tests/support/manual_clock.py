"""A clock that stands still until a test moves it; sleeping moves it."""

import asyncio


class ManualClock:
    """Both clocks advance together; `slept` records every sleep in seconds."""

    def __init__(self, now_ms: int = 1_800_000_000_000) -> None:
        self.slept: list[float] = []
        self._now_ms = now_ms
        self._monotonic = 1000.0

    def now_ms(self) -> int:
        return self._now_ms

    def monotonic(self) -> float:
        return self._monotonic

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.advance(seconds)
        await asyncio.sleep(0)

    def advance(self, seconds: float) -> None:
        self._monotonic += seconds
        self._now_ms += round(seconds * 1000)
