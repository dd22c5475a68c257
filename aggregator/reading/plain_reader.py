"""Reads records of usage.events in Python: single events many at once where their form allows, batches, and all else one by one."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import accumulate
from operator import attrgetter, itemgetter, methodcaller
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
from taximeter_emitter.wire.batch import FORMAT_KEY, Batch
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import UsageEvent, source_prefix
from taximeter_emitter.wire.limits import USAGE_FIELDS_MAX

from aggregator.ids.fingerprints import Fingerprints, Mask, fingerprints_of
from aggregator.reading.decoding import read
from aggregator.reading.event_times import NEVER, times_of
from aggregator.reading.events import NO_EVENTS, Events, NumberedBatch, Reading, RefusedRecord, Ways, joined
from aggregator.reading.origins import claimed, origin_of_batch
from aggregator.reading.series import NO_SERIES, SeriesTable
from aggregator.reading.typed_events import NO_QUANTITY, TypedColumns, TypedEvents
from metering.records.batch_decoding import KnownTexts
from metering.records.integer_columns import Integers, view
from metering.records.notes.looked_up_ids import LookedUpIds, looked_up_in
from metering.records.record import LogRecord

TYPED_FROM: Final = 8
"""From this many records that may be single events on, reading them at once is quicker than one by one."""
TYPED_BYTES_MAX: Final = 2_000  # of the value of one
KNOWN_CUSTOMERS_MAX: Final = 100_000
KNOWN_SOURCES_MAX: Final = 50_000

_value = attrgetter("value")
_timestamp = attrgetter("timestamp")
_encode = methodcaller("encode", "utf-8", "surrogatepass")
_is_batch = methodcaller("startswith", b'{"' + FORMAT_KEY.encode())


class _BatchColumns(NamedTuple):
    """The columns of batches, one batch's behind the other's. `series`: the number of each series of each batch."""

    records: list[int]
    series: list[int]
    firsts: list[int]  # where a batch's begin in `series`
    batches: list[Batch]
    looked_up: list[LookedUpIds | None]


class PlainReader:
    """Reads the records of one partition. `fields`: the usage fields that a catalogue knows; events with others are read as well."""

    def __init__(self, partition: int, fields: Iterable[str], series: SeriesTable) -> None:
        self._partition = partition
        self._series = series
        self._fields = frozenset(fields)
        self._typed = TypedEvents(self._fields)
        self._digests: dict[str | tuple[str, str], Callable[[], Any]] = {}  # begun with the source, by origin
        self._known = KnownTexts()

    def forget(self) -> None:
        """The series table was emptied."""

    def read(self, records: Sequence[LogRecord]) -> Reading:
        """All of them. The numbers of series are good until the table is emptied."""
        typed: Integers | None = None
        parts = []
        few: Sequence[int] = range(len(records))
        singles = _singles(records)
        if len(singles) >= TYPED_FROM:
            chosen = records if len(singles) == len(records) else [records[place] for place in singles]
            events = self._read_typed(chosen, np.array(singles, np.int64))
            typed = events.records
            parts.append(events)
            few = () if len(typed) == len(records) else sorted(set(few).difference(typed.tolist()))
        plain = len(typed) if typed is not None else 0
        if parts and not few:
            return Reading(parts[0], (), {}, {}, Ways(plain=plain))
        return self._with_others(records, few, parts, plain)

    def _with_others(self, records: Sequence[LogRecord], few: Sequence[int], parts: list[Events], plain: int) -> Reading:
        singles: list[tuple[int, UsageEvent]] = []
        columns = _BatchColumns([], [], [], [], [])
        heartbeats: dict[int, Batch] = {}
        refusals: dict[int, RefusedRecord] = {}
        for place in few:
            record = records[place]
            try:
                content = read(record, self._known)
            except EventRejected as rejected:
                refusals[place] = RefusedRecord(rejected, *claimed(record))
                continue
            if isinstance(content, UsageEvent):
                singles.append((place, content))
            elif not content.count:
                heartbeats[place] = content
            elif content.partition != self._partition:
                detail = f"it was numbered for partition {content.partition} and stands in {self._partition}"
                origin = origin_of_batch(content.emitter, map(content.customers.__getitem__, content.at))
                elsewhere = EventRejected(Reason.WRONG_PARTITION, "partition", detail)
                refusals[place] = RefusedRecord(elsewhere, content.count, origin, is_batch=True)
            else:
                self._take_in(columns, place, content, record)
        if singles:
            parts.append(self._events_of(singles))
        if columns.batches:
            parts += _events_of_batches(columns, self._fields)
        batches = [
            NumberedBatch(place, batch.emitter, batch.first_seq, batch.count) for place, batch in zip(columns.records, columns.batches, strict=True)
        ]
        unread = sum(refused.events for refused in refusals.values())
        ways = Ways(plain=plain + sum(batch.count for batch in columns.batches), long=len(singles) + unread)
        events = joined(parts)
        return Reading(events if len(parts) < 2 else events.in_order(), batches, heartbeats, refusals, ways)

    def _take_in(self, columns: _BatchColumns, place: int, batch: Batch, record: LogRecord) -> None:
        if len(self._known.customers) > KNOWN_CUSTOMERS_MAX:
            self._known.customers.clear()
        self._known.customers.update(batch.customers)
        columns.records.append(place)
        columns.firsts.append(len(columns.series))
        columns.series.extend(self._series.numbers(batch))
        columns.batches.append(batch)
        columns.looked_up.append(looked_up_in(record, batch.count) if record.headers else None)

    def _events_of(self, found: Sequence[tuple[int, UsageEvent]]) -> Events:
        """Single events that were read one by one."""
        events = list(map(itemgetter(1), found))
        usage: dict[str, Integers] = {}
        unknown = []
        for at, event in enumerate(events):
            for name, quantity in event.usage:
                if name in self._fields:
                    if name not in usage:
                        usage[name] = np.zeros(len(events), np.int64)
                    usage[name][at] = quantity
                elif quantity:
                    unknown.append((at, name, quantity))
        times = np.array([event.time_ms for event in events], np.int64)
        return Events(
            np.array(list(map(itemgetter(0), found)), np.int64),
            np.array([self._series.number(event.customer, event.dimensions) for event in events], np.int64),
            times,
            times,
            np.zeros(len(events), np.bool_),
            fingerprints_of(b"".join(event.fingerprint for event in events)),
            usage,
            unknown,
        )

    # Many single events at once

    def _read_typed(self, records: Sequence[LogRecord], places: Integers) -> Events:
        """Those of the records that one typed decoding can read; the others are left out. All have values."""
        chosen, typed = self._typed.read(records)
        if typed is None:
            return NO_EVENTS
        if len(chosen) < len(records):
            records, places = [records[place] for place in chosen], places[chosen]
        numbers = self._numbers(typed)
        begins = [self._digests.get(origin) or self._begin(origin) for origin in typed.origins]
        times = times_of(typed.times, np.array(list(map(_timestamp, records)), np.int64))
        usage, good = self._usage(typed.usages)
        series = np.array(numbers, np.int64)
        good &= (series != NO_SERIES) & (times != NEVER)
        if not "".join(typed.ids).isprintable():
            good &= np.array(list(map(str.isprintable, typed.ids)), np.bool_)
        if None in begins:
            good &= np.array([begin is not None for begin in begins], np.bool_)
        fingerprints = _fingerprints(begins, map(_encode, typed.ids))
        events = Events(places, series, times, times, np.zeros(len(times), np.bool_), fingerprints, usage)
        if good.all():
            return events
        return events.chosen(good)

    def _numbers(self, typed: TypedColumns) -> list[int]:
        """The number of the series of each event; NO_SERIES where it is not valid."""
        numbers = self._series.known_texts(typed.customers, typed.dimensions)
        if NO_SERIES in numbers:
            for at, number in enumerate(numbers):
                if number == NO_SERIES:
                    numbers[at] = self._series.learn_text(typed.customers[at], typed.dimensions[at])
        return numbers

    def _begin(self, origin: str | tuple[str, str]) -> Callable[[], Any] | None:
        """The digest that begins with a source, to be copied; None if one of the texts cannot be printed."""
        texts = (origin,) if isinstance(origin, str) else origin
        if not all(map(str.isprintable, texts)):
            return None
        if len(self._digests) > KNOWN_SOURCES_MAX:
            self._digests.clear()
        begin = self._digests[origin] = blake2b(source_prefix(texts[0]), digest_size=16).copy
        return begin

    def _usage(self, usages: Sequence[Any]) -> tuple[dict[str, Integers], Mask]:
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


def _singles(records: Sequence[LogRecord]) -> Sequence[int]:
    """The places of those that may be single events to be read at once."""
    values = list(map(_value, records))
    # All in C where all are, as they mostly are.
    if all(values) and max(map(len, values), default=0) <= TYPED_BYTES_MAX and not any(map(_is_batch, values)):
        return range(len(values))
    return [place for place, value in enumerate(values) if value is not None and len(value) <= TYPED_BYTES_MAX and not _is_batch(value)]


def _fingerprints(begins: Iterable[Any], ids: Iterable[bytes]) -> Fingerprints:
    """The digest of each source, copied and gone on with: less than half of what digesting both takes. Where there is none, of nothing."""
    found = []
    for begin, event_id in zip(begins, ids, strict=True):
        digest = begin() if begin is not None else blake2b(digest_size=16)
        digest.update(event_id)
        found.append(digest.digest())
    return fingerprints_of(b"".join(found))


# Batches


def _events_of_batches(columns: _BatchColumns, known: frozenset[str]) -> Iterator[Events]:
    """The events of batches; those with the same usage fields together. `known`: the fields that the catalogue knows."""
    groups: dict[tuple[str, ...], list[int]] = {}
    for number, batch in enumerate(columns.batches):
        groups.setdefault(tuple(batch.usage), []).append(number)
    series = np.array(columns.series, np.int64)
    for fields, chosen in groups.items():
        batches = [columns.batches[number] for number in chosen]
        counts = [batch.count for batch in batches]
        at = _column(map(attrgetter("at"), batches)) + np.repeat([columns.firsts[number] for number in chosen], counts)
        times = _column(map(attrgetter("time"), batches)) + np.repeat([batch.base_time_ms for batch in batches], counts)
        usage = {name: _column(batch.usage[name] for batch in batches) for name in fields}
        yield Events(
            np.repeat([columns.records[number] for number in chosen], counts),
            series[at],
            times,
            _copies_from(times, counts, [columns.looked_up[number] for number in chosen]),
            _stamped(batches),
            _ids(batches, sum(counts)),
            {name: column for name, column in usage.items() if name in known},
            [(place, name, int(column[place])) for name, column in usage.items() if name not in known for place in np.flatnonzero(column).tolist()],
        )


def _column(columns: Iterable[Sequence[int]]) -> Integers:
    return np.concatenate(list(map(view, columns)), dtype=np.int64, casting="unsafe")


def _copies_from(times: Integers, counts: Sequence[int], looked_up: Sequence[LookedUpIds | None]) -> Integers:
    """Its own time for each event; when its identity was looked for in the log, if that was later."""
    if not any(looked_up):
        return times
    found, begins = times.copy(), accumulate(counts, initial=0)
    for begin, count, looked in zip(begins, counts, looked_up, strict=False):
        if looked is not None:
            part = found[begin : begin + count]
            part[fingerprints_of(looked.fingerprints).any(axis=1) & (part < looked.searched_ms)] = looked.searched_ms
    return found


def _stamped(batches: Sequence[Batch]) -> Mask:
    found: list[npt.NDArray[np.bool_]] = []
    for batch in batches:
        stamped = batch.stamped
        found.append(np.full(batch.count, stamped, np.bool_) if isinstance(stamped, bool) else view(stamped) > 0)
    return np.concatenate(found)


def _ids(batches: Sequence[Batch], events: int) -> Fingerprints:
    if not any(map(attrgetter("ids"), batches)):
        return np.zeros((events, 2), np.uint64)
    return fingerprints_of(b"".join(batch.ids or bytes(16 * batch.count) for batch in batches))
