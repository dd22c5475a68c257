"""Plain events and what becomes of them, at once and the long way."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson
from taximeter_emitter.wire.event import UsageEvent

from aggregator.ids.id_index import content_of
from aggregator.ids.identities import Identities
from aggregator.reading.plain_events import PlainColumns, PlainEvents

FIELDS = frozenset({"input", "output"})
IDENTITIES = Identities(b"a test's")
LATEST_MS = 4_000_000_000_000
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
    return PlainEvents(usage_fields, lambda customer: customer != "foreign", IDENTITIES, 3)


def read(plain: PlainEvents, values: Sequence[bytes]) -> tuple[Sequence[int], PlainColumns | None]:
    return plain.read(values, np.zeros(len(values), np.int64), np.full(len(values), LATEST_MS))


def events_of(plain: PlainEvents, values: Sequence[bytes]) -> list[tuple[object, ...] | None]:
    """What an event is known and summed by, for each value; None for those that must go the long way."""
    odd, columns = read(plain, values)
    assert list(odd) == sorted(set(odd))
    found: list[tuple[object, ...] | None] = [None] * len(values)
    chosen = [place for place in range(len(values)) if place not in odd]
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
