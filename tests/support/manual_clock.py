"""Clocks that stand still until a test moves them."""

import asyncio


class ManualClock:
    """Both clocks advance together, and sleeping moves them; `slept` records every sleep in seconds."""

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


class SleeplessClock:
    """Stands still until it is moved; sleeping fails."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def now_ms(self) -> int:
        return int(self.now * 1000)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(f"nothing here sleeps, and not {seconds} s")
