"""When to try again: exponential backoff with full jitter under a deadline."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from taximeter_emitter.clock import Clock

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """Delays in seconds. The n-th wait is random between nothing and `base * 2**n`, at most `cap`; after `deadline` no more is tried."""

    base_seconds: float = 0.1
    cap_seconds: float = 10.0
    deadline_seconds: float | None = None
    attempts_max: int | None = None

    def __post_init__(self) -> None:
        if not 0 < self.base_seconds <= self.cap_seconds:
            raise ValueError("a retry policy needs 0 < base_seconds <= cap_seconds")
        if self.attempts_max is not None and self.attempts_max < 1:
            raise ValueError("a retry policy needs attempts_max of at least 1")

    def wait_seconds(self, attempts: int, random: Random) -> float:
        """The wait after this many failed attempts (at least 1), for callers that count them elsewhere."""
        # Past 2**62 the product says nothing more, and a float would overflow.
        return random.uniform(0.0, min(self.cap_seconds, self.base_seconds * 2.0 ** min(attempts - 1, 62)))


class Backoff:
    """The waits between the attempts of one operation. Pure: the time and the randomness are arguments."""

    __slots__ = ("_attempts", "_policy", "_random", "_started")

    def __init__(self, policy: RetryPolicy, *, now: float, random: Random) -> None:
        self._policy = policy
        self._random = random
        self._started = now
        self._attempts = 0

    @property
    def attempts(self) -> int:
        """Failed attempts so far."""
        return self._attempts

    def next_delay(self, now: float, *, at_least: float = 0.0) -> float | None:
        """Note a failed attempt at monotonic time `now`: seconds to wait before the next one, or None to give up.

        `at_least` is what the other side asked for (Retry-After); the cap does not shorten it. A wait that would end after the
        deadline is refused at once, because waiting would be useless.
        """
        policy = self._policy
        self._attempts += 1
        if policy.attempts_max is not None and self._attempts >= policy.attempts_max:
            return None
        delay = max(at_least, policy.wait_seconds(self._attempts, self._random))
        if policy.deadline_seconds is not None:
            remaining = self._started + policy.deadline_seconds - now
            if remaining <= 0 or at_least > remaining:
                return None
            delay = min(delay, remaining)
        return delay

    def reset(self, now: float) -> None:
        """The operation worked: the next failure starts from the shortest wait and a full deadline."""
        self._attempts = 0
        self._started = now


async def retrying(
    operation: Callable[[], Awaitable[T]],
    *,
    policy: RetryPolicy,
    clock: Clock,
    random: Random,
    retry_on: tuple[type[Exception], ...],
    on_retry: Callable[[Exception, float], None] | None = None,
) -> T:
    """Call `operation` until it returns; an exception of `retry_on` is tried again until the policy gives up, then raised as it is.

    `on_retry` gets the exception and the seconds until the next attempt. Blocks at most for the deadline plus one attempt.
    """
    backoff = Backoff(policy, now=clock.monotonic(), random=random)
    while True:
        try:
            return await operation()
        except retry_on as error:
            delay = backoff.next_delay(clock.monotonic())
            if delay is None:
                raise
            if on_retry is not None:
                on_retry(error, delay)
        await clock.sleep(delay)
