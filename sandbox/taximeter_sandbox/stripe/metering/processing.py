"""The asynchronous plane: what was accepted becomes visible after a lag, not necessarily in order."""

import heapq
import random
from dataclasses import dataclass
from typing import NamedTuple

LAG_MS_MAX = 120_000


@dataclass(frozen=True, slots=True)
class Processing:
    """Lag between receipt and visibility, uniform in [min, max] ms of simulated time. A wide range reorders."""

    lag_min_ms: int = 0
    lag_max_ms: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.lag_min_ms <= self.lag_max_ms <= LAG_MS_MAX:
            raise ValueError(f"processing: lag must satisfy 0 <= lag_min_ms <= lag_max_ms <= {LAG_MS_MAX}")

    def sample_ms(self, source: random.Random) -> int:
        """The lag of one event."""
        return self.lag_max_ms if self.lag_min_ms == self.lag_max_ms else source.randint(self.lag_min_ms, self.lag_max_ms)


class Work(NamedTuple):
    """One thing to process at `due_ms`; ties in order of arrival. Exactly one of the two numbers is set."""

    due_ms: int
    arrival: int
    event: int | None
    adjustment: int | None


class ProcessingQueue:
    """Work ordered by the time at which it becomes due. One entry an unprocessed event, so bounded by the event store."""

    def __init__(self) -> None:
        self._heap: list[Work] = []
        self._arrivals = 0

    def __len__(self) -> int:
        return len(self._heap)

    def push(self, due_ms: int, *, event: int | None = None, adjustment: int | None = None) -> None:
        """Add work."""
        self._arrivals += 1
        heapq.heappush(self._heap, Work(due_ms, self._arrivals, event, adjustment))

    def pop_due(self, now_ms: int) -> Work | None:
        """The next work that is due, or None."""
        if self._heap and self._heap[0].due_ms <= now_ms:
            return heapq.heappop(self._heap)
        return None
