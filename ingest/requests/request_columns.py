"""Reads many events of one request as columns: each check is one pass at the speed of C, without an object for each event. Pure.

Columns take only events in the plain JSON form that all have the same fields and are all acceptable. Otherwise the result is None, and
`bodies` reads the events one by one, which also explains what is wrong.

Wrong JSON types show without a look at each type: only an object can be indexed by a name, only strings can be joined, and only a slice of
a string can be a key of a dictionary. Everything else raises TypeError.
"""

import re
from collections.abc import Collection, Mapping, Sequence
from functools import lru_cache
from operator import countOf, itemgetter
from typing import Any, Final, NamedTuple

from taximeter_emitter.buffer.batching import EventColumns, dimension_bytes, event_bytes
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import (
    EVENT_FIELDS,
    REQUIRED_FIELDS,
    Dimensions,
    UsageEvent,
    fingerprints,
    parse_dimensions,
    parse_time,
    parse_usage,
)
from taximeter_emitter.wire.kept_ids import kept_id
from taximeter_emitter.wire.limits import CUSTOMER_CHARS_MAX, EVENT_ID_CHARS_MAX, FUTURE_TOLERANCE_MS, QUANTITY_MAX, SOURCE_CHARS_MAX

from metering.records.service_limits import EVENT_AGE_MAX_MS

_KNOWN: Final = frozenset(EVENT_FIELDS)
_OBJECTS: Final = {dict}
_CACHED: Final = 4_096
_CUSTOMERS_KNOWN: Final = 65_536
_SECOND_CHARS: Final = 19  # 2026-11-22T10:00:00
_SECOND: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-5][0-9]")
_A_SECOND: Final = "2000-01-01T00:00:00"
_A_SECOND_MS: Final = parse_time(f"{_A_SECOND}Z", "time")


class RequestPart(NamedTuple):
    """Acceptable events of a request that have the same usage fields.

    `indexes` has the place of each event in the request, `ids` its id and `sources` its source. `oldest_ms` is the earliest time.
    """

    events: EventColumns
    indexes: Sequence[int]
    ids: Sequence[str]
    sources: Sequence[str]
    oldest_ms: int


class ColumnReader:
    """Reads events with these usage fields, or with some of them; the reader of single events judges other ones."""

    def __init__(self, usage_fields: Collection[str], *, age_max_ms: int = EVENT_AGE_MAX_MS, keep_ids: bool = False) -> None:
        self._age_max_ms = age_max_ms
        self._keep_ids = keep_ids
        self._usage_fields = frozenset(usage_fields)
        # Names that passed the check before.
        self._customers: set[str] = set()
        self._seconds = _Seconds()
        self._fractions = _Fractions()

    def read(self, documents: Sequence[Any], now_ms: int) -> RequestPart | None:
        """The events of decoded JSON values; None unless all are acceptable and have the same fields. There must be at least one value."""
        try:
            return self._read(documents, now_ms)
        except (EventRejected, LookupError, TypeError):
            # A field is missing, or a value has the wrong type. The reader of single events explains which one.
            return None

    def _read(self, documents: Sequence[Any], now_ms: int) -> RequestPart | None:
        count, fields = len(documents), tuple(documents[0])
        if not (REQUIRED_FIELDS <= set(fields) <= _KNOWN) or countOf(map(len, documents), len(fields)) != count:
            return None
        columns: Mapping[str, Sequence[Any]] = dict(zip(fields, zip(*map(itemgetter(*fields), documents), strict=True), strict=True))
        customers, ids = columns["customer"], columns["id"]
        if not (_are_texts(ids, EVENT_ID_CHARS_MAX) and self._are_customers(customers)):
            return None
        source = _only_source(columns["source"]) if "source" in columns else ""
        times = self._times(columns["time"], now_ms) if "time" in columns else [now_ms] * count
        names, quantities = self._quantities(columns["usage"])
        dimensions, dimensions_size = _dimensions(columns["dimensions"]) if "dimensions" in columns else ([()] * count, dimension_bytes(()))
        if source is None or times is None or not names:
            return None
        kept = [kept_id(source, event_id) for event_id in ids] if self._keep_ids else ()
        kept_chars = max(map(len, kept), default=0)
        size = event_bytes(fields=len(names), customer_chars=max(map(len, customers)), dimensions=dimensions_size, kept_chars=kept_chars)
        stamped = ["time" not in columns] * count
        events = EventColumns(names, customers, dimensions, times, stamped, fingerprints(source, ids), quantities, size, kept)
        return RequestPart(events, range(count), ids, [source] * count, min(times))

    def _are_customers(self, column: Sequence[Any]) -> bool:
        """Whether all are valid customers. Most of them passed the check before."""
        known = self._customers
        if not known.issuperset(column):
            if not _are_texts(column, CUSTOMER_CHARS_MAX) or any(customer != customer.strip(" ") for customer in set(column)):
                return False
            if len(known) >= _CUSTOMERS_KNOWN:
                known.clear()
            known.update(column)
        return True

    def _times(self, column: Sequence[Any], now_ms: int) -> list[int] | None:
        """Event times in ms; None if one is out of range. The second and the rest of a time are looked up apart, because both repeat often."""
        seconds, fractions = self._seconds, self._fractions
        times = [seconds[text[:_SECOND_CHARS]] + fractions[text[_SECOND_CHARS:]] for text in column]
        return times if min(times) >= max(0, now_ms - self._age_max_ms) and max(times) <= now_ms + FUTURE_TOLERANCE_MS else None

    def _quantities(self, usages: Sequence[Any]) -> tuple[tuple[str, ...], Sequence[Sequence[int]]]:
        """Usage fields, and a column of quantities for each; no fields if something is wrong."""
        names, count = tuple(usages[0]), len(usages)
        if countOf(map(len, usages), len(names)) != count or not self._usage_fields.issuperset(names):
            return (), ()
        parse_usage(usages[0], "usage")
        columns = [list(map(itemgetter(name), usages)) for name in names]
        for column in columns:
            # Types first: a boolean would pass the range check.
            if countOf(map(type, column), int) != count or min(column) < 0 or max(column) > QUANTITY_MAX:
                return (), ()
        return names, columns


def parts_of(events: Sequence[tuple[int, UsageEvent]], *, keep_ids: bool = False) -> list[RequestPart]:
    """Group events that were read one by one into parts with the same usage fields. Each event comes with its place in the request."""
    if len(events) == 1:
        return [_part_of_one(*events[0], keep_ids)]
    runs: dict[tuple[str, ...], list[tuple[int, UsageEvent]]] = {}
    for index, event in events:
        runs.setdefault(tuple(name for name, _ in event.usage), []).append((index, event))
    return [_joined([_part_of_one(index, event, keep_ids) for index, event in run]) for run in runs.values()]


def _part_of_one(index: int, event: UsageEvent, keep_ids: bool) -> RequestPart:  # private
    event_id, source, customer, time_ms, usage, dimensions, stamped = event
    kept = (kept_id(source, event_id),) if keep_ids else ()
    kept_chars = max(map(len, kept), default=0)
    size = event_bytes(fields=len(usage), customer_chars=len(customer), dimensions=dimension_bytes(dimensions), kept_chars=kept_chars)
    fields, quantities = zip(*usage, strict=True)
    found = tuple(zip(quantities, strict=True))
    columns = EventColumns(fields, (customer,), (dimensions,), (time_ms,), (stamped,), (event.fingerprint,), found, size, kept)
    return RequestPart(columns, (index,), (event_id,), (source,), time_ms)


def _joined(run: Sequence[RequestPart]) -> RequestPart:
    events, indexes, ids, sources, oldest_ms = zip(*run, strict=True)
    columns = EventColumns.joined(events)
    return RequestPart(columns, [at for (at,) in indexes], [text for (text,) in ids], [text for (text,) in sources], min(oldest_ms))


class _Seconds(dict[str, int]):
    """Milliseconds since the epoch of a text like `2026-11-22T10:00:00`, in UTC. Caches a few thousand texts."""

    def __missing__(self, text: str) -> int:
        if not _SECOND.fullmatch(text):
            raise KeyError(text)
        if len(self) >= _CACHED:
            self.clear()
        self[text] = found = parse_time(f"{text}Z", "time")
        return found


class _Fractions(dict[str, int]):
    """Milliseconds that the rest of a time, such as `.250Z` or `+01:00`, adds to its second."""

    def __missing__(self, text: str) -> int:
        if len(self) >= _CACHED:
            self.clear()
        self[text] = found = parse_time(_A_SECOND + text, "time") - _A_SECOND_MS
        return found


def _are_texts(column: Sequence[Any], chars_max: int) -> bool:
    """Whether no text is empty, too long or has control characters. Raises TypeError for values that are not strings."""
    lengths = set(map(len, column))
    return min(lengths) > 0 and max(lengths) <= chars_max and "".join(column).isprintable()


def _only_source(column: Sequence[Any]) -> str | None:
    """The source of all events; None if they differ or the source is not valid."""
    source: Any = column[0]
    return source if column.count(source) == len(column) and _are_texts([source], SOURCE_CHARS_MAX) else None


def _dimensions(column: Sequence[Any]) -> tuple[Sequence[Dimensions], int]:
    """The dimensions of each event, and the bytes of the largest. Raises TypeError, LookupError or EventRejected."""
    keys = tuple(column[0])
    if countOf(map(len, column), len(keys)) != len(column):
        raise KeyError
    if not keys:
        if set(map(type, column)) != _OBJECTS:
            raise TypeError
        return [()] * len(column), dimension_bytes(())
    values: list[Any] = list(map(itemgetter(*keys), column))
    known: dict[Any, Dimensions] = {}
    size = 0
    for value in set(values):
        known[value], bytes_of_it = _parsed_dimensions(keys, value)
        size = max(size, bytes_of_it)
    return list(map(known.__getitem__, values)), size


@lru_cache(maxsize=_CACHED)
def _parsed_dimensions(keys: tuple[str, ...], values: Any) -> tuple[Dimensions, int]:
    """Dimensions, and at most how many bytes they take."""
    found = parse_dimensions(dict(zip(keys, values if len(keys) > 1 else (values,), strict=True)), "dimensions")
    return found, dimension_bytes(found)
