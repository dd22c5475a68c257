"""The events behind a customer's usage, as columns: a day of one customer may have 86 million events. Pure.

Batches are read as the services read them, in a tenth of the time that the audit's own decoder takes; `verify` proves the sums by that one.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Final, NamedTuple

import numpy as np
import orjson
from taximeter_emitter.wire.batch import FINGERPRINT_BYTES, NO_ID, Batch
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.kept_ids import unpack_kept_ids
from taximeter_emitter.wire.limits import MINUTE_MS

from audit.tracing.event_outcomes import EventOutcome, outcomes_of
from audit.tracing.event_search import BATCH_BEGINS, EventAt, EventQuery, search
from metering.records.batch_decoding import KnownTexts, decode_batch
from metering.records.integer_columns import Integers, integers
from metering.records.record import LogRecord
from metering.records.service_limits import EVENT_VALUE_BYTES_MAX
from metering.records.tally import Tally
from metering.records.window import window_start

_FINGERPRINT_LETTERS: Final = 2 * FINGERPRINT_BYTES
_NO_FINGERPRINT: Final = NO_ID.hex()


@dataclass(frozen=True, slots=True)
class UsageQuestion:
    """One customer and meter, usage of [from_ms, to_ms), both at the start of a minute (Unix ms)."""

    customer: str
    meter: str
    from_ms: int
    to_ms: int

    def asks_for(self, time_ms: int) -> bool:
        """Whether usage of this time is meant: it is summed by the minute."""
        return self.from_ms <= window_start(time_ms, MINUTE_MS) < self.to_ms


class Stretch(NamedTuple):
    """Offsets [start, end) of usage.events that one tally covers, or several of which each event counted: then `uncounted` is None. `fields` are
    what the meter sums. `joined`: the offsets between the stretch before it and this one can be read, and are few.
    """

    start: int
    end: int
    fields: frozenset[str]
    uncounted: Tally | None
    joined: bool = False


class UsageColumns(NamedTuple):
    """Events, in the order of the log. Times in Unix ms; `usage` and `dimensions` as JSON, `fingerprints` as hexadecimal digits. A text that is not
    known is empty, a number None.
    """

    offsets: Sequence[int]
    places: Sequence[int]
    log_times_ms: Sequence[int]
    times_ms: Sequence[int]
    outcomes: Sequence[EventOutcome]
    units: Sequence[int]
    usage: Sequence[str]
    dimensions: Sequence[str]
    sources: Sequence[str]
    ids: Sequence[str]
    fingerprints: Sequence[str]
    emitters: Sequence[str]
    numbers: Sequence[int | None]


@dataclass(frozen=True, slots=True)
class FoundUsage:
    """Events that have such usage: how many and how many units of each outcome, and the events themselves, which cost ten times as much."""

    events: Mapping[EventOutcome, int]
    units: Mapping[EventOutcome, int]
    columns: Callable[[], UsageColumns]


class UsageFinder:
    """Finds the usage that is asked for. Keeps the texts that it has seen."""

    def __init__(self, question: UsageQuestion) -> None:
        self._question = question
        self._query = EventQuery(question.customer)
        self._known = KnownTexts()

    def find(self, records: Sequence[tuple[LogRecord, Stretch]]) -> Iterator[FoundUsage]:
        """What these records have of it, in their order. Each record is in its stretch."""
        singles: list[tuple[EventAt, EventOutcome, int]] = []
        for record, stretch in records:
            value = record.value or b""
            if record.headers or not value.startswith(BATCH_BEGINS):
                singles += self._one_by_one(record, stretch)
                continue
            found = self._in_batch(record, value, stretch) if self._query.may_be_in(value) else None
            if found is not None:
                if singles:
                    yield _found_singles(singles)
                    singles = []
                yield found
        if singles:
            yield _found_singles(singles)

    def _one_by_one(self, record: LogRecord, stretch: Stretch) -> Iterator[tuple[EventAt, EventOutcome, int]]:
        for event in search(record, self._query):
            units = sum([quantity for name, quantity in event.usage if name in stretch.fields])
            if units and self._question.asks_for(event.time_ms):
                yield event, _outcomes(stretch, event.offset, (event.at,))[0], units

    def _in_batch(self, record: LogRecord, value: bytes, stretch: Stretch) -> FoundUsage | None:
        question = self._question
        try:
            batch = decode_batch(orjson.loads(value), self._known) if len(value) <= EVENT_VALUE_BYTES_MAX else None
        except (EventRejected, orjson.JSONDecodeError):
            return None
        summed = [integers(column) for name, column in batch.usage.items() if name in stretch.fields] if batch is not None else ()
        mine = [customer == question.customer for customer in batch.customers] if batch is not None else ()
        if batch is None or not summed or not any(mine):
            return None
        units = sum(summed[1:], start=summed[0])
        times = _times(batch, record.timestamp)
        wanted = (units > 0) & (times >= question.from_ms) & (times < question.to_ms)
        if not all(mine):
            wanted &= np.array(mine)[integers(batch.at)]
        places = np.flatnonzero(wanted)
        if not len(places):
            return None
        units = units[places]
        columns = partial(_batch_columns, record, batch, stretch, _Chosen(places, times[places], units))
        if stretch.uncounted is None:
            return FoundUsage({EventOutcome.COUNTED: len(places)}, {EventOutcome.COUNTED: int(units.sum())}, columns)
        return FoundUsage(*_by_outcome(_outcomes(stretch, record.offset, places.tolist()), units.tolist()), columns)


def _times(batch: Batch, log_time_ms: int) -> Integers:
    times = integers(batch.time) + batch.base_time_ms
    if batch.stamped is False:
        return times
    stamped = np.minimum(times, log_time_ms)
    return stamped if batch.stamped is True else np.where(integers(batch.stamped) > 0, stamped, times)


def _outcomes(stretch: Stretch, offset: int, places: Sequence[int]) -> Sequence[EventOutcome]:
    return [EventOutcome.COUNTED] * len(places) if stretch.uncounted is None else outcomes_of(stretch.uncounted, offset, places)


def _by_outcome(outcomes: Sequence[EventOutcome], units: Sequence[int]) -> tuple[Counter[EventOutcome], Counter[EventOutcome]]:
    sums: Counter[EventOutcome] = Counter()
    for outcome, added in zip(outcomes, units, strict=True):
        sums[outcome] += added
    return Counter(outcomes), sums


def _found_singles(found: Sequence[tuple[EventAt, EventOutcome, int]]) -> FoundUsage:
    return FoundUsage(*_by_outcome([outcome for _, outcome, _ in found], [units for _, _, units in found]), partial(_listed_columns, found))


def _listed_columns(found: Sequence[tuple[EventAt, EventOutcome, int]]) -> UsageColumns:
    events = [event for event, _, _ in found]
    return UsageColumns(
        offsets=[event.offset for event in events],
        places=[event.at for event in events],
        log_times_ms=[event.log_time_ms for event in events],
        times_ms=[event.time_ms for event in events],
        outcomes=[outcome for _, outcome, _ in found],
        units=[units for _, _, units in found],
        usage=[_json(event.usage) for event in events],
        dimensions=[_json(event.dimensions) for event in events],
        sources=[event.source for event in events],
        ids=[event.event_id for event in events],
        fingerprints=[event.fingerprint.hex() for event in events],
        emitters=[event.emitter for event in events],
        numbers=[event.number for event in events],
    )


class _Chosen(NamedTuple):
    """Events of a batch: their places in it, times and units."""

    places: Integers
    times_ms: Integers
    units: Integers


def _batch_columns(record: LogRecord, batch: Batch, stretch: Stretch, chosen: _Chosen) -> UsageColumns:
    places, count, at = chosen.places, len(chosen.places), chosen.places.tolist()
    dimensions = [_json(each) for each in batch.dimensions]
    of_series = [dimensions[place] for place in batch.series_dimensions]
    marks = batch.ids.hex()
    found = [marks[place * _FINGERPRINT_LETTERS : (place + 1) * _FINGERPRINT_LETTERS] for place in at] if marks else [""] * count
    names = _kept_names(batch)
    return UsageColumns(
        offsets=[record.offset] * count,
        places=at,
        log_times_ms=[record.timestamp] * count,
        times_ms=chosen.times_ms.tolist(),
        outcomes=_outcomes(stretch, record.offset, at),
        units=chosen.units.tolist(),
        usage=_usage_texts({name: integers(column)[places] for name, column in batch.usage.items()}),
        dimensions=[of_series[series] for series in integers(batch.at)[places].tolist()],
        sources=[names[place][0] for place in at] if names else [""] * count,
        ids=[names[place][1] for place in at] if names else [""] * count,
        fingerprints=["" if mark == _NO_FINGERPRINT else mark for mark in found],
        emitters=[batch.emitter] * count,
        numbers=[batch.first_seq + place for place in at],
    )


def _usage_texts(usage: Mapping[str, Integers]) -> Sequence[str]:
    """The JSON of each event's quantities, without those that are 0."""
    rows = zip(*(column.tolist() for column in usage.values()), strict=True)
    if all(column.all() for column in usage.values()):
        form = "{" + ",".join(orjson.dumps(name).decode().replace("%", "%%") + ":%d" for name in usage) + "}"
        return [form % row for row in rows]
    return [_json([pair for pair in zip(usage, row, strict=True) if pair[1]]) for row in rows]


def _kept_names(batch: Batch) -> Sequence[tuple[str, str]]:
    try:
        return unpack_kept_ids(batch.kept_ids, batch.count) if batch.kept_ids else ()
    except ValueError:  # nothing is counted by it
        return ()


def _json(pairs: Sequence[tuple[str, object]]) -> str:
    return orjson.dumps(dict(pairs)).decode()
