"""`parse_iso_time`: `datetime.fromisoformat` as Python 3.11 and later have it; 3.10's reads neither `Z` nor all fractions of a second."""

import re
import sys
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone
from typing import Final

_ISO_TIME: Final = re.compile(
    r"""
    (?P<year>[0-9]{4}) (?P<dash>-?)
    (?: (?P<month>[0-9]{2}) (?P=dash) (?P<day>[0-9]{2}) | W (?P<week>[0-9]{2}) (?: (?P=dash) (?P<weekday>[0-9]) )? )
    (?s: . )
    (?P<hour>[0-9]{2})
    (?: (?P<colon>:?) (?P<minute>[0-9]{2}) (?: (?P=colon) (?P<second>[0-9]{2}) (?: [.,] (?P<fraction>[0-9]+) )? )? )?
    (?:
        Z
      | (?P<sign>[+-]) (?P<hours>[0-9]{2})
        (?: (?P<mark>:?) (?P<minutes>[0-9]{2}) (?: (?P=mark) (?P<seconds>[0-9]{2}) (?: [.,] (?P<part>[0-9]+) )? )? )?
    )?
    """,
    re.VERBOSE | re.ASCII,
)


def parse_iso_time_by_hand(text: str) -> datetime:
    """What `datetime.fromisoformat` of Python 3.11 makes of an ISO 8601 date and time. Raises ValueError."""
    found = _ISO_TIME.fullmatch(text)
    if found is None:
        raise ValueError(f"not an ISO 8601 time: {text!r}")
    year = int(found["year"])
    if found["week"] is None:
        day = date(year, int(found["month"]), int(found["day"]))
    else:
        day = date.fromisocalendar(year, int(found["week"]), int(found["weekday"] or 1))
    zone = None
    if found["sign"] is not None:
        offset = timedelta(
            hours=_number(found["hours"]), minutes=_number(found["minutes"]), seconds=_number(found["seconds"]), microseconds=_micros(found["part"])
        )
        zone = timezone(-offset if found["sign"] == "-" else offset)
    elif text.endswith("Z"):
        zone = timezone.utc
    return datetime(
        day.year, day.month, day.day, _number(found["hour"]), _number(found["minute"]), _number(found["second"]), _micros(found["fraction"]), zone
    )


def _number(digits: str | None) -> int:
    return int(digits or 0)


def _micros(fraction: str | None) -> int:
    return int((fraction or "0")[:6].ljust(6, "0"))


parse_iso_time: Final[Callable[[str], datetime]] = datetime.fromisoformat if sys.version_info >= (3, 11) else parse_iso_time_by_hand
