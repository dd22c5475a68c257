"""A batch: many events of one partition in one Kafka record, as columns, numbered by the emitter that wrote it.

The value is JSON, so that anybody can read it:

    {"taximeter": 1, "emitter": "0f3c...", "partition": 3, "first_seq": 1200, "count": 3,
     "customers": ["cus_1", "cus_2"], "dimensions": [{"model": "alpaca-7b"}], "series_dimensions": [0, 0],
     "at": [0, 1, 0], "base_time": 1763800000000, "time": [0, 5, 9],
     "usage": {"input_tokens": [812, 40, 7], "output_tokens": [164, 3, 1]},
     "ids": "<base64 of 16 bytes an event>"}

A *series* is a customer with a set of dimensions; `at` says which series each event belongs to. `ids` holds the fingerprints of the events
(zeros: that event has none) and is absent when none has. A record with `count` 0 is a *heartbeat*: it may say `"final": true` (the emitter
closed; `first_seq` is how many events it ever numbered in this partition), `abandoned` (ranges of numbers whose sender was told that they
may not have arrived) and `dropped` (events lost before they were numbered, since the emitter started).
"""

from array import array
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from operator import countOf
from typing import Any, Final

import numpy as np
import orjson

from metering.errors import EventRejected, Reason
from metering.event import Dimensions, check_name, check_text, parse_dimensions
from metering.limits import BATCH_EVENTS_MAX, CUSTOMER_CHARS_MAX, QUANTITY_MAX, USAGE_FIELDS_MAX

FORMAT_KEY: Final = "taximeter"
FORMAT: Final = 1
FINGERPRINT_BYTES: Final = 16
NO_ID: Final = bytes(FINGERPRINT_BYTES)
EMITTER_CHARS_MAX: Final = 64
ABANDONED_RANGES_MAX: Final = 1_000
_TIME_MS_MAX: Final = 253_402_300_800_000  # the year 10000
# Columns of so many events are decoded to array("q"), which numpy reads without a copy; below it the fixed cost of numpy is larger.
COLUMN_ARRAY_EVENTS: Final = 64
_INTS: Final = {int}
_KNOWN: Final = frozenset(
    {
        FORMAT_KEY,
        *("emitter", "partition", "first_seq", "count", "customers", "dimensions", "series_dimensions", "at", "base_time", "time", "usage"),
        *("ids", "final", "abandoned", "dropped"),
    }
)


@dataclass(frozen=True, slots=True)
class Batch:
    """A decoded batch or heartbeat. Columns have `count` entries; `ids` is b"" or 16 bytes an event; times in milliseconds.

    Columns of COLUMN_ARRAY_EVENTS and more are `array("q")` when they were decoded.
    """

    emitter: str
    partition: int
    first_seq: int
    count: int
    customers: Sequence[str] = ()
    dimensions: Sequence[Dimensions] = ()
    series_dimensions: Sequence[int] = ()
    at: Sequence[int] = ()
    base_time_ms: int = 0
    time: Sequence[int] = ()
    usage: Mapping[str, Sequence[int]] = field(default_factory=dict)
    ids: bytes = b""
    final: bool = False
    abandoned: Sequence[tuple[int, int]] = ()
    dropped: int = 0


def encode_batch(batch: Batch) -> bytes:
    """The bytes of a batch or heartbeat as they stand in usage.events."""
    document: dict[str, Any] = {
        FORMAT_KEY: FORMAT,
        "emitter": batch.emitter,
        "partition": batch.partition,
        "first_seq": batch.first_seq,
        "count": batch.count,
    }
    if batch.count:
        document |= {
            "customers": batch.customers,
            "dimensions": [dict(dimensions) for dimensions in batch.dimensions],
            "series_dimensions": batch.series_dimensions,
            "at": batch.at,
            "base_time": batch.base_time_ms,
            "time": batch.time,
            "usage": batch.usage,
        }
        if batch.ids:
            document["ids"] = b2a_base64(batch.ids, newline=False).decode()
    if batch.final:
        document["final"] = True
    if batch.abandoned:
        document["abandoned"] = batch.abandoned
    if batch.dropped:
        document["dropped"] = batch.dropped
    return orjson.dumps(document)


def decode_batch(document: Mapping[str, Any]) -> Batch:
    """Check and read the decoded JSON of a batch. Raises EventRejected, which names the column: BAD_BATCH, or what is wrong with a string in it."""
    if type(document.get(FORMAT_KEY)) is not int or document[FORMAT_KEY] != FORMAT:
        raise _bad(FORMAT_KEY, f"this version reads format {FORMAT}")
    if not document.keys() <= _KNOWN:
        raise _bad(min(document.keys() - _KNOWN)[:40], "is not a field of a batch")
    count = _integer(document, "count", BATCH_EVENTS_MAX)
    emitter = document.get("emitter")
    if type(emitter) is not str or not 0 < len(emitter) <= EMITTER_CHARS_MAX or not emitter.isprintable():
        raise _bad("emitter", f"must be a string of 1 to {EMITTER_CHARS_MAX} characters")
    partition = _integer(document, "partition", 2**31 - 1)
    first_seq = _integer(document, "first_seq", 2**62)
    if not count:
        return _heartbeat(document, emitter, partition, first_seq)
    customers = _customers(document)
    dimensions = _dimensions(document)
    time = _column(document.get("time"), "time", count, _TIME_MS_MAX)
    return Batch(
        emitter=emitter,
        partition=partition,
        first_seq=first_seq,
        count=count,
        customers=customers,
        dimensions=dimensions,
        series_dimensions=_column(document.get("series_dimensions"), "series_dimensions", len(customers), len(dimensions) - 1),
        at=_column(document.get("at"), "at", count, len(customers) - 1),
        base_time_ms=_integer(document, "base_time", _TIME_MS_MAX),
        time=time,
        usage=_usage(document.get("usage"), count),
        ids=_ids(document.get("ids"), count),
    )


def _heartbeat(document: Mapping[str, Any], emitter: str, partition: int, first_seq: int) -> Batch:
    final = document.get("final", False)
    abandoned = document.get("abandoned", [])
    if type(final) is not bool:
        raise _bad("final", "must be a boolean")
    if type(abandoned) is not list or len(abandoned) > ABANDONED_RANGES_MAX or not all(_is_range(pair) for pair in abandoned):
        raise _bad("abandoned", f"must be at most {ABANDONED_RANGES_MAX} pairs of first and last number")
    dropped = _integer(document, "dropped", 2**62) if "dropped" in document else 0
    ranges = tuple((first, last) for first, last in abandoned)
    return Batch(emitter=emitter, partition=partition, first_seq=first_seq, count=0, final=final, abandoned=ranges, dropped=dropped)


def _customers(document: Mapping[str, Any]) -> list[str]:
    customers = document.get("customers")
    if type(customers) is not list or not 0 < len(customers) <= BATCH_EVENTS_MAX or countOf(map(type, customers), str) != len(customers):
        raise _bad("customers", "must be a list of strings, one a series")
    if not all(customers) or max(map(len, customers)) > CUSTOMER_CHARS_MAX or not "".join(customers).isprintable():
        for customer in customers:
            check_text(customer, "customers", CUSTOMER_CHARS_MAX)
    return customers


def _dimensions(document: Mapping[str, Any]) -> list[Dimensions]:
    dimensions = document.get("dimensions")
    if type(dimensions) is not list or not 0 < len(dimensions) <= BATCH_EVENTS_MAX:
        raise _bad("dimensions", "must be a list of objects")
    return [parse_dimensions(entry, "dimensions") for entry in dimensions]


def _usage(usage: object, count: int) -> dict[str, Sequence[int]]:
    if type(usage) is not dict or not 0 < len(usage) <= USAGE_FIELDS_MAX:
        raise _bad("usage", f"must be an object of 1 to {USAGE_FIELDS_MAX} columns")
    columns: dict[str, Sequence[int]] = {}
    for name, column in usage.items():
        check_name(name, "usage")
        columns[name] = _column(column, f"usage.{name}", count, QUANTITY_MAX)
    return columns


def _ids(ids: object, count: int) -> bytes:
    if ids is None:
        return b""
    try:
        raw = a2b_base64(ids, strict_mode=True) if type(ids) is str else b""
    except (Base64Error, ValueError):
        raw = b""
    if len(raw) != count * FINGERPRINT_BYTES:
        raise _bad("ids", f"must be base64 of {FINGERPRINT_BYTES} bytes an event")
    return raw


def extent(column: Sequence[int]) -> tuple[int, int]:
    """The least and the greatest of a column that is not empty."""
    if isinstance(column, array):
        numbers = np.frombuffer(column, np.int64)
        return int(numbers.min()), int(numbers.max())
    return min(column), max(column)


def _column(column: Any, name: str, length: int, maximum: int) -> Sequence[int]:
    if type(column) is not list or len(column) != length:
        raise _bad(name, f"must be a list of {length} integers")
    # Counting the types catches booleans and floats at the speed of C.
    if countOf(map(type, column), int) == length:
        try:
            numbers: Sequence[int] = array("q", column) if length >= COLUMN_ARRAY_EVENTS else column
        except OverflowError:
            numbers = column
        least, greatest = extent(numbers)
        if least >= 0 and greatest <= maximum:
            return numbers
    raise _bad(name, f"must hold integers from 0 to {maximum}")


def _integer(document: Mapping[str, Any], name: str, maximum: int) -> int:
    value = document.get(name)
    if type(value) is not int or not 0 <= value <= maximum:
        raise _bad(name, f"must be an integer from 0 to {maximum}")
    return value


def _is_range(pair: object) -> bool:
    return type(pair) is list and len(pair) == 2 and set(map(type, pair)) == _INTS and 0 <= pair[0] <= pair[1]


def _bad(name: str, detail: str) -> EventRejected:
    return EventRejected(Reason.BAD_BATCH, name, detail)
