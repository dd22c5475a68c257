"""Events as a reader has them, and as the long way has them."""

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from taximeter_emitter.wire.event import UsageEvent

from aggregator.ids.id_index import content_of
from aggregator.ids.identities import Identities
from aggregator.reading.events import Reading
from aggregator.reading.plain_reader import PlainReader
from aggregator.reading.series import SeriesTable
from metering.records.record import Record
from tests.support.aggregator_identities import identity_of

FIELDS = frozenset({"input", "output"})
IDENTITIES = Identities(b"a test's")
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


def plain_reader_of(usage_fields: frozenset[str] = FIELDS) -> tuple[PlainReader, SeriesTable]:
    """Customers called `foreign` belong to another partition."""
    series = SeriesTable(IDENTITIES, lambda customer: customer != "foreign")
    return PlainReader(0, usage_fields, series), series


def records_of(values: Sequence[bytes]) -> list[Record]:
    """One record for each, a millisecond apart."""
    return [Record(offset, LOG_TIME_MS + offset, None, value) for offset, value in enumerate(values)]


def in_binary_mode(event: Mapping[str, Any], offset: int = 0) -> Record:
    """A CloudEvent, given as the JSON of one in structured mode, with its attributes in headers."""
    attributes = [(f"ce_{name}", str(value).encode()) for name, value in event.items() if name not in {"data", "datacontenttype"}]
    headers = (*attributes, ("traceparent", b"00-1-2-01"), ("content-type", b"application/json; charset=utf-8"))
    return Record(offset, LOG_TIME_MS, None, orjson.dumps(event["data"]), headers)


def facts_of(reading: Reading, series: SeriesTable, records: int) -> list[tuple[object, ...] | None]:
    """What the single event of each record is known and summed by; None for a record that was refused."""
    events = reading.events
    found: list[tuple[object, ...] | None] = [None] * records
    identities, contents = series.identities(events), series.contents(events)
    unknown: dict[int, dict[str, int]] = {}
    for place, name, quantity in events.unknown:
        unknown.setdefault(place, {})[name] = quantity
    for at, place in enumerate(events.records.tolist()):
        assert found[place] is None, "a single event is one"
        usage = {name: int(column[at]) for name, column in events.usage.items() if column[at]} | unknown.get(at, {})
        found[place] = (identities[at].tobytes(), int(contents[at]), int(events.times[at]), series.names[events.series[at]], usage)
    assert [place for place, event in enumerate(found) if event is None] == sorted(reading.refusals)
    return found


def facts_of_values(values: Sequence[bytes]) -> list[tuple[object, ...] | None]:
    reader, series = plain_reader_of()
    return facts_of(reader.read(records_of(values)), series, len(values))


def facts(event: UsageEvent) -> tuple[object, ...]:
    usage = {name: quantity for name, quantity in event.usage if quantity}
    identity = identity_of(IDENTITIES, event.customer, event.fingerprint)
    return identity, content_of(event.customer, event.dimensions, event.usage), event.time_ms, (event.customer, event.dimensions), usage
