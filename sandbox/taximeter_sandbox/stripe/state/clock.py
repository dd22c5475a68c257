"""The simulated clock: Stripe's idea of the time, which a test can set, advance, freeze or speed up."""

import time
from collections.abc import Callable
from typing import NamedTuple

RATE_MAX = 100_000.0
TIME_MS_MAX = 4_102_444_800_000  # the year 2100


def real_time_ms() -> int:
    """Milliseconds since the Unix epoch on this machine."""
    return time.time_ns() // 1_000_000


class ClockState(NamedTuple):
    """Simulated time `base_ms` at real time `anchor_ms`, from there `rate` simulated seconds a real second."""

    base_ms: int
    anchor_ms: int
    rate: float


class SimulatedClock:
    """Reads real time until told otherwise. Nothing here blocks."""

    def __init__(self, real_ms: Callable[[], int] = real_time_ms) -> None:
        self._real_ms = real_ms
        now = real_ms()
        self._state = ClockState(now, now, 1.0)

    def now_ms(self) -> int:
        """Simulated milliseconds since the Unix epoch."""
        base, anchor, rate = self._state
        elapsed = self._real_ms() - anchor
        return base + (elapsed if rate == 1.0 else int(elapsed * rate))

    @property
    def state(self) -> ClockState:
        """What `restore` needs to continue this clock in another process."""
        return self._state

    def set_ms(self, now_ms: int) -> None:
        """Jump to a time; the rate stays. Raises ValueError outside 1970..2100."""
        if not 0 <= now_ms <= TIME_MS_MAX:
            raise ValueError(f"clock: {now_ms} is outside 0..{TIME_MS_MAX} ms")
        self._state = ClockState(now_ms, self._real_ms(), self._state.rate)

    def advance_ms(self, delta_ms: int) -> None:
        """Jump by a number of milliseconds, backwards when negative. Raises ValueError outside 1970..2100."""
        self.set_ms(self.now_ms() + delta_ms)

    def set_rate(self, rate: float) -> None:
        """Simulated seconds a real second; 0 freezes the clock. Raises ValueError outside 0..100,000."""
        if not 0.0 <= rate <= RATE_MAX:
            raise ValueError(f"clock: rate {rate} is outside 0..{RATE_MAX:.0f}")
        self._state = ClockState(self.now_ms(), self._real_ms(), rate)

    def follow_real_time(self) -> None:
        """Undo every change: simulated time is real time again."""
        now = self._real_ms()
        self._state = ClockState(now, now, 1.0)

    def restore(self, state: ClockState) -> None:
        """Continue from a state of an earlier process, as if it had never stopped."""
        self._state = state
