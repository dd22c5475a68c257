"""The quick way to read single events that are like many before them: what was checked of one need not be checked of the next.

Many are read at once, as columns. What is plain is read exactly as the long way (`aggregator.reading.decoding`) reads it; all else is left to that
way. An event is plain if it has our own form with all six fields, names only usage fields of the catalogue, and its customer belongs here.
The long way is gone once for each source and for each customer with these dimensions.

Texts of a known shape (`aggregator.reading.event_shapes`) are not even decoded. The others are, and a shape is learnt from one of them.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import compress, repeat
from operator import attrgetter, itemgetter, lt, methodcaller
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
from taximeter_emitter.wire.batch import FORMAT_KEY
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import EVENT_FIELDS, Dimensions, parse_event, parse_time, parse_times, source_prefix
from taximeter_emitter.wire.limits import EVENT_ID_CHARS_MAX, NAME_CHARS_MAX, QUANTITY_MAX, USAGE_FIELDS_MAX

from aggregator.ids.fingerprints import Fingerprints, Words, fingerprints_of
from aggregator.ids.id_index import CONTENT_MASK, content_of, field_factor
from aggregator.ids.identities import Identities
from aggregator.reading.decoding import decode_all
from aggregator.reading.event_shapes import (
    CUSTOMER,
    DIMENSIONS_FIELD,
    ID,
    SOURCE,
    TIME,
    TIME_MINUTE,
    TIME_SECONDS,
    USAGE_FIELD,
    EventShape,
    Path,
    shape_of,
)
from metering.records.record import LogRecord

Column: TypeAlias = npt.NDArray[np.int64]

KNOWN_MAX: Final = 50_000  # customers with their dimensions, and sources
PLAIN_EVENTS_MAX: Final = 500  # records at once; with PLAIN_EVENT_BYTES_MAX it bounds what they add to a tally to what the largest record adds
PLAIN_EVENT_BYTES_MAX: Final = 2_000
SHAPES_MAX: Final = 8
SHAPES_TRIED: Final = 2  # of a run of several; each must fit half of what is left
PAUSE_MAX: Final = 32  # runs

_FIELD_SET: Final = frozenset(EVENT_FIELDS)
_UNKNOWN: Final = -1
_NEVER: Final = -(2**62)  # a time that no event has
_SECONDS: Final = np.array([10_000, 1_000, 0, 100, 10, 1])  # what each digit of 59.999 is worth
_ZERO_SECONDS: Final = int(np.frombuffer(b"00.000", np.uint8) @ _SECONDS)

_fields = itemgetter(*EVENT_FIELDS)
_value = attrgetter("value")
_headers = attrgetter("headers")
_offset = attrgetter("offset")
_is_batch = methodcaller("startswith", b'{"' + FORMAT_KEY.encode())


@dataclass(frozen=True, slots=True)
class PlainColumns:
    """Plain events. `series`: positions in `PlainEvents.series`. `identities` and `contents` are what `IdIndex` knows an event by."""

    identities: Fingerprints
    contents: Words
    times: Column
    series: Column
    usage: dict[str, Column]

    def __len__(self) -> int:
        return len(self.identities)

    def part(self, start: int, end: int) -> "PlainColumns":
        """The events [start, end)."""
        usage = {name: column[start:end] for name, column in self.usage.items()}
        return PlainColumns(self.identities[start:end], self.contents[start:end], self.times[start:end], self.series[start:end], usage)

    def chosen(self, mask: npt.NDArray[np.bool_]) -> "PlainColumns":
        """The events for which `mask` is true."""
        usage = {name: column[mask] for name, column in self.usage.items()}
        return PlainColumns(self.identities[mask], self.contents[mask], self.times[mask], self.series[mask], usage)


def _in_order(parts: Sequence[tuple[Column, PlainColumns]]) -> PlainColumns | None:
    """Columns of several parts as one, in the order of the places that are named with each."""
    if len(parts) < 2:
        return parts[0][1] if parts else None
    columns = [part for _, part in parts]
    order = np.argsort(np.concatenate([places for places, _ in parts]))
    return PlainColumns(
        np.concatenate([part.identities for part in columns])[order],
        np.concatenate([part.contents for part in columns])[order],
        np.concatenate([part.times for part in columns])[order],
        np.concatenate([part.series for part in columns])[order],
        {
            name: np.concatenate([part.usage[name] if name in part.usage else np.zeros(len(part), np.int64) for part in columns])[order]
            for name in {name for part in columns for name in part.usage}
        },
    )


@dataclass(frozen=True, slots=True)
class _KnownShape:
    """A shape. `numbers`: of the series, by the texts of the customer and of each dimension with quotation marks between them."""

    shape: EventShape
    numbers: dict[bytes, int] = field(default_factory=dict)


class _Read(NamedTuple):
    """Columns of well-formed documents. `series` is below zero where it is not known."""

    ids: Sequence[str]
    sources: Sequence[str]
    times: Column
    series: list[int]
    usage: dict[str, Column]


def first_run(records: Sequence[LogRecord], start: int) -> Sequence[LogRecord]:
    """The records from `start` on, PLAIN_EVENTS_MAX at most, that may be plain events and whose offsets rise."""
    if not _may_be_plain(records[start]):
        return ()
    run = records[start : start + PLAIN_EVENTS_MAX]
    values: list[Any] = list(map(_value, run))
    if (
        None not in values
        and max(map(len, values)) <= PLAIN_EVENT_BYTES_MAX
        and not any(map(_headers, run))
        and not any(map(_is_batch, values))
        and _rise(run)
    ):
        return run
    for at, record in enumerate(run):
        if not _may_be_plain(record) or (at and record.offset <= run[at - 1].offset):
            return run[:at]
    return run


def _rise(records: Sequence[LogRecord]) -> bool:
    """Whether each offset is above the one before it."""
    offsets = list(map(_offset, records))
    return offsets[-1] - offsets[0] == len(offsets) - 1 or all(map(lt, offsets, offsets[1:]))


def _may_be_plain(record: LogRecord) -> bool:
    value = record.value
    return value is not None and len(value) <= PLAIN_EVENT_BYTES_MAX and not record.headers and not _is_batch(value)


class PlainEvents:
    """Remembers the sources, and the customers with their dimensions (the series), of events that were counted.

    `usage_fields`: the catalogue's. `shape_min`: records in a run from which on a shape is looked for. `longest`: characters of the longest
    series, with 8 for each dimension.
    """

    def __init__(self, usage_fields: frozenset[str], is_home: Callable[[str], bool], identities: Identities, shape_min: int) -> None:
        self.series: list[tuple[str, Dimensions]] = []
        self.longest = 0
        self._is_home = is_home
        self._identities = identities
        self._factors = {name: field_factor(name) for name in usage_fields if 0 < len(name) <= NAME_CHARS_MAX and name.isprintable()}
        self._numbers: dict[bytes, int] = {}
        self._bare: Words = np.zeros(1_000, np.uint64)  # the content number of each series without quantities
        self._customers: Fingerprints = np.zeros((1_000, 2), np.uint64)  # the secret number of the customer of each series
        self._digests: dict[str, Callable[[], Any]] = {}
        self._shapes: list[_KnownShape] = []  # the one that was of use last comes first
        self._minutes: dict[bytes, int] = {}
        self._shape_min = shape_min
        self._failures = 0  # to find a shape that most of a run is of, one after the other
        self._pause = 0  # runs in which none is looked for

    @property
    def is_full(self) -> bool:
        """Whether nothing more is learnt until `forget`."""
        return len(self.series) >= KNOWN_MAX or len(self._digests) >= KNOWN_MAX

    def forget(self) -> None:
        """Start over; earlier positions in `series` become invalid."""
        self.series.clear()
        self.longest = 0
        self._numbers.clear()
        self._digests.clear()
        self._shapes.clear()

    def read(self, values: Sequence[bytes], earliest: Column, latest: Column) -> tuple[Sequence[int], PlainColumns | None]:
        """The positions of values that must go the long way, in order, and the others as columns, if there are any.

        `earliest`, `latest`: between which times (in milliseconds, both included) the event of each must lie to be plain.
        """
        if len(values) < self._shape_min:
            return self._read_documents(decode_all(values), earliest, latest)
        if self._pause:
            self._pause -= 1
            return self._read_documents(decode_all(values), earliest, latest)
        known = self._shape_like(values[len(values) // 2])
        found = known.shape.values_of_all(values) if known is not None else None
        if known is None or found is None:
            return self._read_mixed(known, values, earliest, latest)
        self._failures = 0
        keep, columns = self._read_shape(known, values, found, earliest, latest)
        return () if len(keep) == len(values) else sorted(set(range(len(values))).difference(keep.tolist())), columns

    def _shape_like(self, value: bytes) -> _KnownShape | None:
        """The known shape that a value is of, which then comes first."""
        for place, known in enumerate(self._shapes):
            if known.shape.values_of(value) is not None:
                self._shapes.insert(0, self._shapes.pop(place))
                return known
        return None

    def _read_mixed(
        self, known: _KnownShape | None, values: Sequence[bytes], earliest: Column, latest: Column
    ) -> tuple[Sequence[int], PlainColumns | None]:
        """`read`, where not all are of this shape, which comes first of all. Where most are of none that is known, no shapes are looked for in a
        while: that would cost more than it saves.
        """
        parts: list[tuple[Column, PlainColumns]] = []
        rest: Column = np.arange(len(values))
        for tried in self._shapes[:SHAPES_TRIED] if known is not None else ():
            matches = [tried.shape.values_of(values[place]) for place in rest.tolist()]
            mask = np.array([match is not None for match in matches], np.bool_)
            if 2 * int(mask.sum()) < len(rest) or not len(rest):
                break
            places, rest = rest[mask], rest[~mask]
            found = [match for match in matches if match is not None]
            keep, columns = self._read_shape(tried, [values[place] for place in places.tolist()], found, earliest[places], latest[places])
            if columns is not None:
                parts.append((places[keep], columns))
        if 2 * len(rest) > len(values):
            self._failures += 1
            self._pause = min(2**self._failures, PAUSE_MAX)
        documents = decode_all([values[place] for place in rest.tolist()])
        left, columns = self._read_documents(documents, earliest[rest], latest[rest]) if documents else ((), None)
        if columns is not None:
            plain = np.delete(np.arange(len(rest)), left)
            parts.append((rest[plain], columns))
            self._learn_shape(values[rest[plain[0]]], documents[plain[0]])
        odd = set(range(len(values))).difference(*(places.tolist() for places, _ in parts))
        return sorted(odd), _in_order(parts)

    def _learn_shape(self, value: bytes, document: Any) -> None:
        shape = shape_of(value, document)
        if shape is not None and all(known.shape.pattern != shape.pattern for known in self._shapes):
            self._shapes.insert(0, _KnownShape(shape))
            del self._shapes[SHAPES_MAX:]

    def _read_shape(
        self, known: _KnownShape, values: Sequence[bytes], found: Sequence[tuple[bytes, ...]], earliest: Column, latest: Column
    ) -> tuple[Column, PlainColumns | None]:
        """The positions of the plain ones among values of this shape, in which this was found, and their columns."""
        at = dict(zip(known.shape.paths, zip(*found, strict=True), strict=True))
        numbers, begins = self._series(known, values, at)
        series = np.array(numbers, np.int64)
        times = self._times(at)
        usage = {path[1]: np.fromstring(b",".join(texts), np.int64, sep=",") for path, texts in at.items() if path[0] == USAGE_FIELD}
        good = (series >= 0) & (times >= earliest) & (times <= latest)
        for column in usage.values():
            good &= column <= QUANTITY_MAX
        ids: Sequence[bytes] = at[ID]
        keep = np.flatnonzero(good)
        if not len(keep):
            return keep, None
        if len(keep) < len(found):
            wanted = good.tolist()
            ids, begins = list(compress(ids, wanted)), list(compress(begins, wanted))
            times, series, usage = times[good], series[good], {name: column[good] for name, column in usage.items()}
        return keep, PlainColumns(self._known_by(series, _fingerprints(begins, ids)), self._contents(series, usage), times, series, usage)

    def _series(self, known: _KnownShape, values: Sequence[bytes], at: Mapping[Path, Sequence[bytes]]) -> tuple[list[int], list[Any]]:
        """Of values of a known shape: the number of the series of each, below zero where it is not plain, and the begun digest of its source."""
        texts = (texts for path, texts in at.items() if path[0] in (CUSTOMER[0], DIMENSIONS_FIELD))
        keys = list(map(b'"'.join, zip(*texts, strict=True)))  # one object for each: a tuple would take more memory, and longer to look up
        sources = at[SOURCE]
        found = {source: self._digests.get(source.decode()) for source in _distinct(sources)}
        numbers: list[int] = list(map(known.numbers.get, keys, repeat(_UNKNOWN)))
        begins = list(map(found.__getitem__, sources)) if len(found) > 1 else [found[sources[0]]] * len(sources)
        if _UNKNOWN not in numbers and None not in begins:
            return numbers, begins
        for place, (key, source) in enumerate(zip(keys, sources, strict=True)):
            if key not in known.numbers or found[source] is None:
                numbers[place], begins[place] = self._learn(orjson.loads(values[place]))
                if numbers[place] != _UNKNOWN:
                    known.numbers[key], found[source] = numbers[place], begins[place]
            else:
                numbers[place], begins[place] = known.numbers[key], found[source]
        return numbers, begins

    def _times(self, at: Mapping[Path, Sequence[bytes]]) -> Column:
        """Milliseconds since the epoch; below zero for what is no time."""
        if TIME in at:
            texts = list(map(bytes.decode, at[TIME]))
            times = parse_times(texts)
            return np.array([_time_or_never(text) for text in texts] if times is None else times, np.int64)
        try:
            minutes = list(map(self._minutes.__getitem__, at[TIME_MINUTE]))
        except KeyError:
            self._minutes = {minute: _time_or_never(minute.decode() + "00Z") for minute in set(at[TIME_MINUTE])}
            minutes = list(map(self._minutes.__getitem__, at[TIME_MINUTE]))
        seconds = np.frombuffer(b"".join(at[TIME_SECONDS]), np.uint8).reshape(len(minutes), len(_SECONDS)) @ _SECONDS
        column: Column = np.array(minutes, np.int64) + (seconds - _ZERO_SECONDS)
        return column

    def _read_documents(self, documents: Sequence[Any], earliest: Column, latest: Column) -> tuple[Sequence[int], PlainColumns | None]:
        """`read`, of decoded values."""
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
        columns = PlainColumns(
            self._known_by(series, _fingerprints(begins, map(str.encode, ids))), self._contents(series, usage), times, series, usage
        )
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
        begin = self._digests.setdefault(event.source, blake2b(source_prefix(event.source), digest_size=16).copy)
        number = self._numbers.setdefault(key, len(self.series))
        if number == len(self.series):
            self.series.append((event.customer, event.dimensions))
            self.longest = max(self.longest, len(event.customer) + sum(len(name) + len(value) + 8 for name, value in event.dimensions))
            if number >= len(self._bare):
                self._bare = np.concatenate([self._bare, np.zeros(number, np.uint64)])
                self._customers = np.concatenate([self._customers, np.zeros((number, 2), np.uint64)])
            self._bare[number] = content_of(event.customer, event.dimensions, ())
            self._customers[number] = self._identities.numbers((event.customer,))[0]
        return number, begin

    def _read_alike(self, documents: Sequence[Any]) -> _Read | None:
        """Those documents, if all are well-formed; otherwise None. Nearly all of it runs in C, and `_is_well_formed` asks the same of one."""
        if set(map(type, documents)) != {dict} or set(map(len, documents)) != {len(EVENT_FIELDS)}:
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
        """Whether `_read_alike` can read it, together with others that pass this test."""
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

    def _known_by(self, series: Column, fingerprints: Fingerprints) -> Fingerprints:
        """The identity of each event."""
        return fingerprints ^ self._customers.take(series, axis=0)

    def _contents(self, series: Column, usage: dict[str, Column]) -> Words:
        """`content_of` each event. What is cut off at 64 bits on the way is masked away in any case."""
        totals: Words = self._bare[series]
        for name, column in usage.items():
            totals += column.view(np.uint64) * np.uint64(self._factors[name])
        return totals & np.uint64(CONTENT_MASK)


def _distinct(texts: Sequence[bytes]) -> Iterable[bytes]:
    return texts[:1] if texts.count(texts[0]) == len(texts) else set(texts)


def _time_or_never(text: str) -> int:
    try:
        return parse_time(text, "time")
    except EventRejected:
        return _NEVER


def _fingerprints(begins: Sequence[Any], ids: Iterable[bytes]) -> Fingerprints:
    """The digest of each source, copied and gone on with: less than half of what digesting both takes."""
    found = []
    for begin, event_id in zip(begins, ids, strict=True):
        digest = begin()
        digest.update(event_id)
        found.append(digest.digest())
    return fingerprints_of(b"".join(found))
