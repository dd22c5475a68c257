"""When a billing period should end: pure arithmetic of the calendar, in Unix seconds and UTC.

A period begins and ends at any second: by default at the second at which the subscription was made. Usage is summed by the UTC minute, and the
sum of a minute has one timestamp, so a period that ends inside a minute gets all of that minute or nothing of it. Ending on a full minute, no sum
can be on both sides.
"""

from calendar import monthrange
from datetime import UTC, datetime, timedelta
from typing import Final

_DAYS_OF: Final = {"day": 1, "week": 7}
_MONTHS_OF: Final = {"month": 1, "year": 12}


def next_month_start(now: int) -> int:
    """The first second of the next month."""
    return _timestamp(_month_later(_moment(now).replace(day=1, hour=0, minute=0, second=0), 1))


def next_full_minute_end(start: int, now: int, interval: str, count: int) -> int:
    """The first time after `now` that is some intervals after the minute of `start`: a period's end that changes it by less than a minute.

    Raises ValueError for an interval that Stripe has not.
    """
    first = _moment(start - start % 60)
    periods = 1
    while (end := _timestamp(_later(first, interval, count * periods))) <= now:
        periods += 1
    return end


def _later(moment: datetime, interval: str, count: int) -> datetime:
    if interval in _DAYS_OF:
        return moment + timedelta(days=_DAYS_OF[interval] * count)
    if interval in _MONTHS_OF:
        return _month_later(moment, _MONTHS_OF[interval] * count)
    raise ValueError(f"unknown interval {interval!r}")


def _month_later(moment: datetime, months: int) -> datetime:
    year, month = divmod(moment.year * 12 + moment.month - 1 + months, 12)
    return moment.replace(year=year, month=month + 1, day=min(moment.day, monthrange(year, month + 1)[1]))


def _moment(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


def _timestamp(moment: datetime) -> int:
    return int(moment.timestamp())
