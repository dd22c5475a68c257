"""Many events of one request read as columns: each check is one pass at the speed of C, and no object is made for an event but its row. Pure.

Only what is certainly acceptable is read here: events in our own form that all have the same fields. Anything else is None, and `bodies` reads
it event by event, which also finds the words for what is wrong.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from operator import itemgetter
from typing import Any, Final

from ingest.batching import EventRow, dimension_bytes, event_bytes
from metering.errors import EventRejected
from metering.event import Dimensions, UsageEvent, fingerprints, parse_dimensions, parse_time, parse_usage
from metering.limits import CUSTOMER_CHARS_MAX, EVENT_ID_CHARS_MAX, FUTURE_TOLERANCE_MS, QUANTITY_MAX, SOURCE_CHARS_MAX

_REQUIRED: Final = frozenset({"id", "customer", "usage"})
_KNOWN: Final = _REQUIRED | {"source", "time", "dimensions"}
_STRINGS: Final = {str}
_INTS: Final = {int}
_OBJECTS: Final = {dict}
_CACHED: Final = 4_096
_SECOND_CHARS: Final = 19  # 2026-11-22T10:00:00
_SECOND: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}")
_A_SECOND: Final = "2000-01-01T00:00:00"


@dataclass(frozen=True, slots=True)
class EventRows:
    """Acceptable events with quantities of the same usage fields; `row_bytes` is what each adds to a batch at most.

    `indexes` and `ids`: the place in the request, and the id, of each event. `oldest_ms`: the earliest of their times.
    """

    fields: tuple[str, ...]
    rows: Sequence[EventRow]
    row_bytes: int
    indexes: Sequence[int]
    ids: Sequence[str]
    oldest_ms: int


class ColumnReader:
    """Reads events whose usage fields are among these."""

    def __init__(self, usage_fields: Collection[str]) -> None:
        self._usage_fields = frozenset(usage_fields)
        self._seconds = _Seconds()
        self._fractions = _Fractions()

    def read(self, documents: Sequence[Any], now_ms: int) -> EventRows | None:
        """The events of decoded JSON values, if all of them are acceptable and alike. There is at least one value."""
        try:
            return self._read(documents, now_ms)
        except (EventRejected, KeyError, TypeError):
            # A field that is missing, or a value of another type than the passes below take: for the reader of single events to say.
            return None

    def _read(self, documents: Sequence[Any], now_ms: int) -> EventRows | None:
        fields = tuple(documents[0])
        if not (_REQUIRED <= set(fields) <= _KNOWN) or set(map(type, documents)) != _OBJECTS or set(map(len, documents)) != {len(fields)}:
            return None
        columns: Mapping[str, Sequence[Any]] = dict(zip(fields, zip(*map(itemgetter(*fields), documents), strict=True), strict=True))
        customers, ids = columns["customer"], columns["id"]
        if not (_are_texts(ids, EVENT_ID_CHARS_MAX) and _are_texts(customers, CUSTOMER_CHARS_MAX)):
            return None
        source = _only_source(columns["source"]) if "source" in columns else ""
        times = self._times(columns["time"], now_ms) if "time" in columns else [now_ms] * len(documents)
        names, quantities = self._quantities(columns["usage"])
        dimensions, dimensions_size = _dimensions(columns["dimensions"]) if "dimensions" in columns else ([()] * len(documents), dimension_bytes(()))
        if source is None or times is None or not names:
            return None
        rows = list(zip(customers, dimensions, times, fingerprints(source, ids), quantities, strict=True))
        size = event_bytes(fields=len(names), customer_chars=max(map(len, customers)), dimensions=dimensions_size)
        return EventRows(names, rows, size, range(len(rows)), ids, min(times))

    def _times(self, column: Sequence[Any], now_ms: int) -> list[int] | None:
        """Event times in ms. A time is taken apart into its second and the rest, because both come again and again."""
        if set(map(type, column)) != _STRINGS or max(map(len, column)) > 40 or min(map(len, column)) < 20:
            return None
        seconds, fractions = self._seconds, self._fractions
        times = [seconds[text[:_SECOND_CHARS]] + fractions[text[_SECOND_CHARS:]] for text in column]
        return times if min(times) >= 0 and max(times) <= now_ms + FUTURE_TOLERANCE_MS else None

    def _quantities(self, usages: Sequence[Any]) -> tuple[tuple[str, ...], Sequence[tuple[int, ...]]]:
        """Usage fields, and the quantities of each event; no fields when something is not as it should be."""
        if set(map(type, usages)) != _OBJECTS:
            return (), ()
        names = tuple(usages[0])
        if set(map(len, usages)) != {len(names)} or not self._usage_fields.issuperset(names):
            return (), ()
        parse_usage(usages[0], "usage")
        quantities = list(map(itemgetter(*names), usages)) if len(names) > 1 else list(zip(map(itemgetter(*names), usages), strict=True))
        for column in zip(*quantities, strict=True):
            if set(map(type, column)) != _INTS or min(column) < 0 or max(column) > QUANTITY_MAX:
                return (), ()
        return names, quantities


def rows_of(events: Sequence[tuple[int, UsageEvent]]) -> list[EventRows]:
    """Events that were read one by one, each with its place in the request, in runs of the same usage fields."""
    runs: dict[tuple[str, ...], list[tuple[int, UsageEvent]]] = {}
    for index, event in events:
        runs.setdefault(tuple(name for name, _ in event.usage), []).append((index, event))
    return [_run_of(fields, run) for fields, run in runs.items()]


def _run_of(fields: tuple[str, ...], run: Sequence[tuple[int, UsageEvent]]) -> EventRows:
    rows = [(event.customer, event.dimensions, event.time_ms, event.fingerprint, tuple(quantity for _, quantity in event.usage)) for _, event in run]
    customer_chars = max(len(event.customer) for _, event in run)
    dimensions = max(dimension_bytes(event.dimensions) for _, event in run)
    size = event_bytes(fields=len(fields), customer_chars=customer_chars, dimensions=dimensions)
    return EventRows(fields, rows, size, [index for index, _ in run], [event.event_id for _, event in run], min(event.time_ms for _, event in run))


class _Seconds(dict[str, int]):
    """Milliseconds since the epoch of `2026-11-22T10:00:00`, in UTC; kept for a few thousand seconds."""

    def __missing__(self, text: str) -> int:
        if not _SECOND.fullmatch(text):
            raise KeyError(text)
        if len(self) >= _CACHED:
            self.clear()
        self[text] = found = parse_time(f"{text}Z", "time")
        return found


class _Fractions(dict[str, int]):
    """Milliseconds that the rest of a time adds to its second: `.250Z`, `+01:00`."""

    def __missing__(self, text: str) -> int:
        if len(self) >= _CACHED:
            self.clear()
        self[text] = found = parse_time(_A_SECOND + text, "time") - parse_time(f"{_A_SECOND}Z", "time")
        return found


def _are_texts(column: Sequence[Any], chars_max: int) -> bool:
    """Whether all are strings that are not empty, not too long, and without control characters."""
    if set(map(type, column)) != _STRINGS:
        return False
    lengths = set(map(len, column))
    return min(lengths) > 0 and max(lengths) <= chars_max and "".join(column).isprintable()


def _only_source(column: Sequence[Any]) -> str | None:
    """The source that all events have in common, if they have and it can be one."""
    source: Any = column[0]
    return source if column.count(source) == len(column) and _are_texts([source], SOURCE_CHARS_MAX) else None


def _dimensions(column: Sequence[Any]) -> tuple[Sequence[Dimensions], int]:
    """The dimensions of each event, and at most how many bytes one of them takes. Raises TypeError, KeyError or EventRejected."""
    if set(map(type, column)) != _OBJECTS:
        raise TypeError
    keys = tuple(column[0])
    if set(map(len, column)) != {len(keys)}:
        raise KeyError
    if not keys:
        return [()] * len(column), dimension_bytes(())
    values: list[Any] = list(map(itemgetter(*keys), column))
    known = {value: _parsed_dimensions(keys, value) for value in set(values)}
    return [known[value] for value in values], max(map(dimension_bytes, known.values()))


@lru_cache(maxsize=_CACHED)
def _parsed_dimensions(keys: tuple[str, ...], values: Any) -> Dimensions:
    return parse_dimensions(dict(zip(keys, values if len(keys) > 1 else (values,), strict=True)), "dimensions")
