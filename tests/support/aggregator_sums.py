"""Batches of events, their sums, and a naive sum of the same events."""

from taximeter_emitter.wire.batch import Batch
from taximeter_emitter.wire.event import Dimensions, UsageEvent
from taximeter_emitter.wire.limits import MINUTE_MS

from aggregator.sums.rows import Rows
from metering.records.meters import Catalogue, Meter

CATALOGUE = Catalogue(
    [Meter("tokens", ("input", "output"), ("model",)), Meter("calls", ("calls",)), Meter("output", ("output",), ("model", "region"))]
)
Sums = dict[tuple[str, str, Dimensions, int], tuple[int, int]]
DIMENSIONS: tuple[Dimensions, ...] = ((), (("model", "a"),), (("model", "a"), ("region", "eu")))


def batch_of(found: list[UsageEvent]) -> Batch:
    series: dict[tuple[str, Dimensions], int] = {}
    at = [series.setdefault((event.customer, event.dimensions), len(series)) for event in found]
    names = sorted({name for event in found for name, _ in event.usage})
    return Batch(
        emitter="e",
        partition=0,
        first_seq=0,
        count=len(found),
        customers=[customer for customer, _ in series],
        dimensions=DIMENSIONS,
        series_dimensions=[DIMENSIONS.index(dimensions) for _, dimensions in series],
        at=at,
        base_time_ms=0,
        time=[event.time_ms for event in found],
        usage={name: [dict(event.usage).get(name, 0) for event in found] for name in names},
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
    found = {(row.customer, row.meter, row.dimensions, row.window_start_ms): (row.quantity, row.events) for row in rows.take()}
    assert not rows.bytes
    return found


def calls(customer: str, quantity: int, time_ms: int = 0) -> UsageEvent:
    return UsageEvent("", "", customer, time_ms, (("calls", quantity),), ())
