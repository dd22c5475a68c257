"""How fast to call Stripe: a token bucket whose rate adapts. Pure: no I/O, no clock.

Times are monotonic seconds that the caller passes in.
"""

from typing import Final

_CEILING: Final = 0.8  # of the limit: the rest is for others who use the account
_BURST_S: Final = 0.1  # tokens are saved up for this long, so no second sees more than 1.1 times the rate
_DECREASE: Final = 0.5
_RECOVERY_S: Final = 60.0  # from nothing back to the ceiling
_REACTION_S: Final = 1.0  # calls in flight together are refused together: that is one signal, not many
_IDLE_WAIT_S: Final = 1.0


class Pacer:
    """A token bucket for one process: its share of `limit_per_s`, the calls a second for the whole account.

    The share is partitions owned of all partitions, so that processes divide the limit without talking to each other. The rate falls by
    half when Stripe says that a limit was hit, and climbs back in a straight line while calls succeed.
    """

    def __init__(self, limit_per_s: float, *, rate_min_per_s: float = 1.0) -> None:
        if limit_per_s <= 0 or rate_min_per_s <= 0:
            raise ValueError("the limit and the least rate must be above zero")
        self._limit = limit_per_s
        self._least = rate_min_per_s
        self._ceiling = limit_per_s * _CEILING
        self._rate = self._ceiling
        self._tokens = 1.0
        self._filled_at: float | None = None
        self._climbed_at: float | None = None
        self._fell_at: float | None = None

    @property
    def rate_per_s(self) -> float:
        """Calls a second that are let through now."""
        return self._rate

    @property
    def ceiling_per_s(self) -> float:
        """The rate when nothing is wrong; 0 when this process owns no partition."""
        return self._ceiling

    def set_share(self, *, owned: int, total: int, now: float) -> None:
        """This process owns `owned` of `total` partitions. What the rate had learnt is kept in proportion. Raises ValueError."""
        if not 0 <= owned <= total or total == 0:
            raise ValueError(f"{owned} of {total} partitions is not a share")
        self._fill(now)
        learnt = self._rate / self._ceiling if self._ceiling else 1.0
        self._ceiling = self._limit * _CEILING * owned / total
        self._rate = self._within(self._ceiling * learnt)
        self._tokens = min(self._tokens, self._burst())

    def take(self, now: float) -> float:
        """0.0: a token was taken, call now. Otherwise no token was taken, and this is how many seconds until there is one."""
        if self._ceiling == 0:
            return _IDLE_WAIT_S
        self._fill(now)
        if self._tokens >= 1.0:
            self._tokens -= 1.0
            return 0.0
        # A hair more than needed: a caller who wakes exactly then must not find 0.9999 tokens.
        return (1.0 - self._tokens) / self._rate + 1e-6

    def on_rate_limited(self, now: float) -> None:
        """Stripe said that a limit on the rate of calls was hit."""
        self._climbed_at = now
        if self._fell_at is not None and 0 <= now - self._fell_at < _REACTION_S:
            return
        self._fill(now)
        self._fell_at = now
        self._rate = self._within(self._rate * _DECREASE)
        self._tokens = 0.0

    def on_success(self, now: float) -> None:
        """A call was answered as it should be. The climb depends on the time that passed (at most a second each), not on how many calls."""
        if self._climbed_at is not None and now > self._climbed_at:
            self._fill(now)
            self._rate = self._within(self._rate + self._ceiling / _RECOVERY_S * min(now - self._climbed_at, 1.0))
        self._climbed_at = now

    def _fill(self, now: float) -> None:
        if self._filled_at is not None and now > self._filled_at:
            self._tokens = min(self._burst(), self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now

    def _burst(self) -> float:
        return max(1.0, self._rate * _BURST_S)

    def _within(self, rate: float) -> float:
        return min(self._ceiling, max(self._least, rate))
