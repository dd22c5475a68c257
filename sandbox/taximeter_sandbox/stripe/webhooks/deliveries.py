"""Which delivery is due when: at least once, delayed, out of order, again after a failure. Pure: times are arguments.

Times are simulated, so a clock that is advanced makes retries due, and a clock that stands still makes them wait.
"""

import heapq
import random
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

DELIVERIES_MAX = 100_000
RECORDS_MAX = 10_000
MINUTE_MS = 60_000
HOUR_MS = 60 * MINUTE_MS
# Stripe says "up to three days with an exponential back off" in live mode and three tries "over a few hours" in a sandbox
# (docs.stripe.com/webhooks, "Retry behavior"); the single waits are the simulator's own.
LIVE_WAITS_MS = (5 * MINUTE_MS, 30 * MINUTE_MS, 2 * HOUR_MS, 5 * HOUR_MS, 10 * HOUR_MS, 12 * HOUR_MS, 12 * HOUR_MS, 12 * HOUR_MS, 12 * HOUR_MS)
SANDBOX_WAITS_MS = (30 * MINUTE_MS, 2 * HOUR_MS)
BOUNDS: dict[str, tuple[float, float]] = {
    "retry_scale": (0.0, 1.0),
    "duplicate_probability": (0.0, 1.0),
    "hold_back_probability": (0.0, 1.0),
    "hold_back_ms": (0, 3_600_000),
    "delay_min_ms": (0, 3_600_000),
    "delay_max_ms": (0, 3_600_000),
    "timeout_ms": (1, 60_000),
    "connections": (1, 100),
    "error_samples": (0, 1000),
}


@dataclass(frozen=True, slots=True)
class Webhooks:
    """How deliveries go. Waits and delays are in ms of simulated time, `timeout_ms` in real time.

    `signed_at` is the clock of `t=` in the signature: a receiver with a real clock refuses what was signed by a simulated one. An event is
    delivered twice with `duplicate_probability`, and `hold_back_ms` late, behind younger ones, with `hold_back_probability`.
    `connections` is how many deliveries one destination gets at once, `error_samples` how many errors of a kind an error report names.
    """

    signed_at: Literal["real", "simulated"] = "real"
    retry_scale: float = 1.0
    duplicate_probability: float = 0.0
    hold_back_probability: float = 0.0
    hold_back_ms: int = 2000
    delay_min_ms: int = 0
    delay_max_ms: int = 0
    timeout_ms: int = 10_000
    connections: int = 4
    error_samples: int = 5

    def __post_init__(self) -> None:
        for name, (low, high) in BOUNDS.items():
            if not low <= getattr(self, name) <= high:
                raise ValueError(f"webhooks: {name} is outside {low}..{high}")
        if self.delay_min_ms > self.delay_max_ms:
            raise ValueError("webhooks: delay_min_ms must not be greater than delay_max_ms")

    def sample_copies(self, source: random.Random) -> int:
        """How often one event is delivered to one destination."""
        return 2 if source.random() < self.duplicate_probability else 1

    def sample_delay_ms(self, source: random.Random) -> int:
        """How long one delivery waits before its first attempt."""
        held_ms = self.hold_back_ms if source.random() < self.hold_back_probability else 0
        return held_ms + (self.delay_min_ms if self.delay_min_ms == self.delay_max_ms else source.randint(self.delay_min_ms, self.delay_max_ms))


def retry_wait_ms(attempts: int, scale: float, *, livemode: bool) -> int | None:
    """How long to wait after this many failed attempts; None to give up."""
    waits = LIVE_WAITS_MS if livemode else SANDBOX_WAITS_MS
    return int(waits[attempts - 1] * scale) if attempts <= len(waits) else None


class Delivery(NamedTuple):
    """One event for one destination: how many attempts were made, and when the next is due."""

    number: int
    event_id: str
    destination_id: str
    attempts: int
    due_ms: int


class AttemptRecord(NamedTuple):
    """One attempt: the status that came back, or the error instead of one; when (simulated) it ended, and when the next is due."""

    delivery: int
    event_id: str
    event_type: str
    destination_id: str
    attempt: int
    at_ms: int
    status: int | None
    error: str | None
    next_ms: int | None


class DeliveryQueue:
    """What is to be delivered. At most DELIVERIES_MAX wait; what would be more is not queued, and counted in `refused`."""

    def __init__(self) -> None:
        self._deliveries: dict[int, Delivery] = {}
        self._waiting: dict[str, list[tuple[int, int]]] = {}
        self._in_flight: set[int] = set()
        self._busy: Counter[str] = Counter()
        self._pending: Counter[str] = Counter()
        self.records: deque[AttemptRecord] = deque(maxlen=RECORDS_MAX)
        self.next_number = 0
        self.refused = 0

    def __len__(self) -> int:
        return len(self._deliveries)

    @property
    def in_flight(self) -> int:
        """Deliveries that are being attempted."""
        return len(self._in_flight)

    def pending_of(self, event_id: str) -> int:
        """Destinations and copies that still wait for an event."""
        return self._pending[event_id]

    def unsettled(self, until_ms: int) -> bool:
        """Whether anything is in flight or due by then."""
        return bool(self._in_flight) or any(delivery.due_ms <= until_ms for delivery in self._deliveries.values())

    def add(self, delivery: Delivery) -> bool:
        """Queue a delivery under `next_number`; false when the queue is full."""
        if len(self._deliveries) >= DELIVERIES_MAX:
            self.refused += 1
            return False
        self.next_number = delivery.number + 1
        self._pending[delivery.event_id] += 1
        self._wait(delivery)
        return True

    def _wait(self, delivery: Delivery) -> None:
        self._deliveries[delivery.number] = delivery
        heapq.heappush(self._waiting.setdefault(delivery.destination_id, []), (delivery.due_ms, delivery.number))

    def take_due(self, now_ms: int, connections: int) -> list[Delivery]:
        """Deliveries to attempt: earliest first, at most `connections` at once for one destination. Each must be settled."""
        taken: list[Delivery] = []
        for destination_id, heap in self._waiting.items():
            while heap and heap[0][0] <= now_ms and self._busy[destination_id] < connections:
                due_ms, number = heapq.heappop(heap)
                delivery = self._deliveries.get(number)
                if delivery is None or delivery.due_ms != due_ms or number in self._in_flight:
                    continue  # it was settled or put off since
                self._in_flight.add(number)
                self._busy[destination_id] += 1
                taken.append(delivery)
        return taken

    def find(self, number: int) -> Delivery | None:
        """The delivery, while it is not over."""
        return self._deliveries.get(number)

    def settle(self, record: AttemptRecord) -> None:
        """An attempt is over: done with when there is no next one."""
        self._release(record.delivery, record.destination_id)
        self.records.append(record)
        delivery = self._deliveries.get(record.delivery)
        if delivery is None:
            return
        if record.next_ms is None:
            self._end(delivery)
        else:
            self._wait(delivery._replace(attempts=record.attempt, due_ms=record.next_ms))

    def forget_destination(self, destination_id: str) -> None:
        """Nothing is delivered there from now on; an attempt in flight ends without effect."""
        self._waiting.pop(destination_id, None)
        for delivery in [one for one in self._deliveries.values() if one.destination_id == destination_id]:
            self._end(delivery)

    def _end(self, delivery: Delivery) -> None:
        del self._deliveries[delivery.number]
        self._pending[delivery.event_id] -= 1
        if not self._pending[delivery.event_id]:
            del self._pending[delivery.event_id]

    def _release(self, number: int, destination_id: str) -> None:
        if number in self._in_flight:
            self._in_flight.discard(number)
            self._busy[destination_id] -= 1


def shown_records(records: Iterable[AttemptRecord]) -> list[dict[str, object]]:
    """Attempts as the oracle shows them."""
    return [record._asdict() for record in records]
