"""Billing periods: calendar arithmetic from an anchor. All times are Unix seconds, all dates UTC.

Months are counted from the anchor, not from the period before, so that a subscription anchored on the 31st ends its
February period on the 28th and is back on the 31st in March.
"""

from calendar import monthrange
from datetime import UTC, datetime

from taximeter_sandbox.stripe.selling.prices import Interval

SECONDS = {"day": 86_400, "week": 7 * 86_400}
MONTHS = {"month": 1, "year": 12}
MONTH_S_MIN = 28 * 86_400


def boundary(anchor: int, interval: Interval, interval_count: int, number: int) -> int:
    """The period boundary `number` intervals after the anchor; before it for a negative number."""
    if interval in SECONDS:
        return anchor + number * interval_count * SECONDS[interval]
    start = datetime.fromtimestamp(anchor, UTC)
    years, month = divmod(start.month - 1 + number * interval_count * MONTHS[interval], 12)
    year = start.year + years
    day = min(start.day, monthrange(year, month + 1)[1])
    return int(start.replace(year=year, month=month + 1, day=day).timestamp())


def next_boundary(anchor: int, interval: Interval, interval_count: int, after: int) -> int:
    """The first period boundary later than `after`."""
    longest = (SECONDS[interval] if interval in SECONDS else 31 * MONTHS[interval] * 86_400) * interval_count
    number = (after - anchor) // longest - 1
    while (found := boundary(anchor, interval, interval_count, number)) <= after:
        number += 1
    return found
