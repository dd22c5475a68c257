"""How fast to call Stripe: a token bucket whose rate adapts, and a bound on the calls in flight. Pure: no I/O, no clock.

Times are monotonic seconds that the caller passes in.
"""

from collections import deque
from math import floor, inf
from typing import Final

_CEILING: Final = 0.8  # of the limit: the rest is for others who use the account
_BURST_S: Final = 0.1  # tokens are saved up for this long, so no second sees more than 1.1 times the rate
_IDLE_WAIT_S: Final = 1.0

_WINDOW_S: Final = 1.0
_WINDOW_REPLIES_MIN: Final = 10  # so that a few calls a second are judged as well
_SAMPLE_S: Final = 0.2  # less time than this says little: limits that count by the second refuse in bursts
_STRAY: Final = 2.0  # refusals in a window that say nothing at all
_STRAY_SHARE: Final = 0.08  # of the replies in a window, on top of that
_DECREASE_MOST: Final = 0.5  # a few replies are a poor estimate
_IN_FLIGHT_DECREASE: Final = 0.8
_DOUBLING_S: Final = 15.0  # from the rate that was good to twice as much; a tenth above it after 7 s


class Pacer:
    """A token bucket for one process: its share of `limit_per_s`, the calls a second for the whole account.

    The share is partitions owned of all partitions, so that processes divide the limit without talking to each other. A stray refusal
    changes nothing. When more than a small share of the replies of the last second are refusals, the rate falls to what Stripe took. It
    comes back along a cubic: flat near the rate that was good, then faster, and in proportion to it. Refusals that speak of calls at the
    same time lower `in_flight_max` in the same manner, and not the rate.
    """

    def __init__(self, limit_per_s: float, *, rate_min_per_s: float = 1.0) -> None:
        if limit_per_s <= 0 or rate_min_per_s <= 0:
            raise ValueError("the limit and the least rate must be above zero")
        self._limit = limit_per_s
        self._least = rate_min_per_s
        self._ceiling = limit_per_s * _CEILING
        self._rate = self._ceiling
        self._climb = _Climb(self._ceiling)
        self._replies = _Replies()
        self._in_flight = _Climb(inf)
        self._in_flight_replies = _Replies()
        self._tokens = 1.0
        self._filled_at: float | None = None

    @property
    def rate_per_s(self) -> float:
        """Calls a second that are let through now."""
        return self._rate

    @property
    def ceiling_per_s(self) -> float:
        """The rate when nothing is wrong; 0 when this process owns no partition."""
        return self._ceiling

    @property
    def in_flight_max(self) -> float:
        """The caller starts no call while this many are under way. At least 1; infinite until Stripe says that there are too many."""
        return inf if self._in_flight.level == inf else floor(self._in_flight.level)

    def set_share(self, *, owned: int, total: int, now: float) -> None:
        """This process owns `owned` of `total` partitions. What the rate had learnt is kept in proportion. Raises ValueError."""
        if not 0 <= owned <= total or total == 0:
            raise ValueError(f"{owned} of {total} partitions is not a share")
        self._fill(now)
        learnt = self._rate / self._ceiling if self._ceiling else 1.0
        self._ceiling = self._limit * _CEILING * owned / total
        self._rate = self._within(self._ceiling * learnt)
        self._climb = _Climb(self._rate)
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

    def on_rate_limited(self, now: float, *, began: float) -> None:
        """Stripe refused a request, which began at `began`: there are too many in a time. Once for each request, however many events it had."""
        if not self._replies.add(now, began, refused=True):
            return
        self._fill(now)
        self._rate = self._within(self._rate * max(_DECREASE_MOST, 1.0 - self._replies.refused_share))
        self._climb = _Climb(self._rate)
        self._replies = _Replies(since=now)
        self._tokens = 0.0

    def on_concurrency_limited(self, now: float, *, began: float, in_flight: int) -> None:
        """Stripe refused a request: there are too many at once. `in_flight` counts the calls under way with this one."""
        if self._in_flight_replies.add(now, began, refused=True):
            # What was refused came back at once, so the calls under way are about as many as Stripe takes: the share says little here.
            self._in_flight = _Climb(max(1.0, min(self.in_flight_max, in_flight) * _IN_FLIGHT_DECREASE))
            self._in_flight_replies = _Replies(since=now)

    def on_success(self, now: float, *, began: float) -> None:
        """A request was answered as it should be. The climb depends on the time that passed, not on how many succeed."""
        self._replies.add(now, began, refused=False)
        self._in_flight_replies.add(now, began, refused=False)
        self._fill(now)
        self._rate = self._within(self._climb.on_success(now))
        self._in_flight.on_success(now)

    def _fill(self, now: float) -> None:
        if self._filled_at is not None and now > self._filled_at:
            self._tokens = min(self._burst(), self._tokens + (now - self._filled_at) * self._rate)
        self._filled_at = now

    def _burst(self) -> float:
        return max(1.0, self._rate * _BURST_S)

    def _within(self, rate: float) -> float:
        return min(self._ceiling, max(self._least, rate))


class _Climb:
    """A level that stays near `good` at first and then leaves it behind."""

    __slots__ = ("_elapsed_s", "_good", "_last_at", "level")

    def __init__(self, good: float) -> None:
        self._good = good
        self._elapsed_s = 0.0
        self._last_at: float | None = None
        self.level = good

    def on_success(self, now: float) -> float:
        """The level now. Each success counts for a second at most: silence proves nothing."""
        if self._last_at is not None and now > self._last_at:
            self._elapsed_s += min(now - self._last_at, 1.0)
            self.level = self._good * (1.0 + (self._elapsed_s / _DOUBLING_S) ** 3)
        self._last_at = now
        return self.level


class _Replies:
    """The replies of the last second, or the last few where there were fewer, to requests that began after `since`."""

    __slots__ = ("_refused", "_replies", "_since", "_started_at")

    def __init__(self, *, since: float = -inf) -> None:
        self._since = since
        self._started_at: float | None = None
        self._replies: deque[tuple[float, bool]] = deque()
        self._refused = 0

    @property
    def refused_share(self) -> float:
        return self._refused / len(self._replies) if self._replies else 0.0

    def add(self, now: float, began: float, *, refused: bool) -> bool:
        """Whether there are too many refusals to be stray ones. What began before `since` does not count: it went out at an older pace."""
        if began < self._since:
            return False
        if self._started_at is None:
            self._started_at = now
        self._replies.append((now, refused))
        self._refused += refused
        while len(self._replies) > _WINDOW_REPLIES_MIN and self._replies[0][0] < now - _WINDOW_S:
            self._refused -= self._replies.popleft()[1]
        return now - self._started_at >= _SAMPLE_S and self._refused > _STRAY + _STRAY_SHARE * len(self._replies)
