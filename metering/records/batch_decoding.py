"""How the services read a batch: its JSON into columns, each text and integer checked. What a batch is: taximeter_emitter.wire.batch."""

from array import array
from binascii import Error as Base64Error
from binascii import a2b_base64
from collections.abc import Callable, Mapping, Sequence
from operator import countOf
from typing import Any, Final

from taximeter_emitter.wire.batch import (
    ABANDONED_RANGES_MAX,
    EMITTER_CHARS_MAX,
    FINGERPRINT_BYTES,
    FORMAT_KEY,
    KEPT_IDS_FIELD,
    LISTED_FIELDS,
    LISTS,
    PACKED,
    PARTITION_MAX,
    SEQUENCE_MAX,
    STAMPED_FIELD,
    TIME_MS_MAX,
    Batch,
)
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import Dimensions, check_name, check_text, parse_dimensions
from taximeter_emitter.wire.kept_ids import KEPT_IDS_CHARS_MAX
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, CUSTOMER_CHARS_MAX, QUANTITY_MAX, USAGE_FIELDS_MAX

from metering.records.integer_columns import fits, greatest, unpack

TEXTS_MAX: Final = 1_000
_INTS: Final = {int}
_ALWAYS: Final = frozenset({*LISTED_FIELDS, STAMPED_FIELD, "ids", KEPT_IDS_FIELD, "final", "abandoned", "dropped"})
_KNOWN: Final[Mapping[int, frozenset[str]]] = {LISTS: _ALWAYS, PACKED: _ALWAYS | {"series", "series_customers"}}


class KnownTexts:
    """Texts that were found good in earlier batches, and are not looked at again.

    The reader fills `customers` and bounds it. The others are emptied when they reach TEXTS_MAX.
    """

    __slots__ = ("_dimensions", "_fields", "customers")

    def __init__(self) -> None:
        self.customers: set[str] = set()
        self._dimensions: dict[tuple[tuple[str, Any], ...], Dimensions] = {}
        self._fields: set[tuple[str, ...]] = set()

    def check_customers(self, customers: Sequence[Any]) -> None:
        """Raises EventRejected for an invalid one."""
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
            return self._dimensions[tuple(entry.items())]
        except (AttributeError, KeyError, TypeError):  # no object; not known; a value that cannot be hashed
            found = parse_dimensions(entry, "dimensions")
        if len(self._dimensions) >= TEXTS_MAX:
            self._dimensions.clear()
        self._dimensions[tuple(entry.items())] = found
        return found

    def check_fields(self, fields: tuple[str, ...]) -> None:
        """Raises EventRejected for an invalid name of a usage field."""
        if fields in self._fields:
            return
        for name in fields:
            check_name(name, "usage")
        if len(self._fields) >= TEXTS_MAX:
            self._fields.clear()
        self._fields.add(fields)


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
        if not series:
            raise _bad("series", "must be at least 1: each event belongs to one")
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
        STAMPED_FIELD in document and (document[STAMPED_FIELD] is True or column(document[STAMPED_FIELD], STAMPED_FIELD, count, 1)),
        _ids(document["ids"], count) if "ids" in document else b"",
        _kept_ids(document[KEPT_IDS_FIELD]) if KEPT_IDS_FIELD in document else "",
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


def _kept_ids(text: object) -> str:
    """As it is: nothing is counted by it, so nobody unpacks it here."""
    if type(text) is not str or len(text) > KEPT_IDS_CHARS_MAX:
        raise _bad(KEPT_IDS_FIELD, "must be a string")
    return text


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
