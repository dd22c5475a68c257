"""Is the process alive, and is money moving? Pure: callers report what happens; only the clock is asked."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from taximeter_emitter.clock import Clock

HEARTBEAT_SECONDS_MAX: Final = 10.0

# Says in a few words, for an operator, what is wrong; None if nothing is. No secrets, no payloads.
Condition = Callable[[], str | None]


@dataclass(frozen=True, slots=True)
class ProbeAnswer:
    """The answer to one probe: for each condition what is wrong, or None. `mentions` are troubles that do not decide."""

    conditions: dict[str, str | None]
    mentions: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether every condition holds."""
        return all(problem is None for problem in self.conditions.values())


class Progress:
    """Waiting work must move: it is a problem if nothing moves for `stall_seconds`. An idle service is fine.

    A service can be connected, have partitions and still do nothing for hours. Only work that waits while nothing moves shows that.
    """

    __slots__ = ("_clock", "_pending", "_since", "_stall_seconds", "_what")

    def __init__(self, clock: Clock, *, what: str, stall_seconds: float) -> None:
        self._clock = clock
        self._what = what
        self._stall_seconds = stall_seconds
        self._pending = 0
        self._since = clock.monotonic()

    def pending(self, amount: int) -> None:
        """Note how much work waits now (records behind, rows to send). The stall clock starts when some work begins to wait."""
        if self._pending <= 0 < amount:
            self._since = self._clock.monotonic()
        self._pending = amount

    def moved(self) -> None:
        """Note that some work is done."""
        self._since = self._clock.monotonic()

    def problem(self) -> str | None:
        """The problem, if work waits and nothing moved for too long."""
        still = self._clock.monotonic() - self._since
        if self._pending > 0 and still > self._stall_seconds:
            return f"{self._pending} {self._what} waiting and nothing moved for {still:.0f} s"
        return None


class Health:
    """The state behind the probes of one process."""

    __slots__ = ("_beat", "_clock", "_conditions", "_heartbeat_seconds_max", "_mentions", "_started", "_stopping")

    def __init__(self, clock: Clock, *, heartbeat_seconds_max: float = HEARTBEAT_SECONDS_MAX) -> None:
        self._clock = clock
        self._heartbeat_seconds_max = heartbeat_seconds_max
        self._beat = clock.monotonic()
        self._conditions: dict[str, Condition] = {}
        self._mentions: dict[str, Condition] = {}
        self._started = False
        self._stopping = False

    def beat(self) -> None:
        """Note that the event loop runs."""
        self._beat = self._clock.monotonic()

    def require(self, name: str, condition: Condition) -> None:
        """Add a condition of readiness. Raises ValueError if the name is in use."""
        if name in self._conditions:
            raise ValueError(f"readiness condition {name} exists")
        self._conditions[name] = condition

    def mention(self, name: str, condition: Condition) -> None:
        """Add a trouble that readiness names, and that does not make the service unready: it is of some partitions or clients, not of all."""
        self._mentions[name] = condition

    def release(self, name: str) -> None:
        """Remove a condition, for example of a partition that moved away."""
        self._conditions.pop(name, None)

    def mark_started(self) -> None:
        """Note that the service has started: from now on it may be ready."""
        self._started = True

    def mark_stopping(self) -> None:
        """Note that the service is draining: not ready from now on, but alive."""
        self._stopping = True

    def liveness(self) -> ProbeAnswer:
        """Depends only on the heartbeat of the event loop: restarting a process helps neither Kafka nor Stripe."""
        age = self._clock.monotonic() - self._beat
        late = f"the event loop has not run for {age:.0f} s" if age > self._heartbeat_seconds_max else None
        return ProbeAnswer({"event_loop": late})

    def startup(self) -> ProbeAnswer:
        """Whether the service has started."""
        return ProbeAnswer({"started": None if self._started else "still starting"})

    def readiness(self) -> ProbeAnswer:
        """All conditions; also, the service must have started and must not be stopping. A condition that raises counts as failing."""
        conditions: dict[str, str | None] = dict(self.startup().conditions)
        conditions["not_stopping"] = "draining" if self._stopping else None
        for name, condition in self._conditions.items():
            conditions[name] = _asked(condition)
        mentions = {name: said for name, condition in self._mentions.items() if (said := _asked(condition)) is not None}
        return ProbeAnswer(conditions, mentions)


def _asked(condition: Condition) -> str | None:
    try:
        return condition()
    except Exception as error:  # a probe must answer; the type is enough to find the bug
        return f"the check failed: {type(error).__name__}"
