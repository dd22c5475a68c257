"""Reads records by the native reader, from the bytes of their batches; what is unusual is read in Python.

The native reader is a distribution of its own, `taximeter-native`, which need not be there. It reads exactly what the plain reader reads.
"""

import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Final

import numpy as np
from taximeter_native import EventReader

from aggregator.reading.events import Events, NumberedBatch, Reading, RefusedRecord, Ways, joined
from aggregator.reading.plain_reader import PlainReader
from aggregator.reading.series import SeriesTable
from metering.kafka.batches.framed_records import FramedRecords
from metering.records.record import LogRecord

FIELDS_MAX: Final = 64
"""Usage fields that it knows; an event with another one is read in Python."""


class NativeReader:
    """Reads the records of one partition. `fields`: the usage fields that a catalogue knows."""

    def __init__(self, partition: int, fields: Iterable[str], series: SeriesTable) -> None:
        self._fields = sorted(fields)[:FIELDS_MAX]
        self._plain = PlainReader(partition, fields, series)
        self._native = EventReader(partition, self._fields, series.learn_json, printable_characters)

    def forget(self) -> None:
        """The series table was emptied."""
        self._plain.forget()
        self._native.forget()

    def read(self, records: Sequence[LogRecord]) -> Reading:
        """All of them. The numbers of series are good until the table is emptied."""
        if not isinstance(records, FramedRecords):
            return self._plain.read(records)
        found = self._native.read(records.data, records.timestamps, records.places, 0, len(records))
        way, places, series, times, stamped, fingerprints, usage, batch_places, emitters, firsts, counts = found
        columns = {name: column for name, column in zip(self._fields, usage, strict=True) if column.any()}
        events = Events(places, series, times, times, stamped, fingerprints, columns)
        batches = list(map(NumberedBatch, batch_places.tolist(), emitters, firsts.tolist(), counts.tolist()))
        native = Reading(events, batches, {}, {}, Ways(native=len(times)))
        unread = np.flatnonzero(way == 0).tolist()
        return _merged(native, self._plain.read([records[place] for place in unread]), unread) if unread else native


def _merged(native: Reading, plain: Reading, places: Sequence[int]) -> Reading:
    """Both together. `places`: those of the records of the second."""
    moved = plain.events._replace(records=np.array(places, np.int64)[plain.events.records])
    batches = [batch._replace(record=places[batch.record]) for batch in plain.batches]
    refusals: Mapping[int, RefusedRecord] = {places[place]: refusal for place, refusal in plain.refusals.items()}
    return Reading(
        joined([native.events, moved]).in_order(),
        sorted([*native.batches, *batches]) if batches else native.batches,
        {places[place]: beat for place, beat in plain.heartbeats.items()},
        refusals,
        native.ways.plus(plain.ways),
    )


@cache
def printable_characters() -> bytes:
    """A bit for each code point, the lowest first: whether Python prints it, as the bounds of an event say."""
    bits = np.fromiter((chr(point).isprintable() for point in range(sys.maxunicode + 1)), np.bool_, sys.maxunicode + 1)
    return np.packbits(bits, bitorder="little").tobytes()
