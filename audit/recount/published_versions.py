"""Which version of the catalogue a record must be counted by, from usage.catalogue alone, by code of its own. Pure.

A publication counts if it follows the last one that counts, and holds late enough: see `NOTICE_MS`. A record is counted by the version that is
in force at the latest log time of its partition up to it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, Final

import orjson

from metering.records.fail_closed import RecordCorrupt

NOTICE_MS: Final = 15 * 60_000
"""From so long after it was written a version may hold."""
UNSURE_MS: Final = 10 * 60_000
"""By so much brokers' clocks differ: what has a log time later than that after the first publication was counted by a reader of the topic."""
_VERSIONS_MAX: Final = 10_000
_FORMAT: Final = "catalogue/1"


@dataclass(frozen=True, slots=True)
class _Published:
    offset: int
    from_ms: int
    version: str


class PublishedVersions:
    """Hand in the records of usage.catalogue in order."""

    def __init__(self) -> None:
        self._versions: list[_Published] = []
        self._checked_from_ms = 0

    def take(self, offset: int, log_time_ms: int, value: bytes | None) -> None:
        """The next record. Raises RecordCorrupt for a format of a later release."""
        document = _document(value)
        if document is None:
            return
        last = self._versions[-1] if self._versions else None
        starts = document["from"]
        if document["after"] != (-1 if last is None else last.offset) or len(self._versions) >= _VERSIONS_MAX:
            return
        if starts != 0 if last is None else starts < log_time_ms + NOTICE_MS or starts <= last.from_ms:
            return
        if last is None:
            self._checked_from_ms = log_time_ms + UNSURE_MS
        self._versions.append(_Published(offset, starts, document["version"]))

    def in_force(self, latest_ms: int) -> str | None:
        """The version by which a record is counted where this is the latest log time; None where an aggregator may have counted that knew none."""
        if not self._versions or latest_ms < self._checked_from_ms:
            return None
        return next(each.version for each in reversed(self._versions) if each.from_ms <= latest_ms)


def _document(value: bytes | None) -> Mapping[str, Any] | None:
    if value is None or not value.startswith(b'{"format":"catalogue/'):
        return None
    try:
        document = orjson.loads(value)
        if document["format"] != _FORMAT:
            raise RecordCorrupt(f"usage.catalogue has the format {document['format']!r}; this version reads {_FORMAT}")
        numbers = (document["after"], document["from"], document["at"])
        texts = (document["version"], document["reason"], document["by"])
        digest = blake2b(orjson.dumps(document["definition"]), digest_size=8).hexdigest()
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return None
    is_sound = all(type(number) is int for number in numbers) and all(type(text) is str for text in texts)
    return document if is_sound and min(numbers[1:]) >= 0 and numbers[0] >= -1 and digest == document["version"] else None
