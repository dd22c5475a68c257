"""Whether a partition holds usage of billing periods that are over, whose invoices close before long. Pure: times are arguments."""

from typing import Final

from reporter.planning.billing_periods import BillingPeriods
from reporter.planning.planner import PartitionReporter

PERIODS_LOOK_SECONDS: Final = 10.0
REPORT_SECONDS_MAX: Final = 60.0


class EndedPeriods:
    """Of one partition. The answers are up to PERIODS_LOOK_SECONDS old, because a look may walk over all that is open."""

    def __init__(self, periods: BillingPeriods) -> None:
        self.oldest_s: int | None = None  # the end of the oldest period that is over and has usage without a final outcome
        self._periods = periods
        self._in_unplanned = False
        self._looked_at: float | None = None
        self._open_end_s: int | None = None  # the soonest end of what was open when it was walked over
        self._walked_at = (-1, -1, -1)

    def look(self, reporter: PartitionReporter, now_s: int, monotonic: float) -> None:
        """Look again if it is time to. `now_s`: Unix seconds."""
        if self._looked_at is not None and monotonic - self._looked_at < PERIODS_LOOK_SECONDS:
            return
        self._looked_at = monotonic
        ends = [reporter.unplanned.soonest_end_s(), reporter.carried.soonest_end_s(), self._soonest_open_end_s(reporter, now_s)]
        waiting, carried, planned = (end if end is not None and end <= now_s else None for end in ends)
        self._in_unplanned = waiting is not None
        self.oldest_s = min((end for end in (waiting, carried, planned) if end is not None), default=None)

    def report_seconds(self, setting: float) -> float:
        """How long the usage may wait for its intent: at most a minute while it has usage of a period that is over."""
        # At once would be no better: each intent is one more meter event for each customer, and there is time for an hour.
        return min(setting, REPORT_SECONDS_MAX) if self._in_unplanned else setting

    def _soonest_open_end_s(self, reporter: PartitionReporter, now_s: int) -> int | None:
        """Not after the soonest end of what is open, and exactly that if it is over."""
        ledger = reporter.ledger
        newest, changes, events = next(reversed(ledger.open), -1), self._periods.changes, ledger.open_events
        is_over = self._open_end_s is not None and self._open_end_s <= now_s
        # What was settled meanwhile was open when it was walked over: without it the soonest end is the same or a later one.
        if self._walked_at[:2] != (newest, changes) or (is_over and self._walked_at[2] != events):
            self._walked_at = newest, changes, events
            self._open_end_s = self._periods.soonest_end_s(reporter.open_usage())
        return self._open_end_s
