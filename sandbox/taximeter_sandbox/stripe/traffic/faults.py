"""Faults on demand, seeded per route: what goes wrong, how often, and how long calls take.

"Before" means that the call has no effect; "after" means that it took effect and the client does not learn it. A fault is
drawn once a call: scripted ones first ("the next N calls"), then the outage switch, then the probabilities of the route.
"""

import math
import random
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

ANY_ROUTE = "*"
DELAY_MS_MAX = 600_000
SCRIPTED_MAX = 100_000
NORMAL_99TH = 2.3263478740408408

FaultKind = Literal[
    "rate_limited",  # 429 by a limiter
    "lock_timeout",  # 429 that is not a limiter's
    "conflict",  # 409 too_many_concurrent_requests
    "server_error_before",  # 500
    "server_error_after",
    "reset_before",  # the connection is reset
    "reset_after",
    "hang_before",  # no answer for delay_ms, then a reset
    "hang_after",
    "truncate_after",  # half of the body, then a reset
    "bad_gateway_before",  # 502 with an HTML body, from a proxy
    "bad_gateway_after",
    "slow",  # an ordinary call that takes delay_ms longer, half of it before it takes effect
    "key_revoked",  # 401
    "forbidden",  # 403
]
OutageMode = Literal["off", "reset", "hang", "server_error", "bad_gateway"]
LimitReason = Literal["global-rate", "endpoint-rate", "global-concurrency", "endpoint-concurrency", "resource-specific"]


@dataclass(frozen=True, slots=True)
class Fault:
    """One way to go wrong. `delay_ms` is for hang and slow; `should_retry` overrides the Stripe-Should-Retry header."""

    kind: FaultKind
    probability: float = 0.0
    delay_ms: int = 60_000
    reason: LimitReason = "endpoint-rate"
    should_retry: bool | None = None

    def __post_init__(self) -> None:
        if not 0.0 <= self.probability <= 1.0:
            raise ValueError(f"faults: probability {self.probability} is outside 0..1")
        if not 0 <= self.delay_ms <= DELAY_MS_MAX:
            raise ValueError(f"faults: delay_ms is outside 0..{DELAY_MS_MAX}")


@dataclass(frozen=True, slots=True)
class Latency:
    """How long a call takes, in real ms: constant (`median_ms`), uniform (`median_ms` .. `p99_ms`) or lognormal."""

    distribution: Literal["constant", "uniform", "lognormal"] = "constant"
    median_ms: int = 0
    p99_ms: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.median_ms <= DELAY_MS_MAX or not 0 <= self.p99_ms <= DELAY_MS_MAX:
            raise ValueError(f"latency: median_ms and p99_ms must be within 0..{DELAY_MS_MAX}")
        if self.distribution != "constant" and self.p99_ms < self.median_ms:
            raise ValueError("latency: p99_ms must not be below median_ms")
        if self.distribution == "lognormal" and self.median_ms == 0:
            raise ValueError("latency: a lognormal distribution needs a median_ms above 0")

    def sample_s(self, source: random.Random) -> float:
        """One call's duration in seconds."""
        if self.distribution == "constant":
            return self.median_ms / 1000
        if self.distribution == "uniform":
            return source.uniform(self.median_ms, self.p99_ms) / 1000
        sigma = math.log(self.p99_ms / self.median_ms) / NORMAL_99TH
        return min(source.lognormvariate(math.log(self.median_ms), sigma), DELAY_MS_MAX) / 1000


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Faults and latency by route name or `*`; a route's own entry replaces that of `*`."""

    faults: dict[str, tuple[Fault, ...]] = field(default_factory=dict)
    latency: dict[str, Latency] = field(default_factory=dict)
    outage: OutageMode = "off"

    def __post_init__(self) -> None:
        for route, faults in self.faults.items():
            if sum(fault.probability for fault in faults) > 1.0 + 1e-9:
                raise ValueError(f"faults: the probabilities of {route} add up to more than 1")


OUTAGES: dict[OutageMode, FaultKind] = {
    "reset": "reset_before",
    "hang": "hang_before",
    "server_error": "server_error_before",
    "bad_gateway": "bad_gateway_before",
}


class FaultInjector:
    """Draws faults and latencies. One generator a route, so that calls of one route do not disturb another's sequence."""

    def __init__(self, seed: int, plan: FaultPlan | None = None) -> None:
        self._seed = seed
        self._plan = plan or FaultPlan()
        self._sources: dict[str, random.Random] = {}
        self._scripted: dict[str, deque[Fault]] = {}

    @property
    def plan(self) -> FaultPlan:
        """The plan in force."""
        return self._plan

    def use(self, plan: FaultPlan) -> None:
        """Put another plan in force; the generators go on where they are."""
        self._plan = plan

    def script(self, route: str, fault: Fault, times: int) -> None:
        """The next `times` calls of a route (or of any, `*`) go wrong like this. Raises ValueError beyond SCRIPTED_MAX."""
        queue = self._scripted.setdefault(route, deque())
        if not 1 <= times <= SCRIPTED_MAX - len(queue):
            raise ValueError(f"script: times must be at least 1 and at most {SCRIPTED_MAX} may be waiting")
        queue.extend([fault] * times)

    def scripted(self) -> dict[str, int]:
        """How many scripted faults wait, by route."""
        return {route: len(queue) for route, queue in self._scripted.items() if queue}

    def clear_script(self) -> None:
        """Forget all scripted faults."""
        self._scripted.clear()

    def draw(self, route: str) -> Fault | None:
        """What goes wrong with this call, if anything."""
        if self._scripted:
            for name in (route, ANY_ROUTE):
                queue = self._scripted.get(name)
                if queue:
                    return queue.popleft()
        plan = self._plan
        if plan.outage != "off":
            return Fault(OUTAGES[plan.outage])
        if not plan.faults:
            return None
        faults = plan.faults.get(route, plan.faults.get(ANY_ROUTE, ()))
        if not faults:
            return None
        point = self._source(route).random()
        for fault in faults:
            if point < fault.probability:
                return fault
            point -= fault.probability
        return None

    def latency_s(self, route: str) -> float:
        """How long this call takes, in seconds."""
        latency = self._plan.latency.get(route, self._plan.latency.get(ANY_ROUTE))
        return latency.sample_s(self._source(route)) if latency is not None else 0.0

    def _source(self, route: str) -> random.Random:
        source = self._sources.get(route)
        if source is None:
            source = self._sources[route] = random.Random(f"{self._seed}:{route}")
        return source
