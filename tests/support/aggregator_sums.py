"""Events as columns, their sums, and a naive sum of the same events."""

from collections.abc import Sequence

import numpy as np
from taximeter_emitter.wire.event import Dimensions, UsageEvent
from taximeter_emitter.wire.limits import MINUTE_MS

from aggregator.ids.identities import Identities
from aggregator.reading.events import Events
from aggregator.reading.series import SeriesTable
from aggregator.sums.rows import Rows
from aggregator.sums.series_meters import SeriesMeters
from metering.records.meters import Catalogue, Meter

CATALOGUE = Catalogue(
    [Meter("tokens", ("input", "output"), ("model",)), Meter("calls", ("calls",)), Meter("output", ("output",), ("model", "region"))]
)
Sums = dict[tuple[str, str, Dimensions, int], tuple[int, int]]
DIMENSIONS: tuple[Dimensions, ...] = ((), (("model", "a"),), (("model", "a"), ("region", "eu")))


def sums() -> tuple[Rows, SeriesTable]:
    """Rows, and the table that numbers their series."""
    series = SeriesTable(Identities(b""), lambda _: True)
    return Rows(CATALOGUE, series, SeriesMeters(CATALOGUE, series)), series


def events_of(series: SeriesTable, found: Sequence[UsageEvent]) -> Events:
    """As columns."""
    names = dict.fromkeys(name for event in found for name, _ in event.usage)
    size = len(found)
    times = np.array([event.time_ms for event in found], np.int64)
    return Events(
        np.arange(size),
        np.array([series.number(event.customer, event.dimensions) for event in found], np.int64),
        times,
        times,
        np.zeros(size, np.bool_),
        np.zeros((size, 2), np.uint64),
        {name: np.array([dict(event.usage).get(name, 0) for event in found], np.int64) for name in names},
    )


def naive(found: list[UsageEvent]) -> Sums:
    sums: Sums = {}
    for event in found:
        for meter in CATALOGUE.meters:
            quantity = sum(number for name, number in event.usage if name in meter.fields)
            if quantity:
                dimensions = tuple(pair for pair in event.dimensions if pair[0] in meter.dimensions)
                key = (event.customer, meter.event_name, dimensions, event.time_ms - event.time_ms % MINUTE_MS)
                total, number = sums.get(key, (0, 0))
                sums[key] = (total + quantity, number + 1)
    return sums


def taken(rows: Rows) -> Sums:
    found = {(row.customer, row.meter, row.dimensions, row.window_start_ms): (row.quantity, row.events) for row in rows.take()[0]}
    assert not rows.bytes
    return found


def calls(customer: str, quantity: int, time_ms: int = 0) -> UsageEvent:
    return UsageEvent("", "", customer, time_ms, (("calls", quantity),), ())
