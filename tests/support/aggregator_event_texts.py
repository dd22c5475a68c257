"""Texts of events, and what a reader of shapes that has seen some makes of them."""

from collections.abc import Sequence

import numpy as np
import orjson
from taximeter_emitter.wire.event import parse_event

from aggregator.ids.fingerprints import each
from aggregator.ids.id_index import content_of
from aggregator.ids.identities import Identities
from aggregator.reading.plain_events import PlainEvents

IDENTITIES = Identities(b"a test's")
FOREIGN = "foreign"
LATEST_MS = 4_000_000_000_000
COMPACT = b'{"id":"q-1","source":"s","time":"2026-11-22T10:00:00.250Z","customer":"c","usage":{"input":1,"output":20},"dimensions":{"model":"m"}}'
SPACED = b'{"dimensions": {}, "usage": {"output": 0}, "time": "2026-11-22T10:00:00+01:00", "id": "q", "source": "s", "customer": "c" }'
LAST = b'{"id":"q","source":"s","time":"2026-11-22T10:00:00Z","dimensions":{"a":"b","model":"m"},"customer":"c","usage":{"input":7}}'
TEXTS = [COMPACT, SPACED, LAST]
PIECES = [
    *[b'"', b"\\", b"\n", b"\\u0022", b"\\n", b",", b":", b"{", b"}", b" ", b"\x00", b"\x7f", b"\xff", "é".encode(), b"\xed\xa0\x80", b"\t"],
    *[b"0", b"01", b"-1", b"1.0", b"1e3", b"1000000000000", b"1000000000001", b"9999999999999", b"99999999999999999999", b"true", b"null"],
    *[b'"id":"q-2",', b'"input":5,', b'"other":5,', b',"input":1', b'"customer":"foreign"', b"foreign", b'"c"', b'"d"', b"x" * 128, b"x" * 129],
    *[b"2026-11-22T10:00:00.250Z", b"2026-02-30T10:00:00.250Z", b"1969-12-31T23:59:59.999Z", b"2026-11-22T24:00:00.000Z", b"60.000Z", b"0000", b"Z"],
    *[b"", COMPACT, b"\n" + COMPACT, COMPACT + b"\n"],
]


def marks(text: bytes) -> list[int]:
    """The places before and after what JSON gives a meaning."""
    found = {0, len(text), *(place + after for place, byte in enumerate(text) if byte in b'"{},: ' for after in (0, 1))}
    return sorted(found)


def experienced(texts: Sequence[bytes] = TEXTS) -> PlainEvents:
    plain = PlainEvents(frozenset({"input", "output"}), lambda customer: customer != FOREIGN, IDENTITIES, 1)
    for text in texts:
        plain._pause = 0
        plain.read([text], np.zeros(1, np.int64), np.full(1, LATEST_MS))
    return plain


def read(plain: PlainEvents, values: Sequence[bytes]) -> list[tuple[object, ...] | None]:
    """The facts of each event, or None where the long way is to be gone."""
    odd, columns = plain.read(values, np.zeros(len(values), np.int64), np.full(len(values), LATEST_MS))
    assert list(odd) == sorted(set(odd))
    chosen = [place for place in range(len(values)) if place not in odd]
    assert len(chosen) == (len(columns) if columns is not None else 0)
    found: list[tuple[object, ...] | None] = [None] * len(values)
    for at, place in enumerate(chosen):
        assert columns is not None
        usage = {name: int(column[at]) for name, column in columns.usage.items() if column[at]}
        found[place] = (each(columns.identities)[at], int(columns.contents[at]), int(columns.times[at]), plain.series[columns.series[at]], usage)
    return found


def facts(value: bytes) -> tuple[object, ...]:
    """The same of an event by the long way. Raises what is wrong with it."""
    event = parse_event(orjson.loads(value), arrival_ms=-1)
    assert event.customer != FOREIGN
    usage = {name: quantity for name, quantity in event.usage if quantity}
    identity = IDENTITIES.of(event.customer, event.fingerprint)
    return identity, content_of(event.customer, event.dimensions, event.usage), event.time_ms, (event.customer, event.dimensions), usage
