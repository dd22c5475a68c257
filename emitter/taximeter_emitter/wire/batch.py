"""A batch: many events of one partition in one Kafka record, as columns, numbered by the emitter that wrote it.

The value is JSON, so that anybody can read it:

    {"taximeter": 2, "emitter": "0f3c...", "partition": 3, "first_seq": 1200, "count": 3,
     "customers": ["cus_1", "cus_2"], "dimensions": [{"model": "alpaca-7b"}, {"model": "alpaca-70b"}],
     "series": 3, "series_customers": "1AAEA", "series_dimensions": "1AAAB",
     "at": "1AAEC", "base_time": 1763800000000, "time": "1AAUJ",
     "usage": {"input_tokens": "2LAMoAAcA", "output_tokens": "1pAMB"},
     "ids": "<base64 of 16 bytes an event>"}

A *series* is a customer with a set of dimensions; there are `series` of them, and `series_customers` and `series_dimensions` say which, by
their places in `customers` and `dimensions`. `at` says which series each event belongs to. The columns of integers are packed as
`packed` says: above, `at` is 0, 1, 2 in one byte each, and `input_tokens` is 812, 40, 7 in two. `ids` holds the fingerprints of the
events (zeros: that event has none) and is absent when none has.

Form 1, `"taximeter": 1`, has lists of integers where form 2 has text, and neither `series` nor `series_customers`: its `customers` has an
entry for each series. Batches of few events are written so, because there it is smaller and quicker; it is read whatever its size.

A record with `count` 0 is a *heartbeat*, of form 1 because it has no columns: it may say `"final": true` (the emitter closed; `first_seq` is
how many events it ever numbered in this partition), `abandoned` (ranges of numbers whose sender was told that they may not have arrived) and
`dropped` (events lost before they were numbered, since the emitter started).
"""

from array import array
from binascii import Error as Base64Error
from binascii import a2b_base64, b2a_base64
from collections.abc import Callable, Mapping, Sequence
from operator import countOf
from types import MappingProxyType
from typing import Any, Final, NamedTuple

import orjson

from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import Dimensions, check_name, check_text, parse_dimensions
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, CUSTOMER_CHARS_MAX, QUANTITY_MAX, USAGE_FIELDS_MAX
from taximeter_emitter.wire.packed import fits, greatest, pack, unpack

FORMAT_KEY: Final = "taximeter"
LISTS: Final = 1
PACKED: Final = 2
FINGERPRINT_BYTES: Final = 16
NO_ID: Final = bytes(FINGERPRINT_BYTES)
EMITTER_CHARS_MAX: Final = 64
PACKED_FROM: Final = 64  # events; measured: docs/decisions/0007-batch-columns.md
ABANDONED_RANGES_MAX: Final = 1_000
TEXTS_MAX: Final = 1_000
TIME_MS_MAX: Final = 253_402_300_800_000  # the year 10000
SEQUENCE_MAX: Final = 2**62
PARTITION_MAX: Final = 2**31 - 1
_INTS: Final = {int}
LISTED_FIELDS: Final = (
    *(FORMAT_KEY, "emitter", "partition", "first_seq", "count", "customers"),
    *("series_dimensions", "at", "time", "usage", "dimensions", "base_time"),
)
"""The fields that each batch of form 1 has, in the order in which they are written; `ids` may follow."""
_ALWAYS: Final = frozenset({*LISTED_FIELDS, "ids", "final", "abandoned", "dropped"})
_KNOWN: Final[Mapping[int, frozenset[str]]] = {LISTS: _ALWAYS, PACKED: _ALWAYS | {"series", "series_customers"}}

_NO_USAGE: Final[Mapping[str, Sequence[int]]] = MappingProxyType({})


class Batch(NamedTuple):
    """A decoded batch or heartbeat. Columns have `count` entries; `ids` is b"" or 16 bytes an event; times in milliseconds.

    `customers` and `series_dimensions` have an entry for each series. Columns that were decoded are of type `array`.
    A named tuple and not a dataclass, because one is made of every record: 0.5 us against 2 us.
    """

    emitter: str
    partition: int
    first_seq: int
    count: int  # type: ignore[assignment]  # tuples have a method of this name, which nobody needs here
    customers: Sequence[str] = ()
    dimensions: Sequence[Dimensions] = ()
    series_dimensions: Sequence[int] = ()
    at: Sequence[int] = ()
    base_time_ms: int = 0
    time: Sequence[int] = ()
    usage: Mapping[str, Sequence[int]] = _NO_USAGE
    ids: bytes = b""
    final: bool = False
    abandoned: Sequence[tuple[int, int]] = ()
    dropped: int = 0


class KnownTexts:
    """Texts that were found good in earlier batches, and are not looked at again.

    `customers` are for the reader to fill, and to bound; the others begin anew at TEXTS_MAX.
    """

    __slots__ = ("_dimensions", "_fields", "customers")

    def __init__(self) -> None:
        self.customers: set[str] = set()
        self._dimensions: dict[tuple[tuple[str, Any], ...], Dimensions] = {}
        self._fields: set[tuple[str, ...]] = set()

    def check_customers(self, customers: Sequence[Any]) -> None:
        """Raises EventRejected for one that is not as it must be."""
        try:
            if self.customers.issuperset(customers):
                return
        except TypeError:  # one that cannot be hashed is no string
            pass
        if countOf(map(type, customers), str) != len(customers):
            raise _bad("customers", "must be a list of strings")
        if not all(customers) or max(map(len, customers)) > CUSTOMER_CHARS_MAX or not "".join(customers).isprintable():
            for customer in customers:
                check_text(customer, "customers", CUSTOMER_CHARS_MAX)

    def dimensions(self, entry: Any) -> Dimensions:
        """The dimensions of a JSON value. Raises EventRejected."""
        try:
            key = tuple(entry.items())
            return self._dimensions[key]
        except (AttributeError, KeyError, TypeError):  # no object; not known; a value that cannot be hashed
            found = parse_dimensions(entry, "dimensions")
        if len(self._dimensions) >= TEXTS_MAX:
            self._dimensions.clear()
        self._dimensions[key] = found
        return found

    def check_fields(self, fields: tuple[str, ...]) -> None:
        """Raises EventRejected for a name of a usage field that is not as it must be."""
        if fields in self._fields:
            return
        for name in fields:
            check_name(name, "usage")
        if len(self._fields) >= TEXTS_MAX:
            self._fields.clear()
        self._fields.add(fields)


def encode_batch(batch: Batch) -> bytes:
    """The bytes of a batch or heartbeat as they stand in usage.events."""
    form = PACKED if batch.count >= PACKED_FROM else LISTS
    document: dict[str, Any] = {
        FORMAT_KEY: form,
        "emitter": batch.emitter,
        "partition": batch.partition,
        "first_seq": batch.first_seq,
        "count": batch.count,
    }
    if batch.count:
        document |= _packed_columns(batch) if form == PACKED else _listed_columns(batch)
        document["dimensions"] = [dict(dimensions) for dimensions in batch.dimensions]
        document["base_time"] = batch.base_time_ms
        if batch.ids:
            document["ids"] = b2a_base64(batch.ids, newline=False).decode()
    if batch.final:
        document["final"] = True
    if batch.abandoned:
        document["abandoned"] = batch.abandoned
    if batch.dropped:
        document["dropped"] = batch.dropped
    return orjson.dumps(document)


def _packed_columns(batch: Batch) -> dict[str, Any]:
    places: dict[str, int] = {}
    series_customers = [places.setdefault(customer, len(places)) for customer in batch.customers]
    return {
        "customers": list(places),
        "series": len(batch.customers),
        "series_customers": pack(series_customers),
        "series_dimensions": pack(batch.series_dimensions),
        "at": pack(batch.at),
        "time": pack(batch.time),
        "usage": {name: pack(column) for name, column in batch.usage.items()},
    }


def _listed_columns(batch: Batch) -> dict[str, Any]:
    return {
        "customers": batch.customers,
        "series_dimensions": list(batch.series_dimensions),
        "at": list(batch.at),
        "time": list(batch.time),
        "usage": {name: list(column) for name, column in batch.usage.items()},
    }


def decode_batch(document: Mapping[str, Any], known: KnownTexts | None = None) -> Batch:
    """Check and read the decoded JSON of a batch. Raises EventRejected, which names the column: BAD_BATCH, or what is wrong with a text in it."""
    known = known or KnownTexts()
    form = document.get(FORMAT_KEY)
    if type(form) is not int or form not in _KNOWN:
        raise _bad(FORMAT_KEY, f"this version reads formats {LISTS} and {PACKED}")
    if not document.keys() <= _KNOWN[form]:
        raise _bad(min(document.keys() - _KNOWN[form])[:40], f"is not a field of a batch of format {form}")
    count = _integer(document, "count", BATCH_EVENTS_MAX)
    emitter = check_emitter(document.get("emitter"))
    partition = _integer(document, "partition", PARTITION_MAX)
    first_seq = _integer(document, "first_seq", SEQUENCE_MAX)
    if not count:
        return _heartbeat(document, emitter, partition, first_seq)
    customers = document.get("customers")
    if type(customers) is not list or not 0 < len(customers) <= BATCH_EVENTS_MAX:
        raise _bad("customers", f"must be a list of 1 to {BATCH_EVENTS_MAX} strings")
    known.check_customers(customers)
    dimensions = _dimensions(document.get("dimensions"), known)
    column = _packed if form == PACKED else _listed
    if form == PACKED:
        series = _integer(document, "series", BATCH_EVENTS_MAX)
        customers = list(map(customers.__getitem__, _packed(document.get("series_customers"), "series_customers", series, len(customers) - 1)))
    return Batch(
        emitter,
        partition,
        first_seq,
        count,
        customers,
        dimensions,
        column(document.get("series_dimensions"), "series_dimensions", len(customers), len(dimensions) - 1),
        column(document.get("at"), "at", count, len(customers) - 1),
        _integer(document, "base_time", TIME_MS_MAX),
        column(document.get("time"), "time", count, TIME_MS_MAX),
        _usage(document.get("usage"), count, column, known),
        _ids(document["ids"], count) if "ids" in document else b"",
    )


def check_emitter(emitter: object) -> str:
    """The id of an emitter. Raises EventRejected."""
    if type(emitter) is not str or not 0 < len(emitter) <= EMITTER_CHARS_MAX or not emitter.isprintable():
        raise _bad("emitter", f"must be a string of 1 to {EMITTER_CHARS_MAX} characters")
    return emitter


def _heartbeat(document: Mapping[str, Any], emitter: str, partition: int, first_seq: int) -> Batch:
    final = document.get("final", False)
    abandoned = document.get("abandoned", [])
    if type(final) is not bool:
        raise _bad("final", "must be a boolean")
    if type(abandoned) is not list or len(abandoned) > ABANDONED_RANGES_MAX or not all(_is_range(pair) for pair in abandoned):
        raise _bad("abandoned", f"must be at most {ABANDONED_RANGES_MAX} pairs of first and last number")
    dropped = _integer(document, "dropped", SEQUENCE_MAX) if "dropped" in document else 0
    ranges = tuple((first, last) for first, last in abandoned)
    return Batch(emitter=emitter, partition=partition, first_seq=first_seq, count=0, final=final, abandoned=ranges, dropped=dropped)


def _dimensions(dimensions: object, known: KnownTexts) -> list[Dimensions]:
    if type(dimensions) is not list or not 0 < len(dimensions) <= BATCH_EVENTS_MAX:
        raise _bad("dimensions", "must be a list of objects")
    return [known.dimensions(entry) for entry in dimensions]


def _usage(usage: object, count: int, read: Callable[[object, str, int, int], Sequence[int]], known: KnownTexts) -> dict[str, Sequence[int]]:
    if type(usage) is not dict or not 0 < len(usage) <= USAGE_FIELDS_MAX:
        raise _bad("usage", f"must be an object of 1 to {USAGE_FIELDS_MAX} columns")
    known.check_fields(tuple(usage))
    return {name: read(column, f"usage.{name}", count, QUANTITY_MAX) for name, column in usage.items()}


def _ids(ids: object, count: int) -> bytes:
    try:
        raw = a2b_base64(ids, strict_mode=True) if type(ids) is str else b""
    except (Base64Error, ValueError):
        raw = b""
    if len(raw) != count * FINGERPRINT_BYTES:
        raise _bad("ids", f"must be base64 of {FINGERPRINT_BYTES} bytes an event")
    return raw


def _packed(text: object, name: str, length: int, maximum: int) -> Sequence[int]:
    if type(text) is not str:
        raise _bad(name, "must be a string, a column of integers in base64")
    try:
        column = unpack(text, length)
    except ValueError as error:
        raise _bad(name, f"must be a column of {length} integers in base64: {error}") from None
    if not fits(column, maximum):
        raise _out_of_bounds(name, maximum)
    return column


def _listed(column: object, name: str, length: int, maximum: int) -> Sequence[int]:
    if type(column) is not list or len(column) != length:
        raise _bad(name, f"must be a list of {length} integers")
    # Counting the types catches booleans at the speed of C; floats and negative integers fit no unsigned array.
    try:
        numbers = array("Q", column)
    except (OverflowError, TypeError):
        raise _out_of_bounds(name, maximum) from None
    if countOf(map(type, column), int) != length or greatest(numbers) > maximum:
        raise _out_of_bounds(name, maximum)
    return numbers


def _integer(document: Mapping[str, Any], name: str, maximum: int) -> int:
    value = document.get(name)
    if type(value) is not int or not 0 <= value <= maximum:
        raise _bad(name, f"must be an integer from 0 to {maximum}")
    return value


def _is_range(pair: object) -> bool:
    return type(pair) is list and len(pair) == 2 and set(map(type, pair)) == _INTS and 0 <= pair[0] <= pair[1]


def _out_of_bounds(name: str, maximum: int) -> EventRejected:
    return _bad(name, f"must hold integers from 0 to {maximum}")


def _bad(name: str, detail: str) -> EventRejected:
    return EventRejected(Reason.BAD_BATCH, name, detail)
