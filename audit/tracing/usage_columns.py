"""The events behind a customer's usage, as columns: a day of one customer may have 86 million events. Pure."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt
import orjson
from taximeter_emitter.wire.kept_ids import unpack_kept_ids
from taximeter_emitter.wire.limits import MINUTE_MS

from audit.decoder.record_contents import BatchContents, HeldEvents
from audit.decoder.record_reading import contents_of
from audit.recount.derived_rows import made_of
from audit.recount.meter_definitions import MeterDefinition
from audit.tracing.event_outcomes import EventOutcome, outcomes_of
from audit.tracing.event_search import BATCH_BEGINS, EventAt, EventQuery, search
from metering.records.record import LogRecord
from metering.records.tally import Tally
from metering.records.window import window_start

_Integers: TypeAlias = npt.NDArray[np.int64]


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
    """Offsets [start, end) of usage.events that one tally covers, or several of which each event counted: then `uncounted` is None. `meter`:
    how it counts; None: there was none. `joined`: the offsets between the stretch before it and this one can be read, and are few.
    """

    start: int
    end: int
    meter: MeterDefinition | None
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
    """Finds the usage that is asked for."""

    def __init__(self, question: UsageQuestion) -> None:
        self._question = question
        self._query = EventQuery(question.customer)

    def find(self, records: Sequence[tuple[LogRecord, Stretch]]) -> Iterator[FoundUsage]:
        """What these records have of it, in their order. Each record is in its stretch."""
        singles: list[tuple[EventAt, EventOutcome, int]] = []
        for record, stretch in records:
            value = record.value or b""
            if record.headers or not value.startswith(BATCH_BEGINS):
                singles += self._one_by_one(record, stretch)
                continue
            found = self._in_batch(record, stretch) if self._query.may_be_in(value) else None
            if found is not None:
                if singles:
                    yield _found_singles(singles)
                    singles = []
                yield found
        if singles:
            yield _found_singles(singles)

    def _one_by_one(self, record: LogRecord, stretch: Stretch) -> Iterator[tuple[EventAt, EventOutcome, int]]:
        for event in search(record, self._query):
            meter = stretch.meter
            units = made_of(dict(event.usage), meter) if meter is not None and meter.is_for(event.dimensions) else 0
            if units > 0 and self._question.asks_for(event.time_ms):
                yield event, _outcomes(stretch, event.offset, (event.at,))[0], units

    def _in_batch(self, record: LogRecord, stretch: Stretch) -> FoundUsage | None:
        question, batch = self._question, contents_of(record)
        if not isinstance(batch, BatchContents):
            return None
        held = batch.events
        meter = stretch.meter
        if meter is None:
            return None
        mine = [customer == question.customer and meter.is_for(dimensions) for customer, dimensions in held.series]
        units = _units_in(held, meter) if any(mine) else None
        if units is None:
            return None
        times = np.array(held.times, np.int64)
        wanted = (units > 0) & (times >= question.from_ms) & (times < question.to_ms)
        if not all(mine):
            wanted &= np.array(mine)[np.array(held.at)]
        places = np.flatnonzero(wanted)
        if not len(places):
            return None
        units = units[places]
        columns = partial(_batch_columns, record, batch, stretch, _Chosen(places, times[places], units))
        if stretch.uncounted is None:
            return FoundUsage({EventOutcome.COUNTED: len(places)}, {EventOutcome.COUNTED: int(units.sum())}, columns)
        return FoundUsage(*_by_outcome(_outcomes(stretch, record.offset, places.tolist()), units.tolist()), columns)


def _units_in(held: HeldEvents, meter: MeterDefinition) -> _Integers | None:
    """What the meter makes of each event, whatever its dimensions; None: of none."""
    added = [np.array(column, np.int64) for name, column in held.usage.items() if name in meter.fields]
    if meter.counts:
        if not meter.fields:
            return np.ones(len(held.at), np.int64)
        return np.any(np.array(added) > 0, axis=0).astype(np.int64) if added else None
    taken = [np.array(column, np.int64) for name, column in held.usage.items() if name in meter.less]
    if not added:
        return None
    return sum(added[1:], start=added[0]) - sum(taken, start=np.zeros(len(held.at), np.int64))


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

    places: _Integers
    times_ms: _Integers
    units: _Integers


def _batch_columns(record: LogRecord, batch: BatchContents, stretch: Stretch, chosen: _Chosen) -> UsageColumns:
    held, count, at = batch.events, len(chosen.places), chosen.places.tolist()
    of_series = [_json(dimensions) for _, dimensions in held.series]
    names = _kept_names(held)
    return UsageColumns(
        offsets=[record.offset] * count,
        places=at,
        log_times_ms=[record.timestamp] * count,
        times_ms=chosen.times_ms.tolist(),
        outcomes=_outcomes(stretch, record.offset, at),
        units=chosen.units.tolist(),
        usage=_usage_texts({name: np.array(column, np.int64)[chosen.places] for name, column in held.usage.items()}),
        dimensions=[of_series[held.at[place]] for place in at],
        sources=[names[place][0] for place in at] if names else [""] * count,
        ids=[names[place][1] for place in at] if names else [""] * count,
        fingerprints=[held.identities[place].hex() for place in at],
        emitters=[batch.emitter] * count,
        numbers=[batch.first + place for place in at],
    )


def _usage_texts(usage: Mapping[str, _Integers]) -> Sequence[str]:
    """The JSON of each event's quantities, without those that are 0."""
    rows = zip(*(column.tolist() for column in usage.values()), strict=True)
    if all(column.all() for column in usage.values()):
        form = "{" + ",".join(orjson.dumps(name).decode().replace("%", "%%") + ":%d" for name in usage) + "}"
        return [form % row for row in rows]
    return [_json([pair for pair in zip(usage, row, strict=True) if pair[1]]) for row in rows]


def _kept_names(held: HeldEvents) -> Sequence[tuple[str, str]]:
    try:
        return unpack_kept_ids(held.kept_ids, len(held.at)) if held.kept_ids else ()
    except ValueError:  # nothing is counted by it
        return ()


def _json(pairs: Sequence[tuple[str, object]]) -> str:
    return orjson.dumps(dict(pairs)).decode()
