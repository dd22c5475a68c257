"""Events as columns: the one form in which all of them are judged and summed, whatever they came in."""

from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, Final, NamedTuple

import numpy as np
from taximeter_emitter.wire.batch import Batch
from taximeter_emitter.wire.errors import EventRejected

from aggregator.ids.fingerprints import Fingerprints, Mask
from metering.records.dead_letter import Origin
from metering.records.integer_columns import Integers


class Events(NamedTuple):
    """Events in the order of the log; all columns have an entry for each. `records`: the place of the record of each, never falling.

    `series`: numbers in the series table. `times`: Unix ms. `copies_from`: no copy of the event counted before (Unix ms): its own time, or when its
    identity was looked for in the log. `stamped`: which times the emitter set by its own clock. `fingerprints`: zeros for an event that only its
    number identifies. `usage`: of fields that the catalogue knows; zeros where an event has none.
    `unknown`: what events have of other fields, which may be of any number: place of the event, field, and a quantity above zero.
    """

    records: Integers
    series: Integers
    times: Integers
    copies_from: Integers
    stamped: Mask
    fingerprints: Fingerprints
    usage: Mapping[str, Integers]
    unknown: Sequence[tuple[int, str, int]] = ()

    def part(self, start: int, end: int) -> "Events":
        """The events [start, end)."""
        if not start and end >= len(self.times):
            return self
        unknown = [(place - start, name, quantity) for place, name, quantity in self.unknown if start <= place < end]
        return self._with(slice(start, end), unknown)

    def chosen(self, which: Mask) -> "Events":
        """The events for which `which` is true."""
        unknown: Sequence[tuple[int, str, int]] = ()
        if self.unknown:
            places = (np.cumsum(which) - 1).tolist()
            unknown = [(places[place], name, quantity) for place, name, quantity in self.unknown if which[place]]
        return self._with(which, unknown)

    def in_order(self) -> "Events":
        """By the place of the record; events of one record as they were."""
        if (np.diff(self.records) >= 0).all():
            return self
        order = np.argsort(self.records, kind="stable")
        unknown: Sequence[tuple[int, str, int]] = ()
        if self.unknown:
            places = np.argsort(order).tolist()
            unknown = [(places[place], name, quantity) for place, name, quantity in self.unknown]
        return self._with(order, unknown)

    def _with(self, which: Any, unknown: Sequence[tuple[int, str, int]]) -> "Events":
        """The events that an index of numpy chooses."""
        return Events(
            self.records[which],
            self.series[which],
            self.times[which],
            self.copies_from[which],
            self.stamped[which],
            self.fingerprints[which],
            {name: column[which] for name, column in self.usage.items()},
            unknown,
        )


class NumberedBatch(NamedTuple):
    """What a batch says beside its events: the place of its record, and the numbers of the events."""

    record: int
    emitter: str
    first_seq: int
    count: int  # type: ignore[assignment]  # tuples have a method of this name, which nobody needs here


class RefusedRecord(NamedTuple):
    """A record that cannot be counted: why, how many events it stands for, and whose they are."""

    rejected: EventRejected
    events: int
    origin: Origin
    is_batch: bool = False


class Ways(NamedTuple):
    """How many events were read by the native reader, by the plain one at once, and one by one."""

    native: int = 0
    plain: int = 0
    long: int = 0

    def plus(self, other: "Ways") -> "Ways":
        """The sums of both."""
        return Ways(self.native + other.native, self.plain + other.plain, self.long + other.long)


NO_WAYS: Final = Ways()


class Reading(NamedTuple):
    """What records say. The places are those of the records, from 0. A record that is neither single nor in one of the others has no events."""

    events: Events
    batches: Sequence[NumberedBatch]
    heartbeats: Mapping[int, Batch]
    refusals: Mapping[int, RefusedRecord]
    ways: Ways


def joined(parts: Sequence[Events]) -> Events:
    """All events of the parts, one part's behind the other's."""
    if not parts:
        return NO_EVENTS
    if len(parts) == 1:
        return parts[0]
    lengths = [len(part.times) for part in parts]
    names = dict.fromkeys(name for part in parts for name in part.usage)
    begins = accumulate(lengths, initial=0)
    return Events(
        np.concatenate([part.records for part in parts]),
        np.concatenate([part.series for part in parts]),
        np.concatenate([part.times for part in parts]),
        np.concatenate([part.copies_from for part in parts]),
        np.concatenate([part.stamped for part in parts]),
        np.concatenate([part.fingerprints for part in parts]),
        {name: np.concatenate([part.usage.get(name, _zeros(length)) for part, length in zip(parts, lengths, strict=True)]) for name in names},
        [(begin + place, name, quantity) for part, begin in zip(parts, begins, strict=False) for place, name, quantity in part.unknown],
    )


def _zeros(length: int) -> Integers:
    return np.zeros(length, np.int64)


NO_EVENTS = Events(_zeros(0), _zeros(0), _zeros(0), _zeros(0), np.zeros(0, np.bool_), np.zeros((0, 2), np.uint64), {})
