"""How many events a second a key may send. Pure: the caller passes the time."""


class EventRate:
    """A bucket of tokens that fills at `per_second` and holds one second's worth.

    It may go into debt, because the number of events in a request is known only when its body has been read.
    """

    __slots__ = ("_filled_at", "_per_second", "_tokens")

    def __init__(self, per_second: int, *, now: float) -> None:
        self._per_second = per_second
        self._tokens = float(per_second)
        self._filled_at = now

    def wait_seconds(self, now: float) -> float:
        """How long until events may be sent again; 0 if they may now."""
        self._fill(now)
        return max(0.0, (1.0 - self._tokens) / self._per_second)

    def spend(self, events: int, now: float) -> None:
        """Take tokens for this many events."""
        self._fill(now)
        self._tokens -= events

    def _fill(self, now: float) -> None:
        self._tokens = min(float(self._per_second), self._tokens + (now - self._filled_at) * self._per_second)
        self._filled_at = now
