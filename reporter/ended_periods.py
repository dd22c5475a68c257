"""Whether a partition holds usage of billing periods that are over, whose invoices close before long. Pure: times are arguments."""

from typing import Final

from reporter.billing_periods import BillingPeriods
from reporter.reporting import PartitionReporter

LOOK_SECONDS: Final = 10.0
REPORT_SECONDS_MAX: Final = 60.0


class EndedPeriods:
    """Of one partition. To look is to walk over all that waits there, so it is done every LOOK_SECONDS only, and the answers are that old."""

    def __init__(self, periods: BillingPeriods) -> None:
        self.oldest_s: int | None = None  # the end of the oldest period that is over and has usage without a final outcome
        self._periods = periods
        self._in_backlog = False
        self._looked_at: float | None = None

    def look(self, reporter: PartitionReporter, now_s: int, monotonic: float) -> None:
        """Look again if it is time to. `now_s`: Unix seconds."""
        if self._looked_at is not None and monotonic - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = monotonic
        waiting = self._periods.oldest_ended_s(reporter.backlog.usage(), now_s)
        planned = self._periods.oldest_ended_s(reporter.open_usage(), now_s)
        self._in_backlog = waiting is not None
        self.oldest_s = min((end for end in (waiting, planned) if end is not None), default=None)

    def report_seconds(self, setting: float) -> float:
        """How long the backlog may wait for its intent: at most a minute while it has usage of a period that is over."""
        # At once would be no better: each intent is one more meter event for each customer, and there is time for an hour.
        return min(setting, REPORT_SECONDS_MAX) if self._in_backlog else setting
