"""Rows of a backlog, and billing periods that cut it."""

from taximeter_emitter.wire.limits import MINUTE_MS

from metering.records.tally import TallyRow
from reporter.planning.billing_periods import BillingPeriods, SubscriptionPeriods
from reporter.planning.unplanned import LARGEST_MS

START_MS = 1_780_000_000_000 // LARGEST_MS * LARGEST_MS


def row(minute: int, customer: str = "c", quantity: int = 1) -> TallyRow:
    return TallyRow(customer, "tokens", (), START_MS + minute * MINUTE_MS, quantity, 1)


def periods_with(*spans: tuple[int, int], customer: str = "c") -> BillingPeriods:
    """Runs of billing periods, in seconds after START_MS."""
    periods = BillingPeriods()
    for start, end in spans:
        span = (START_MS // 1000 + start, START_MS // 1000 + end)
        periods.learn(SubscriptionPeriods(customer, span, frozenset(span)))
    return periods
