"""Both ways on the same bytes, and where they differ."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Final

import numpy as np

from metering.records.record import Record
from tests.native.plain_way import LearntSeries, Seen, SeenRecord, framing, printable_bits, said

FIELDS: Final = ("input", "output", "cached", "é")
PARTITION: Final = 3

_bits = cache(printable_bits)


class Differs(AssertionError):
    """The two ways do not agree."""


@dataclass(slots=True)
class Figures:
    """Of what was compared. `left`: records that the plain way reads and the native reader left to it."""

    sets: int = 0
    records: int = 0
    singles: int = 0
    batches: int = 0
    events: int = 0
    left: int = 0
    refused: int = 0
    statuses: dict[str, int] = field(default_factory=dict)


class Comparison:
    """Reads record sets with one native reader, which remembers series from set to set, and by the plain way."""

    def __init__(self, partition: int = PARTITION, fields: Sequence[str] = FIELDS) -> None:
        import taximeter_native  # it may not be there, and then nothing is compared

        self.native = taximeter_native
        self.fields = fields
        self.partition = partition
        self.series = LearntSeries()
        self.reader = taximeter_native.EventReader(partition, fields, self.series, _bits)
        self.figures = Figures()

    def forget(self) -> None:
        """As a user does whose memory of series is full."""
        self.reader.forget()
        self.series.found.clear()
        self.series.asked.clear()

    def compare(self, data: bytes, from_offset: int = 0) -> list[int]:
        """How each record was read: 0, 1 or 2. Raises Differs."""
        offsets, timestamps, places, next_at, next_offset, status = self.native.frame(data, 0, from_offset)
        plain = framing(data, from_offset)
        self._same("framing", (len(offsets), next_at, next_offset, status), (len(plain.records), plain.next_at, plain.next_offset, plain.status))
        records = []
        for offset, timestamp, place, expected in zip(offsets.tolist(), timestamps.tolist(), places.tolist(), plain.records, strict=True):
            key_at, key_size, value_at, value_size, headers_at, headers_count = place
            key = None if key_size < 0 else data[key_at : key_at + key_size]
            value = None if value_size < 0 else data[value_at : value_at + value_size]
            headers = self.native.headers(data, headers_at, headers_count)
            self._same("record", (offset, timestamp, key, value, headers), (*_parts(expected), tuple(expected.headers)))
            records.append(Record(offset, timestamp, key, value, headers))
        found = self.reader.read(data, timestamps, places, 0, len(records))
        self._compare_events(records, found)
        self.figures.sets += 1
        self.figures.statuses[status or "whole"] = self.figures.statuses.get(status or "whole", 0) + 1
        ways: list[int] = found[0].tolist()
        return ways

    def _compare_events(self, records: Sequence[Record], found: Any) -> None:
        ways = found[0].tolist()
        seen = self._seen(found)
        self._same("ways", len(ways), len(records))
        for place, (record, way) in enumerate(zip(records, ways, strict=True)):
            expected = said(record)
            self.figures.records += 1
            if way == 0:
                self._same(f"events of a record that was left, {record!r}", place in seen, False)
                self.figures.left += expected is not None and (not expected.batch or expected.batch[2] > 0)
                self.figures.refused += expected is None
                continue
            self._same(f"kind of {record!r}", way, 0 if expected is None else 1 if expected.batch is None else 2)
            self._same(f"{record!r}", seen.get(place), expected)
            self.figures.singles += way == 1
            self.figures.batches += way == 2
            self.figures.events += len(expected.events) if expected is not None else 0

    def _seen(self, found: Any) -> dict[int, SeenRecord]:
        """What the native reader says of each record that it read."""
        _, of_records, series, times, stamped, fingerprints, usage, batch_records, emitters, firsts, counts = found
        self._same("shapes", (fingerprints.shape, usage.shape), ((len(series), 2), (len(self.fields), len(series))))
        self._same("order", bool((np.diff(of_records) >= 0).all()), True)
        events: dict[int, list[Seen]] = {}
        for row, record in enumerate(of_records.tolist()):
            customer, dimensions = self.series.found[series[row]]
            quantities = tuple(sorted((name, int(usage[place, row])) for place, name in enumerate(self.fields) if usage[place, row]))
            seen = Seen(customer, dimensions, int(times[row]), bool(stamped[row]), fingerprints[row].tobytes(), quantities)
            events.setdefault(record, []).append(seen)
        about = dict(zip(batch_records.tolist(), zip(emitters, firsts.tolist(), counts.tolist(), strict=True), strict=True))
        self._same("batches", about.keys() <= events.keys(), True)
        return {record: SeenRecord(tuple(rows), about.get(record)) for record, rows in events.items()}

    def _same(self, what: str, native: object, plain: object) -> None:
        if native != plain:
            raise Differs(f"{what}\nnative: {native!r}\nplain:  {plain!r}")


def _parts(record: Any) -> tuple[Any, ...]:
    return record.offset, record.timestamp, record.key, record.value
