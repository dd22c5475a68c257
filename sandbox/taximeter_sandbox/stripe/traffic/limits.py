"""Rate limits, the concurrency limit, and the one-call-at-a-time lanes. Real time counts here, not the simulated clock:
a limit is about calls per second that a client really makes."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from typing import Literal, TypeAlias

from taximeter_sandbox.stripe.http.routes import Lane, Traffic

Profile = Literal["live", "sandbox"]
Reason: TypeAlias = Literal["global-rate", "endpoint-rate", "global-concurrency"]
SECOND_NS = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Limits:
    """Calls a second, and for the stream events a second; 0 means no limit. The defaults are Stripe's for live mode."""

    meter_events_per_second: int = 1000
    stream_events_per_second: int = 10_000
    global_per_second: int = 100
    endpoint_per_second: int = 25
    meter_events_count_globally: bool = False
    concurrent_calls: int = 0  # Stripe has a limit and does not publish it

    def __post_init__(self) -> None:
        for field in fields(self):
            if not 0 <= getattr(self, field.name) <= 1_000_000:
                raise ValueError(f"limits: {field.name} is outside 0..1000000")


LIVE = Limits()
SANDBOX = Limits(
    meter_events_per_second=0, stream_events_per_second=0, global_per_second=25, endpoint_per_second=25, meter_events_count_globally=True
)
PROFILES: dict[Profile, Limits] = {"live": LIVE, "sandbox": SANDBOX}


class Bucket:
    """A token bucket that holds one second's worth, kept as the time at which it would be full again (integers only)."""

    def __init__(self, per_second: int) -> None:
        self._interval_ns = SECOND_NS // per_second if per_second else 0
        self._full_at_ns = 0

    def has_tokens(self, now_ns: int, count: int = 1) -> bool:
        """Whether `take` would succeed. More tokens than the bucket holds are there when it is full."""
        return self._interval_ns == 0 or self._full_at_ns - now_ns <= max(0, SECOND_NS - self._interval_ns * count)

    def take(self, now_ns: int, count: int = 1) -> None:
        """Use tokens."""
        self._full_at_ns = max(self._full_at_ns, now_ns) + self._interval_ns * count


class Limiter:
    """Admits or refuses calls; a refused call uses no token."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._meter_events = Bucket(limits.meter_events_per_second)
        self._stream = Bucket(limits.stream_events_per_second)
        self._global = Bucket(limits.global_per_second)
        self._endpoints: dict[str, Bucket] = {}

    def admit(self, route: str, traffic: Traffic, *, events: int = 1, concurrent: int, now_ns: int) -> Reason | None:
        """None when admitted, else why not. `events` counts those of a stream's call, `concurrent` the calls in progress, this one included."""
        limits = self._limits
        if limits.concurrent_calls and concurrent > limits.concurrent_calls:
            return "global-concurrency"
        endpoint = self._bucket(route, traffic)
        tokens = events if traffic == "stream" else 1
        everything = self._global if limits.meter_events_count_globally or traffic == "ordinary" else None
        if everything is not None and not everything.has_tokens(now_ns):
            return "global-rate"
        if not endpoint.has_tokens(now_ns, tokens):
            return "endpoint-rate"
        endpoint.take(now_ns, tokens)
        if everything is not None:
            everything.take(now_ns)
        return None

    def _bucket(self, route: str, traffic: Traffic) -> Bucket:
        if traffic == "meter_events":
            return self._meter_events
        if traffic == "stream":
            return self._stream
        known = self._endpoints.get(route)
        return known if known is not None else self._endpoints.setdefault(route, Bucket(self._limits.endpoint_per_second))


class Lanes:
    """Calls in flight per (meter, customer). `peak` is the most that ever were at one lane at once, refused ones included."""

    def __init__(self) -> None:
        self._inside: dict[Lane, int] = {}
        self.peak = 0

    def enter(self, lanes: Collection[Lane], *, exclusive: bool) -> bool:
        """Take all the lanes, or none: false when they are exclusive and another call has one. A true answer must be followed by `leave`."""
        busiest = max((self._inside.get(lane, 0) for lane in lanes), default=0)
        self.peak = max(self.peak, busiest + bool(lanes))
        if busiest and exclusive:
            return False
        for lane in lanes:
            self._inside[lane] = self._inside.get(lane, 0) + 1
        return True

    def leave(self, lanes: Collection[Lane]) -> None:
        """Give the lanes back."""
        for lane in lanes:
            inside = self._inside[lane] - 1
            if inside:
                self._inside[lane] = inside
            else:
                del self._inside[lane]
