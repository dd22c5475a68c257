"""Times as v2 of the API writes them: RFC 3339 strings."""

import re
from datetime import UTC, datetime, timedelta

_FORM = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,9})?(?:[Zz]|[+-][0-9]{2}:[0-9]{2})\Z", re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)


def rfc3339(time_ms: int) -> str:
    """Unix milliseconds as `2026-11-22T10:00:00.000Z`."""
    return (_EPOCH + timedelta(milliseconds=time_ms)).strftime("%Y-%m-%dT%H:%M:%S.") + f"{time_ms % 1000:03d}Z"


def unix_seconds(text: str) -> int:
    """Whole Unix seconds, rounded down. Raises ValueError for anything but an RFC 3339 date-time with its offset."""
    if not _FORM.match(text):
        raise ValueError("not an RFC 3339 date-time")
    return (datetime.fromisoformat(text.upper()) - _EPOCH) // _SECOND
