"""How an event waits in the emitter: checked when it is emitted, kept as bytes, and read again, many at once, when it is batched. Pure."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any, Final

import orjson

from ingest.batching import EventRow, dimension_bytes, event_bytes
from metering.batch import NO_ID
from metering.errors import EventRejected, Reason
from metering.event import Dimensions, check_text, fingerprint, parse_dimensions, parse_usage
from metering.limits import CUSTOMER_CHARS_MAX, EVENT_ID_CHARS_MAX, QUANTITY_MAX

_KNOWN_MAX: Final = 4_096
_CUSTOMER: Final = itemgetter(0)
_DIMENSIONS: Final = itemgetter(1)


class EventEncoder:
    """Checks what `emit` is given. `usage_fields` None: any name will do. May be called by many threads at once."""

    def __init__(self, usage_fields: Collection[str] | None) -> None:
        self._usage_fields = None if usage_fields is None else frozenset(usage_fields)
        # What was found good before: sets of field names, and whole dimensions. They come again and again.
        self._known_fields: set[tuple[str, ...]] = set()
        self._known_dimensions: set[Dimensions] = set()

    def encode(self, customer: str, usage: Mapping[str, int], dimensions: Mapping[str, str] | None, event_id: str | None, time_ms: int) -> bytes:
        """The bytes of one event; what was given may change afterwards. Raises EventRejected, and TypeError or others for strange arguments."""
        if type(customer) is not str or not 0 < len(customer) <= CUSTOMER_CHARS_MAX or not customer.isprintable():
            check_text(customer, "customer", CUSTOMER_CHARS_MAX)
        if type(usage) is not dict:
            usage = dict(usage)
        fields = tuple(usage)
        if fields not in self._known_fields:
            self._check_fields(fields, usage)
        for quantity in usage.values():
            if type(quantity) is not int or not 0 <= quantity <= QUANTITY_MAX:
                parse_usage(usage, "usage")
        if dimensions:
            if type(dimensions) is not dict:
                dimensions = dict(dimensions)
            self._check_dimensions(dimensions)
        if event_id is not None:
            check_text(event_id, "event_id", EVENT_ID_CHARS_MAX)
        # Without the brackets, which makes it a copy: orjson's own bytes were cut from a kilobyte, and keeping many such costs 2 us each.
        return orjson.dumps((customer, usage, dimensions or {}, time_ms, event_id), option=orjson.OPT_SORT_KEYS)[1:-1]

    def _check_fields(self, fields: tuple[str, ...], usage: dict[str, int]) -> None:
        parse_usage(usage, "usage")
        if self._usage_fields is not None:
            for name in fields:
                if name not in self._usage_fields:
                    raise EventRejected(Reason.UNKNOWN_USAGE_FIELD, f"usage.{name}", "no meter sums this field")
        _remember(self._known_fields, fields)

    def _check_dimensions(self, dimensions: dict[str, str]) -> None:
        pairs = tuple(dimensions.items())
        try:
            if pairs in self._known_dimensions:
                return
        except TypeError:
            # A value that cannot be hashed is no string: the next line finds the words.
            parse_dimensions(dimensions, "dimensions")
        parse_dimensions(dimensions, "dimensions")
        _remember(self._known_dimensions, pairs)


@dataclass(frozen=True, slots=True)
class DecodedEvents:
    """Rows by partition and usage fields, in the order of the events; `row_bytes` is what each adds to a batch at most."""

    rows: Mapping[tuple[int, tuple[str, ...]], Sequence[EventRow]]
    row_bytes: int


class EventDecoder:
    """Reads encoded events. `source` is that of all of them."""

    def __init__(self, source: str) -> None:
        self._source = source
        # One object for all dimensions that are equal, because batches compare them.
        self._dimensions: dict[Dimensions, Dimensions] = {}

    def decode(self, events: Sequence[bytes], homes: Mapping[str, int]) -> DecodedEvents:
        """At least one event; `homes` gives the partition of a customer."""
        rows: dict[tuple[int, tuple[str, ...]], list[EventRow]] = {}
        documents: list[tuple[str, dict[str, int], dict[str, str], int, str | None]] = orjson.loads(b"[[" + b"],[".join(events) + b"]]")
        same = self._dimensions
        for customer, usage, dimensions, time_ms, event_id in documents:
            # Sorted when they were encoded.
            pairs = tuple(dimensions.items())
            identity = NO_ID if event_id is None else fingerprint(self._source, event_id)
            row = (customer, same.setdefault(pairs, pairs), time_ms, identity, tuple(usage.values()))
            key = (homes[customer], tuple(usage))
            if key in rows:
                rows[key].append(row)
            else:
                rows[key] = [row]
        if len(same) > _KNOWN_MAX:
            same.clear()
        return DecodedEvents(rows, _row_bytes(rows))


def _row_bytes(rows: Mapping[tuple[int, tuple[str, ...]], Sequence[EventRow]]) -> int:
    """At most how many bytes one of these rows adds to a batch."""
    found = list(chain.from_iterable(rows.values()))
    return event_bytes(
        fields=max(len(fields) for _, fields in rows),
        customer_chars=max(map(len, map(_CUSTOMER, found))),
        dimensions=max(map(dimension_bytes, set(map(_DIMENSIONS, found)))),
    )


def _remember(known: set[Any], value: object) -> None:
    if len(known) >= _KNOWN_MAX:
        known.clear()
    known.add(value)
