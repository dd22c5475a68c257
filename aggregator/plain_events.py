"""The quick way to read single events that are like many before them: what was checked of one need not be checked of the next.

Many are read at once, as columns. What is plain is read exactly as the long way (`aggregator.reading`) reads it; all else is left to that
way. An event is plain if it has our own form with all six fields, names only usage fields of the catalogue, and its customer belongs here.
The long way is gone once for each source and for each customer with these dimensions.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import compress, repeat
from operator import attrgetter, itemgetter, methodcaller
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson

from aggregator.deduplication import CONTENT_MASK, content_of, field_factor
from aggregator.fingerprints import Prints, Words, prints_of
from metering.batch import FORMAT_KEY
from metering.errors import EventRejected
from metering.event import Dimensions, identity_prefix, parse_event, parse_times
from metering.limits import EVENT_ID_CHARS_MAX, NAME_CHARS_MAX, QUANTITY_MAX, USAGE_FIELDS_MAX
from metering.record import LogRecord

Column: TypeAlias = npt.NDArray[np.int64]

KNOWN_MAX: Final = 50_000  # customers with their dimensions, and sources
RUN_MAX: Final = 500  # records at once; with VALUE_BYTES_MAX it bounds what they add to a tally to what the largest record adds
VALUE_BYTES_MAX: Final = 2_000

_FIELDS: Final = ("id", "source", "time", "customer", "usage", "dimensions")
_FIELD_SET: Final = frozenset(_FIELDS)
_UNKNOWN: Final = -1

_fields = itemgetter(*_FIELDS)
_value = attrgetter("value")
_headers = attrgetter("headers")
_offset = attrgetter("offset")
_is_batch = methodcaller("startswith", b'{"' + FORMAT_KEY.encode())


@dataclass(frozen=True, slots=True)
class PlainColumns:
    """Plain events. `series`: positions in `PlainEvents.series`. `prints` and `contents` are what `IdIndex` knows an event by."""

    prints: Prints
    contents: Words
    times: Column
    series: Column
    usage: dict[str, Column]

    def __len__(self) -> int:
        return len(self.prints)

    def part(self, start: int, end: int) -> "PlainColumns":
        """The events [start, end)."""
        usage = {name: column[start:end] for name, column in self.usage.items()}
        return PlainColumns(self.prints[start:end], self.contents[start:end], self.times[start:end], self.series[start:end], usage)

    def chosen(self, mask: npt.NDArray[np.bool_]) -> "PlainColumns":
        """The events for which `mask` is true."""
        usage = {name: column[mask] for name, column in self.usage.items()}
        return PlainColumns(self.prints[mask], self.contents[mask], self.times[mask], self.series[mask], usage)


class _Read(NamedTuple):
    """Columns of well-formed documents. `series` is below zero where it is not known."""

    ids: Sequence[str]
    sources: Sequence[str]
    times: Column
    series: list[int]
    usage: dict[str, Column]


def first_run(records: Sequence[LogRecord], start: int) -> Sequence[LogRecord]:
    """The records from `start` on, RUN_MAX at most, that may be plain events and whose offsets follow each other without a gap."""
    if not _may_be_plain(records[start]):
        return ()
    run = records[start : start + RUN_MAX]
    offset = run[0].offset
    values: list[Any] = list(map(_value, run))
    if (
        None not in values
        and max(map(len, values)) <= VALUE_BYTES_MAX
        and not any(map(_headers, run))
        and not any(map(_is_batch, values))
        and list(map(_offset, run)) == list(range(offset, offset + len(run)))
    ):
        return run
    return run[: next(at for at, record in enumerate(run) if record.offset != offset + at or not _may_be_plain(record))]


def _may_be_plain(record: LogRecord) -> bool:
    value = record.value
    return value is not None and len(value) <= VALUE_BYTES_MAX and not record.headers and not _is_batch(value)


class PlainEvents:
    """Remembers the sources, and the customers with their dimensions (the series), of events that were counted.

    `usage_fields`: the catalogue's. `longest`: characters of the longest series, with 8 for each dimension.
    """

    def __init__(self, usage_fields: frozenset[str], is_home: Callable[[str], bool]) -> None:
        self.series: list[tuple[str, Dimensions]] = []
        self.longest = 0
        self._is_home = is_home
        self._factors = {name: field_factor(name) for name in usage_fields if 0 < len(name) <= NAME_CHARS_MAX and name.isprintable()}
        self._numbers: dict[bytes, int] = {}
        self._bare: Words = np.zeros(1_000, np.uint64)  # the content number of each series without quantities
        self._digests: dict[str, Callable[[], Any]] = {}

    @property
    def is_full(self) -> bool:
        """Whether nothing more is learnt until `forget`."""
        return len(self.series) >= KNOWN_MAX or len(self._digests) >= KNOWN_MAX

    def forget(self) -> None:
        """Begin anew; positions in `series` mean nothing any more."""
        self.series.clear()
        self.longest = 0
        self._numbers.clear()
        self._digests.clear()

    def read(self, documents: Sequence[Any], earliest: Column, latest: Column) -> tuple[Sequence[int], PlainColumns | None]:
        """The positions of decoded values that must go the long way, in order, and the others as columns, if there are any.

        `earliest`, `latest`: between which times (in milliseconds, both included) the event of each must lie to be plain.
        """
        every = range(len(documents))
        chosen = list(every)
        found = self._read_alike(documents)
        if found is None:
            chosen = [place for place in every if self._is_well_formed(documents[place])]
            documents = [documents[place] for place in chosen]
            found = self._read_alike(documents)
            if found is None:
                return every, None
            earliest, latest = earliest[chosen], latest[chosen]
        ids, sources, times, numbers, usage = found
        begins: list[Any] = list(map(self._digests.get, sources))
        if _UNKNOWN in numbers or None in begins:
            for place, number in enumerate(numbers):
                if number == _UNKNOWN or begins[place] is None:
                    numbers[place], begins[place] = self._learn(documents[place])
        series = np.array(numbers, np.int64)
        good = (times >= earliest) & (times <= latest) & (series >= 0)
        if not good.all():
            keep = good.tolist()
            ids, begins, chosen = list(compress(ids, keep)), list(compress(begins, keep)), list(compress(chosen, keep))
            times, series, usage = times[good], series[good], {name: column[good] for name, column in usage.items()}
        if not chosen:
            return every, None
        columns = PlainColumns(_fingerprints(begins, ids), self._contents(series, usage), times, series, usage)
        return (() if len(chosen) == len(every) else sorted(set(every).difference(chosen))), columns

    def _learn(self, document: Any) -> tuple[int, Callable[[], Any] | None]:
        """The number of the series of a well-formed document and the begun digest of its source; the long way is gone to be sure of both.

        The number is below zero if the event is not well, belongs elsewhere, or the memory is full.
        """
        key = orjson.dumps((document["customer"], document["dimensions"]))
        if key in self._numbers and document["source"] in self._digests:  # an event further left was like it
            return self._numbers[key], self._digests[document["source"]]
        if self.is_full:
            return _UNKNOWN, None
        try:
            event = parse_event(document, arrival_ms=0)
        except EventRejected:
            return _UNKNOWN, None
        if not self._is_home(event.customer):
            return _UNKNOWN, None
        begin = self._digests.setdefault(event.source, blake2b(identity_prefix(event.source), digest_size=16).copy)
        number = self._numbers.setdefault(key, len(self.series))
        if number == len(self.series):
            self.series.append((event.customer, event.dimensions))
            self.longest = max(self.longest, len(event.customer) + sum(len(name) + len(value) + 8 for name, value in event.dimensions))
            if number >= len(self._bare):
                self._bare = np.concatenate([self._bare, np.zeros(number, np.uint64)])
            self._bare[number] = content_of(event.customer, event.dimensions, ())
        return number, begin

    def _read_alike(self, documents: Sequence[Any]) -> _Read | None:
        """Those documents, if all are well-formed; otherwise None. Nearly all of it runs in C, and `_is_well_formed` asks the same of one."""
        if set(map(type, documents)) != {dict} or set(map(len, documents)) != {len(_FIELDS)}:
            return None
        try:
            ids, sources, texts, customers, usages, dimensions = zip(*map(_fields, documents), strict=True)
            if {*map(type, ids), *map(type, sources), *map(type, texts)} != {str} or set(map(type, usages)) != {dict}:
                return None
            keys = map(orjson.dumps, zip(customers, dimensions, strict=True))
            series = list(map(self._numbers.get, keys, repeat(_UNKNOWN)))
        except (KeyError, orjson.JSONEncodeError):
            return None
        sizes, lengths = set(map(len, usages)), set(map(len, ids))
        if min(lengths) < 1 or max(lengths) > EVENT_ID_CHARS_MAX or not "".join(ids).isprintable() or min(sizes) < 1 or max(sizes) > USAGE_FIELDS_MAX:
            return None
        times, usage = parse_times(texts), self._usage(usages)
        return None if times is None or usage is None else _Read(ids, sources, np.array(times, np.int64), series, usage)

    def _usage(self, usages: Sequence[dict[str, Any]]) -> dict[str, Column] | None:
        names = set().union(*usages)
        if not names <= self._factors.keys():
            return None
        found = {}
        for name in names:
            column = [usage.get(name, 0) for usage in usages]
            if set(map(type, column)) != {int} or min(column) < 0 or max(column) > QUANTITY_MAX:
                return None
            found[name] = np.array(column, np.int64)
        return found

    def _is_well_formed(self, document: Any) -> bool:
        """Whether `_read_alike` can read it, together with others of which the same is said."""
        if type(document) is not dict or document.keys() != _FIELD_SET:
            return False
        event_id, source, time, customer, usage, dimensions = _fields(document)
        return (
            {type(event_id), type(source), type(time), type(customer)} == {str}
            and type(usage) is type(dimensions) is dict
            and 0 < len(event_id) <= EVENT_ID_CHARS_MAX
            and event_id.isprintable()
            and 0 < len(usage) <= USAGE_FIELDS_MAX
            and all(name in self._factors and type(quantity) is int and 0 <= quantity <= QUANTITY_MAX for name, quantity in usage.items())
            and all(type(text) is str for text in dimensions.values())
            and parse_times((time,)) is not None
        )

    def _contents(self, series: Column, usage: dict[str, Column]) -> Words:
        """`content_of` each event. What is cut off at 64 bits on the way is masked away in any case."""
        totals: Words = self._bare[series]
        for name, column in usage.items():
            totals += column.view(np.uint64) * np.uint64(self._factors[name])
        return totals & np.uint64(CONTENT_MASK)


def decode_all(values: Sequence[bytes]) -> list[Any]:
    """The JSON values; None also for what is not JSON: it goes the long way, which says what is wrong with it."""
    try:
        return list(map(orjson.loads, values))
    except orjson.JSONDecodeError:
        return [_decoded_one(value) for value in values]


def _decoded_one(value: bytes) -> Any:
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return None


def _fingerprints(begins: Sequence[Any], ids: Sequence[str]) -> Prints:
    """The digest of each source, copied and gone on with: less than half of what digesting both takes."""
    found = []
    for begin, event_id in zip(begins, ids, strict=True):
        digest = begin()
        digest.update(event_id.encode())
        found.append(digest.digest())
    return prints_of(b"".join(found))
