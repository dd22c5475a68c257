"""The quick way to read small batches that follow each other: as one batch with the events of all of them, which is added up at once.

The result is exactly that of the long way (`aggregator.reading.decoding`) for each of them; anything unusual is left to that way.
"""

from array import array
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import accumulate, chain, takewhile
from operator import attrgetter, eq, methodcaller
from typing import Any, Final, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
from taximeter_emitter.wire.batch import FORMAT_KEY, LISTED_FIELDS, LISTS, PACKED_FROM, SEQUENCE_MAX, STAMPED_FIELD, TIME_MS_MAX, Batch
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import Dimensions
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, CLOCK_AHEAD_MAX_MS, FUTURE_TOLERANCE_MS, QUANTITY_MAX

from aggregator.reading.screening import are_at_home
from aggregator.reading.stamped_times import NOT_AHEAD, Ahead, ahead_of
from metering.records.batch_decoding import KnownTexts, check_emitter
from metering.records.record import LogRecord
from metering.records.service_limits import EVENT_AGE_MAX_MS

Unsigned: TypeAlias = npt.NDArray[np.uint64]

SMALL_BATCH_EVENTS_MAX: Final = PACKED_FROM  # of one batch: larger ones are packed, and quick by themselves
JOINED_BATCHES_MAX: Final = BATCH_EVENTS_MAX // SMALL_BATCH_EVENTS_MAX  # joined, they are no larger than the largest batch
SMALL_BATCH_BYTES_MAX: Final = 8_000

_STAMPED_LAYOUT: Final = (*LISTED_FIELDS, STAMPED_FIELD)

_value = attrgetter("value")
_headers = attrgetter("headers")
_offset = attrgetter("offset")
_is_alike = methodcaller("startswith", b'{"%s":%d,' % (FORMAT_KEY.encode(), LISTS))


class JoinedBatches(NamedTuple):
    """Batches in the order of the log, a number each of `firsts` and `counts`, and all their events as one. `ahead`: of emitters whose clock was.

    No event has, in its batch, a later time than `latest_ms`.
    """

    emitters: Sequence[str]
    firsts: Sequence[int]
    counts: Sequence[int]
    events: Batch
    ahead: Mapping[str, Ahead]
    latest_ms: int


class _UnusualError(Exception):
    """A value that the quick way does not read."""


def first_batches(records: Sequence[LogRecord], start: int) -> Sequence[LogRecord]:
    """The records from `start` on, JOINED_BATCHES_MAX at most, that look like small batches and whose offsets follow each other without a gap."""
    if not _may_be_small(records[start]):
        return ()
    run = records[start : start + JOINED_BATCHES_MAX]
    offset = run[0].offset
    values: list[Any] = list(map(_value, run))
    if (
        None not in values
        and all(map(_is_alike, values))
        and max(map(len, values)) <= SMALL_BATCH_BYTES_MAX
        and not any(map(_headers, run))
        and run[-1].offset - offset == len(run) - 1
        and list(map(_offset, run)) == list(range(offset, offset + len(run)))
    ):
        return run
    return run[: next(at for at, record in enumerate(run) if record.offset != offset + at or not _may_be_small(record))]


def _may_be_small(record: LogRecord) -> bool:
    value = record.value
    return value is not None and not record.headers and len(value) <= SMALL_BATCH_BYTES_MAX and _is_alike(value)


def alike(documents: Sequence[Any], start: int) -> int:
    """How many decoded values from `start` on have LISTED_FIELDS, are all stamped or none, and have no other fields, such as ids; and the usage
    fields of the first.
    """
    fields = _layout_of(documents[start])
    return 0 if fields is None else sum(1 for _ in takewhile(partial(eq, fields), map(_layout_of, documents[start:])))


def _layout_of(document: Any) -> tuple[bool, tuple[str, ...]] | None:
    """Whether all of a batch is stamped, and its usage fields, if it has LISTED_FIELDS and no others."""
    if type(document) is not dict:
        return None
    stamped = document.get(STAMPED_FIELD) is True
    if tuple(document) != (_STAMPED_LAYOUT if stamped else LISTED_FIELDS):
        return None
    usage = document["usage"]
    return (stamped, tuple(usage)) if type(usage) is dict and usage else None


def join(
    documents: Sequence[dict[str, Any]],
    log_times_ms: Sequence[int],
    *,
    partition: int,
    fields: frozenset[str],
    known: KnownTexts,
    partition_of: Callable[[str], int],
) -> JoinedBatches | None:
    """Batches that are `alike`, if every event of all of them may be counted as far as it alone tells; otherwise None.

    `fields`: the catalogue's. `known`: its customers are those known to be at home in the partition; others are looked at, and learnt.
    """
    if len(documents) > JOINED_BATCHES_MAX:
        return None
    forms, emitters, partitions, firsts, counts, customers, dimensions_of, at, time, usages, dimensions, bases, *stamped = zip(
        *map(dict.values, documents), strict=True
    )
    try:
        for emitter in set(emitters):
            check_emitter(emitter)
        lengths = _lengths(customers)
        sizes = _lengths(at)
        counted = _numbers(counts, SMALL_BATCH_EVENTS_MAX).tolist()
        if (
            counted != sizes
            or sizes != _lengths(time)
            or lengths != _lengths(dimensions_of)
            or set(_numbers(forms, LISTS).tolist()) != {LISTS}
            or set(_numbers(partitions, partition).tolist()) != {partition}
            or not fields.issuperset(usages[0])
        ):
            return None
        usage = {name: _quantities(column, sizes) for name, column in zip(usages[0], zip(*map(dict.values, usages), strict=True), strict=True)}
        known.check_fields(tuple(usage))
        begins, named = _dimensions(dimensions, known)
        times, ahead = _times(time, sizes, _numbers(bases, TIME_MS_MAX), log_times_ms, emitters, stamped=bool(stamped))
        events = Batch(
            "",
            partition,
            0,
            sum(sizes),
            _customers(customers, partition, known, partition_of),
            named,
            _places(dimensions_of, lengths, _lengths(dimensions), begins).tolist(),
            _packable(_places(at, sizes, lengths, [0, *accumulate(lengths[:-1])])),
            0,
            _packable(times),
            usage,
        )
        latest_ms = int(times.max()) + max((each.most_ms for each in ahead.values()), default=0)
        return JoinedBatches(emitters, _numbers(firsts, SEQUENCE_MAX).tolist(), sizes, events, ahead, latest_ms)
    except (EventRejected, OverflowError, TypeError, _UnusualError):
        return None


def _lengths(column: Sequence[Any]) -> list[int]:
    """Of lists that are not empty."""
    if set(map(type, column)) != {list}:
        raise _UnusualError
    found = list(map(len, column))
    if not all(found):
        raise _UnusualError
    return found


def _numbers(column: Sequence[Any], maximum: int) -> Unsigned:
    """Raises OverflowError or TypeError for what is no integer of 64 bits, below zero too."""
    return _checked(column, array("Q", column), maximum)


def _flat(lists: Sequence[list[Any]], lengths: Sequence[int], maximum: int) -> Unsigned:
    """The integers of one column of each batch, one batch's after the other's. Raises as `_numbers`."""
    if _lengths(lists) != lengths:
        raise _UnusualError
    numbers = array("Q")
    for column in lists:
        numbers.fromlist(column)
    return _checked(lists, numbers, maximum)


def _checked(values: Sequence[Any], numbers: "array[int]", maximum: int) -> Unsigned:
    # As text, true and false are what has an "e" in it: an array takes them. Other numbers with one are floats.
    if b"e" in orjson.dumps(values):
        raise _UnusualError
    found = np.frombuffer(numbers, np.uint64)
    if int(found.max()) > maximum:
        raise _UnusualError
    return found


def _quantities(lists: Sequence[list[Any]], lengths: Sequence[int]) -> "array[int]":
    return _packable(_flat(lists, lengths, QUANTITY_MAX))


def _packable(column: Unsigned) -> "array[int]":
    """As columns of batches are."""
    return array("Q", column.tobytes())


def _places(lists: Sequence[list[Any]], lengths: Sequence[int], below: Sequence[int], begins: Sequence[int]) -> Unsigned:
    """Places in a list of their batch (`below`: its length) as places in the joined one, where that list begins at `begins`."""
    places = _flat(lists, lengths, BATCH_EVENTS_MAX)
    if (places >= np.repeat(np.array(below, np.uint64), lengths)).any():
        raise _UnusualError
    return places + np.repeat(np.array(begins, np.uint64), lengths)


def _times(
    lists: Sequence[list[Any]], lengths: Sequence[int], bases: Unsigned, log_times_ms: Sequence[int], emitters: Sequence[str], *, stamped: bool
) -> tuple[Unsigned, Mapping[str, Ahead]]:
    """When the events happened, if each is young enough, and not in the future, by the clock of every record; and whose clock was ahead."""
    times = _flat(lists, lengths, TIME_MS_MAX) + np.repeat(bases, lengths)
    ahead: dict[str, Ahead] = {}
    if stamped and int(times.max()) > min(log_times_ms):
        times, ahead = _at_log_times(times, lengths, log_times_ms, emitters)
    if int(times.max()) > min(log_times_ms) + FUTURE_TOLERANCE_MS or int(times.min()) < max(log_times_ms) - EVENT_AGE_MAX_MS:
        raise _UnusualError
    return times, ahead


def _at_log_times(times: Unsigned, lengths: Sequence[int], log_times_ms: Sequence[int], emitters: Sequence[str]) -> tuple[Unsigned, dict[str, Ahead]]:
    """As `at_log_time`, of stamped batches, if no clock is too far ahead."""
    limits = np.repeat(np.array(log_times_ms, np.int64), lengths)
    signed = times.view(np.int64)
    if int((signed - limits).max()) > CLOCK_AHEAD_MAX_MS:
        raise _UnusualError
    ahead: dict[str, Ahead] = {}
    start = 0
    for emitter, length in zip(emitters, lengths, strict=True):
        found = ahead_of(signed[start : start + length], limits[start : start + length])
        if found.events:
            before = ahead.get(emitter, NOT_AHEAD)
            ahead[emitter] = Ahead(before.events + found.events, max(before.most_ms, found.most_ms))
        start += length
    return np.minimum(signed, limits).view(np.uint64), ahead


def _dimensions(lists: Sequence[Any], known: KnownTexts) -> tuple[list[int], list[Dimensions]]:
    """Where each batch's dimensions begin in the joined list, and that list; batches with the same share them. Raises EventRejected."""
    begins, found, begin_of = [], list[Dimensions](), dict[bytes, int]()
    for entries, text in zip(lists, map(orjson.dumps, lists), strict=True):
        begin = begin_of.get(text)
        if begin is None:
            begin = begin_of[text] = len(found)
            found += map(known.dimensions, entries)
        begins.append(begin)
    return begins, found


def _customers(lists: Sequence[Sequence[Any]], partition: int, known: KnownTexts, partition_of: Callable[[str], int]) -> list[str]:
    """Those of all batches, if they are at home. Raises EventRejected."""
    customers = list(chain.from_iterable(lists))
    if not known.customers.issuperset(customers):
        known.check_customers(customers)
        if not are_at_home(customers, partition, partition_of, home=known.customers):
            raise _UnusualError
    return customers
