"""How many calls may be spent on comparing: a share of what the account may read in a month. Pure."""

from typing import Final

MONTH_SECONDS: Final = 30 * 86_400
AT_ONCE_SECONDS: Final = 3_600  # what an hour allows may be spent at once
AT_ONCE_MIN: Final = 20


class ReadBudget:
    """Calls that may be made. It begins with what an hour allows, so that many restarts spend little."""

    def __init__(self, per_month: float, now: float) -> None:
        self._per_second = per_month / MONTH_SECONDS
        self._most = max(AT_ONCE_MIN, self._per_second * AT_ONCE_SECONDS) if per_month else 0.0
        self._share = 1.0
        self._left = self._most
        self._at = now

    def set_share(self, share: float) -> None:
        """Which part of the account's partitions this process owns (0 to 1)."""
        self._share = share

    def left(self, now: float) -> int:
        """Whole calls that may be made by now."""
        most = max(1.0, self._most * self._share) if self._most and self._share else 0.0
        self._left = min(most, self._left + (now - self._at) * self._per_second * self._share)
        self._at = now
        return int(self._left)

    def spend(self, calls: int) -> None:
        """They were made."""
        self._left -= calls
