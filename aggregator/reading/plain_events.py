"""The quick way to read single events that are like many before them: what was checked of one need not be checked of the next.

Many are read at once, as columns. What is plain is read exactly as the long way (`aggregator.reading.decoding`) reads it; all else is left to that
way. An event is plain, whatever its form, if it names only usage fields of the catalogue, and its customer belongs here. The long way is gone
once for each source and for each customer with these dimensions.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import compress, repeat
from operator import attrgetter, lt, methodcaller
from typing import Any, Final, TypeAlias

import numpy as np
import numpy.typing as npt
from taximeter_emitter.wire.batch import FORMAT_KEY
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import Dimensions, UsageEvent, source_prefix
from taximeter_emitter.wire.limits import USAGE_FIELDS_MAX

from aggregator.ids.fingerprints import Fingerprints, Words, fingerprints_of
from aggregator.ids.id_index import CONTENT_MASK, content_of, field_factor
from aggregator.ids.identities import Identities
from aggregator.reading.decoding import read
from aggregator.reading.event_times import times_of
from aggregator.reading.typed_events import NO_QUANTITY, TypedColumns, TypedEvents
from metering.records.record import LogRecord

Column: TypeAlias = npt.NDArray[np.int64]

KNOWN_MAX: Final = 50_000  # customers with their dimensions, and sources
PLAIN_EVENTS_MAX: Final = 500  # records at once; with PLAIN_EVENT_BYTES_MAX it bounds what they add to a tally to what the largest record adds
PLAIN_EVENT_BYTES_MAX: Final = 2_000

_UNKNOWN: Final = -1

_value = attrgetter("value")
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


def first_run(records: Sequence[LogRecord], start: int) -> Sequence[LogRecord]:
    """The records from `start` on, PLAIN_EVENTS_MAX at most, that may be plain events and whose offsets rise."""
    if not _may_be_plain(records[start]):
        return ()
    run = records[start : start + PLAIN_EVENTS_MAX]
    values: list[Any] = list(map(_value, run))
    if None not in values and max(map(len, values)) <= PLAIN_EVENT_BYTES_MAX and not any(map(_is_batch, values)) and _rise(run):
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
    return value is not None and len(value) <= PLAIN_EVENT_BYTES_MAX and not _is_batch(value)


class PlainEvents:
    """Remembers the sources, and the customers with their dimensions (the series), of events that were counted.

    `usage_fields`: the catalogue's. `longest`: characters of the longest series, with 8 for each dimension.
    """

    def __init__(self, usage_fields: frozenset[str], is_home: Callable[[str], bool], identities: Identities) -> None:
        self.series: list[tuple[str, Dimensions]] = []
        self.longest = 0
        self._is_home = is_home
        self._identities = identities
        self._typed = TypedEvents(usage_fields)
        self._factors = {name: field_factor(name) for _, name in self._typed.attributes}
        self._numbers: dict[tuple[str, bytes], int] = {}  # of the series, by customer and the JSON of the dimensions
        self._bare: Words = np.zeros(1_000, np.uint64)  # the content number of each series without quantities
        self._customers: Fingerprints = np.zeros((1_000, 2), np.uint64)  # the secret number of the customer of each series
        self._digests: dict[str | tuple[str, str], Callable[[], Any]] = {}  # begun with the source, by origin

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

    def read(self, records: Sequence[LogRecord], moments: Column, earliest: Column, latest: Column) -> tuple[Sequence[int], PlainColumns | None]:
        """The positions of records that must go the long way, in order, and the others as columns, if there are any. All have a value.

        `moments`: their log times. `earliest`, `latest`: between which times (in milliseconds, both included) the event of each must lie to be
        plain.
        """
        every = range(len(records))
        chosen, typed = self._typed.read(records)
        if typed is None:
            return every, None
        if len(chosen) < len(records):
            moments, earliest, latest = moments[chosen], earliest[chosen], latest[chosen]
        ids = typed.ids
        numbers, begins = self._series(records, chosen, typed)
        series, times = np.array(numbers, np.int64), times_of(typed.times, moments)
        usage, good = self._usage(typed.usages)
        good &= (series >= 0) & (times >= earliest) & (times <= latest)
        if not "".join(ids).isprintable():
            good &= np.array(list(map(str.isprintable, ids)), np.bool_)
        if not good.all():
            keep = good.tolist()
            ids, begins, chosen = list(compress(ids, keep)), list(compress(begins, keep)), list(compress(chosen, keep))
            times, series, usage = times[good], series[good], {name: column[good] for name, column in usage.items()}
        if not chosen:
            return every, None
        fingerprints = _fingerprints(begins, map(str.encode, ids))
        columns = PlainColumns(self._known_by(series, fingerprints), self._contents(series, usage), times, series, usage)
        return (() if len(chosen) == len(every) else sorted(set(every).difference(chosen))), columns

    def _series(self, records: Sequence[LogRecord], places: Sequence[int], typed: TypedColumns) -> tuple[list[int], list[Any]]:
        """The number of the series of each event, below zero where it is not plain, and the begun digest of its source."""
        keys = list(zip(typed.customers, typed.dimensions, strict=True))
        numbers: list[int] = list(map(self._numbers.get, keys, repeat(_UNKNOWN)))
        begins: list[Any] = list(map(self._digests.get, typed.origins))
        if _UNKNOWN in numbers or None in begins:
            for at, number in enumerate(numbers):
                if number == _UNKNOWN or begins[at] is None:
                    numbers[at], begins[at] = self._learn(records[places[at]], keys[at], typed.origins[at])
        return numbers, begins

    def _usage(self, usages: Sequence[Any]) -> tuple[dict[str, Column], npt.NDArray[np.bool_]]:
        """The quantities of the fields that some have, and which events have as many fields as an event may have."""
        found = {}
        fields = np.zeros(len(usages), np.int64)
        for attribute, name in self._typed.attributes:
            column = np.array(list(map(attrgetter(attribute), usages)), np.int64)
            present = column != NO_QUANTITY
            if present.any():
                fields += present
                found[name] = np.maximum(column, 0)
        return found, (fields > 0) & (fields <= USAGE_FIELDS_MAX)

    def _learn(self, record: LogRecord, key: tuple[str, bytes], origin: str | tuple[str, str]) -> tuple[int, Callable[[], Any] | None]:
        """The number of the series of an event and the begun digest of its source; the long way is gone to be sure of both.

        The number is below zero if the event is not well, belongs elsewhere, or the memory is full.
        """
        if key in self._numbers and origin in self._digests:  # an event further left was like it
            return self._numbers[key], self._digests[origin]
        if self.is_full:
            return _UNKNOWN, None
        try:
            event = read(record)
        except EventRejected:
            return _UNKNOWN, None
        if not isinstance(event, UsageEvent) or not self._is_home(event.customer):
            return _UNKNOWN, None
        begin = self._digests.setdefault(origin, blake2b(source_prefix(event.source), digest_size=16).copy)
        number = self._numbers.setdefault(key, len(self.series))
        if number == len(self.series):
            self._add_series(event)
        return number, begin

    def _add_series(self, event: UsageEvent) -> None:
        number = len(self.series)
        self.series.append((event.customer, event.dimensions))
        self.longest = max(self.longest, len(event.customer) + sum(len(name) + len(value) + 8 for name, value in event.dimensions))
        if number >= len(self._bare):
            self._bare = np.concatenate([self._bare, np.zeros(number, np.uint64)])
            self._customers = np.concatenate([self._customers, np.zeros((number, 2), np.uint64)])
        self._bare[number] = content_of(event.customer, event.dimensions, ())
        self._customers[number] = self._identities.numbers((event.customer,))[0]

    def _known_by(self, series: Column, fingerprints: Fingerprints) -> Fingerprints:
        """The identity of each event."""
        return fingerprints ^ self._customers.take(series, axis=0)

    def _contents(self, series: Column, usage: dict[str, Column]) -> Words:
        """`content_of` each event. What is cut off at 64 bits on the way is masked away in any case."""
        totals: Words = self._bare[series]
        for name, column in usage.items():
            totals += column.view(np.uint64) * np.uint64(self._factors[name])
        return totals & np.uint64(CONTENT_MASK)


def _fingerprints(begins: Sequence[Any], ids: Iterable[bytes]) -> Fingerprints:
    """The digest of each source, copied and gone on with: less than half of what digesting both takes."""
    found = []
    for begin, event_id in zip(begins, ids, strict=True):
        digest = begin()
        digest.update(event_id)
        found.append(digest.digest())
    return fingerprints_of(b"".join(found))
