"""RFC 3339 times, read by their parts. Pure."""

import re
from datetime import date
from typing import Final

from audit.decoder.record_contents import NotReadable

_CHARS: Final = range(20, 41)
_TIME: Final = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})[Tt ]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))", re.ASCII
)
_DAY_S: Final = 86_400
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()


def unix_ms(text: object, field: str) -> int:
    """The milliseconds since 1970 of a time with a zone, cut off below. A leap second is the last millisecond of its day. Raises NotReadable."""
    found = _TIME.fullmatch(text) if isinstance(text, str) and len(text) in _CHARS else None
    if found is None:
        raise NotReadable(f"{field} is not an RFC 3339 time with a zone")
    year, month, day, hour, minute, second = (int(found[group]) for group in range(1, 7))
    zone_hours, zone_minutes = int(found[9] or 0), int(found[10] or 0)
    if hour > 23 or minute > 59 or second > 60 or zone_hours > 23 or zone_minutes > 59:
        raise NotReadable(f"{field} is a time that no clock shows")
    try:
        days = date(year, month, day).toordinal() - _EPOCH_DAY
    except ValueError:
        raise NotReadable(f"{field} is a day that no calendar has") from None
    ahead = (zone_hours * 60 + zone_minutes) * 60 * (-1 if found[8] == "-" else 1)
    is_leap = second == 60
    seconds = days * _DAY_S + hour * 3_600 + minute * 60 + min(second, 59) - ahead
    if is_leap and seconds % _DAY_S != _DAY_S - 1:
        raise NotReadable(f"{field} is a leap second inside a day")
    moment = seconds * 1_000 + (999 if is_leap else int((found[7] or "0")[:3].ljust(3, "0")))
    if moment < 0:
        raise NotReadable(f"{field} is before 1970")
    return moment
