"""Plain events and what becomes of them, at once and the long way."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
from taximeter_emitter.wire.event import UsageEvent

from aggregator.ids.id_index import content_of
from aggregator.ids.identities import Identities
from aggregator.reading.plain_events import PlainColumns, PlainEvents
from metering.records.record import Record

FIELDS = frozenset({"input", "output"})
IDENTITIES = Identities(b"a test's")
LATEST_MS = 4_000_000_000_000
LOG_TIME_MS = 1_795_000_000_000
CLOUDEVENT: dict[str, Any] = {
    "specversion": "1.0",
    "id": "q-1",
    "source": "/inference",
    "type": "usage",
    "time": "2026-11-22T10:00:00.250Z",
    "subject": "c",
    "datacontenttype": "application/json",
    "data": {"usage": {"input": 1}, "dimensions": {"model": "a"}},
}
GOOD: dict[str, Any] = {
    "id": "q-1",
    "source": "inference",
    "time": "2026-11-22T10:00:00.250Z",
    "customer": "c",
    "usage": {"output": 2, "input": 1},
    "dimensions": {"region": "eu", "model": "a"},
}


def document(change: dict[str, Any], missing: frozenset[str] = frozenset()) -> bytes:
    return orjson.dumps({name: value for name, value in (GOOD | change).items() if name not in missing})


def plain_events_of(usage_fields: frozenset[str] = FIELDS) -> PlainEvents:
    return PlainEvents(usage_fields, lambda customer: customer != "foreign", IDENTITIES)


def records_of(values: Sequence[bytes]) -> list[Record]:
    """One record for each, a millisecond apart."""
    return [Record(offset, LOG_TIME_MS + offset, None, value) for offset, value in enumerate(values)]


def in_binary_mode(event: Mapping[str, Any], offset: int = 0) -> Record:
    """A CloudEvent, given as the JSON of one in structured mode, with its attributes in headers."""
    attributes = [(f"ce_{name}", str(value).encode()) for name, value in event.items() if name not in {"data", "datacontenttype"}]
    headers = (*attributes, ("traceparent", b"00-1-2-01"), ("content-type", b"application/json; charset=utf-8"))
    return Record(offset, LOG_TIME_MS, None, orjson.dumps(event["data"]), headers)


def read(plain: PlainEvents, records: Sequence[Record]) -> tuple[Sequence[int], PlainColumns | None]:
    moments = np.array([record.timestamp for record in records], np.int64)
    return plain.read(records, moments, np.zeros(len(records), np.int64), np.full(len(records), LATEST_MS))


def events_of(plain: PlainEvents, values: Sequence[bytes]) -> list[tuple[object, ...] | None]:
    return events_of_records(plain, records_of(values))


def events_of_records(plain: PlainEvents, records: Sequence[Record]) -> list[tuple[object, ...] | None]:
    """What an event is known and summed by, for each record; None for those that must go the long way."""
    odd, columns = read(plain, records)
    assert list(odd) == sorted(set(odd))
    found: list[tuple[object, ...] | None] = [None] * len(records)
    chosen = [place for place in range(len(records)) if place not in odd]
    assert len(chosen) == (len(columns) if columns is not None else 0)
    for at, place in enumerate(chosen):
        assert columns is not None
        usage = {name: int(column[at]) for name, column in columns.usage.items() if column[at]}
        series = plain.series[columns.series[at]]
        found[place] = (columns.identities[at].tobytes(), int(columns.contents[at]), int(columns.times[at]), series, usage)
    return found


def facts(event: UsageEvent) -> tuple[object, ...]:
    usage = {name: quantity for name, quantity in event.usage if quantity}
    identity = IDENTITIES.of(event.customer, event.fingerprint)
    return identity, content_of(event.customer, event.dimensions, event.usage), event.time_ms, (event.customer, event.dimensions), usage
