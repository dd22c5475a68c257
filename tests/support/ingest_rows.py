"""Columns seen as rows, one an event."""

from collections.abc import Iterable

from taximeter_emitter.buffer.batching import EventColumns, EventRow

from ingest.requests.request_columns import RequestPart


def rows_of(events: EventColumns) -> list[EventRow]:
    quantities = zip(*events.quantities, strict=True)
    return list(zip(events.customers, events.dimensions, events.times, events.stamped, events.fingerprints, quantities, strict=True))


def rows_in(parts: Iterable[RequestPart]) -> list[EventRow]:
    return [row for part in parts for row in rows_of(part.events)]
