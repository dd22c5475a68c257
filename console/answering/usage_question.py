"""What may be asked of usage: `customer`, `meter`, `from`, `to`, `group_by`, `limit` and `after`. Pure."""

import binascii
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import orjson
from taximeter_emitter.wire.errors import TaximeterError
from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS

_DAYS_DEFAULT: Final = 30
_ROWS_DEFAULT: Final = 1_000
_ROWS_MAX: Final = 10_000
_GROUPS_MAX: Final = 8
HOURS_OF_EACH_MAX: Final = 48
"""So many hours of every customer at once; more of them of one customer, or of all together."""

OWN_GROUPS: Final = ("customer", "meter", "day", "hour")
_PARAMETERS: Final = frozenset({"customer", "meter", "from", "to", "group_by", "limit", "after"})
_DIMENSION: Final = re.compile(r'[^"\\\x00-\x1f]{1,64}')


class BadQuestion(TaximeterError):
    """A parameter cannot be used. `parameter` is its name."""

    def __init__(self, parameter: str, problem: str) -> None:
        super().__init__(f"{parameter}: {problem}")
        self.parameter = parameter
        self.problem = problem


@dataclass(frozen=True, slots=True, kw_only=True)
class UsageAsked:
    """Usage of [from_hour, to_hour), UTC hours since 1970, summed by `groups`: some of OWN_GROUPS, and names of dimensions, in this order.

    `after`: the values of the groups of the last row before, as a row has them; None from the first on.
    """

    from_hour: int
    to_hour: int
    customer: str | None = None
    meter: str | None = None
    groups: tuple[str, ...] = ()
    limit: int = _ROWS_DEFAULT
    after: tuple[str | int, ...] | None = None

    @property
    def dimensions(self) -> tuple[str, ...]:
        """The groups that are dimensions."""
        return tuple(name for name in self.groups if name not in OWN_GROUPS)


def usage_asked(parameters: Mapping[str, str], now_ms: int) -> UsageAsked:
    """The question that these parameters of a request ask. Without `from` and `to` it is of 30 UTC days, today included. Raises BadQuestion."""
    for name in parameters:
        if name not in _PARAMETERS:
            raise BadQuestion(name, f"unknown; there are {', '.join(sorted(_PARAMETERS))}")
    end = -(-(now_ms + 1) // DAY_MS) * DAY_MS
    to_hour = _hour("to", parameters["to"]) if "to" in parameters else end // HOUR_MS
    from_hour = _hour("from", parameters["from"]) if "from" in parameters else to_hour // 24 * 24 - 24 * _DAYS_DEFAULT + 24 * bool(to_hour % 24)
    if from_hour >= to_hour:
        raise BadQuestion("from", "must be before `to`")
    groups = _groups(parameters.get("group_by", ""))
    customer = parameters.get("customer") or None
    if {"hour", "customer"} <= set(groups) and customer is None and to_hour - from_hour > HOURS_OF_EACH_MAX:
        raise BadQuestion("group_by", f"`customer` and `hour` together take at most {HOURS_OF_EACH_MAX} hours, or one `customer`; or group by `day`")
    limit = _limit(parameters.get("limit", str(_ROWS_DEFAULT)))
    after = _after(parameters["after"], len(groups)) if "after" in parameters else None
    return UsageAsked(
        from_hour=from_hour, to_hour=to_hour, customer=customer, meter=parameters.get("meter") or None, groups=groups, limit=limit, after=after
    )


def cursor_of(values: Sequence[str | int]) -> str:
    """What to give as `after` for the rows behind the one with these values of its groups."""
    return urlsafe_b64encode(orjson.dumps(list(values))).decode().rstrip("=")


def hour_text(hour: int) -> str:
    """An hour as RFC 3339."""
    return datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m-%dT%H:00:00Z")


def day_text(day: int) -> str:
    """A UTC day as an ISO date."""
    return datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")


def _hour(name: str, text: str) -> int:
    try:
        found = datetime.fromisoformat(text)
        moment = found.replace(tzinfo=found.tzinfo or UTC).timestamp()
    except (ValueError, OverflowError):
        raise BadQuestion(name, f"{text[:40]!r} is no date (2026-11-27) and no time (2026-11-27T10:00Z)") from None
    if moment % 3600 or not 0 <= moment < 1e11:
        raise BadQuestion(name, f"{text[:40]!r} is not a whole hour of UTC: usage is kept by the hour")
    return int(moment) // 3600


def _groups(text: str) -> tuple[str, ...]:
    groups = tuple(name for name in (part.strip() for part in text.split(",")) if name)
    if len(groups) > _GROUPS_MAX or len(set(groups)) < len(groups):
        raise BadQuestion("group_by", f"takes at most {_GROUPS_MAX} different names")
    if {"hour", "day"} <= set(groups):
        raise BadQuestion("group_by", "takes `hour` or `day`, not both")
    for name in groups:
        if not _DIMENSION.fullmatch(name):
            raise BadQuestion("group_by", f"{name[:40]!r} is none of {', '.join(OWN_GROUPS)} and cannot be the name of a dimension")
    return groups


def _limit(text: str) -> int:
    if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= _ROWS_MAX:
        raise BadQuestion("limit", f"must be a number of rows from 1 to {_ROWS_MAX}")
    return int(text[:9])


def _after(text: str, groups: int) -> tuple[str | int, ...]:
    try:
        values = orjson.loads(urlsafe_b64decode(text + "=" * (-len(text) % 4)))
    except (ValueError, binascii.Error):
        values = None
    if not isinstance(values, list) or len(values) != groups or not all(isinstance(value, str) or type(value) is int for value in values):
        raise BadQuestion("after", "is not the `next` of an answer to the same question")
    return tuple(values)
