"""What billing has to do and when, in order of simulated time."""

import heapq
from typing import Literal, NamedTuple

WorkKind = Literal["upcoming", "close", "finalize", "expire"]


class BillingWork(NamedTuple):
    """One thing to do at `due_ms`; ties in order of arrival. The code that does it checks that it is still due."""

    due_ms: int
    arrival: int
    kind: WorkKind
    identity: str


class BillingSchedule:
    """A few entries a subscription, one a draft and one an open checkout session, so bounded by their tables."""

    def __init__(self) -> None:
        self._heap: list[BillingWork] = []
        self._arrivals = 0

    def push(self, due_ms: int, kind: WorkKind, identity: str) -> None:
        """Add work."""
        self._arrivals += 1
        heapq.heappush(self._heap, BillingWork(due_ms, self._arrivals, kind, identity))

    def pop_due(self, now_ms: int) -> BillingWork | None:
        """The next work that is due, or None."""
        if self._heap and self._heap[0].due_ms <= now_ms:
            return heapq.heappop(self._heap)
        return None
