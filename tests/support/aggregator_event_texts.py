"""Texts of events in each form, what they are changed with, and what they say by the long way."""

from typing import Final

from taximeter_emitter.wire.event import UsageEvent

from aggregator.reading.decoding import read
from metering.records.record import Record

OWN: Final = b'{"id":"q-1","source":"s","time":"2026-11-22T10:00:00.250Z","customer":"c","usage":{"input":1,"output":20},"dimensions":{"model":"m"}}'
SPACED: Final = b'{"dimensions": {}, "usage": {"output": 0}, "time": "2026-11-22T10:00:00+01:00", "id": "q", "source": "s", "customer": "c" }'
BARE: Final = b'{"id":"q","customer":"c","usage":{"input":7}}'
CLOUDEVENT: Final = (
    b'{"specversion":"1.0","id":"q-1","source":"s","type":"t","subject":"c","datacontenttype":"application/json",'
    b'"data":{"usage":{"input":1},"dimensions":{"model":"m"}},"time":"2026-11-22T10:00:00Z"}'
)
WITH_CUSTOMER: Final = b'{"data":{"customer":"c","usage":{"input":3}},"specversion":"1.0","id":"r","source":"s","type":"t"}'
TEXTS: Final = [OWN, SPACED, BARE, CLOUDEVENT, WITH_CUSTOMER]
PIECES: Final = [
    *[b'"', b"\\", b"\n", b"\\u0022", b"\\n", b",", b":", b"{", b"}", b" ", b"\x00", b"\x7f", b"\xff", "é".encode(), b"\xed\xa0\x80", b"\t"],
    *[
        b"0",
        b"01",
        b"-1",
        b"-0",
        b"1.0",
        b"1e3",
        b"1e400",
        b"1000000000000",
        b"1000000000001",
        b"99999999999999999999",
        b"true",
        b"null",
        b"[]",
        b"{}",
    ],
    *[b'"id":"q-2",', b'"input":5,', b'"other":5,', b',"input":1', b'"customer":"foreign"', b"foreign", b'"c"', b'"d"', b"x" * 128, b"x" * 129],
    *[
        b'"customer":"",',
        b'"source":"",',
        b'"time":"",',
        b'"data_base64":"e30=",',
        b'"specversion":"1.0",',
        b'"extension":1,',
        b'"traceparent":"\xff",',
    ],
    *[b"2026-11-22T10:00:00.250Z", b"2026-02-30T10:00:00.250Z", b"1969-12-31T23:59:59.999Z", b"2026-11-22T24:00:00.000Z", b"60.000Z", b"0000", b"Z"],
    *[b"2026-11-22T10:00:6\xc2\xb9.250Z", b"2026/11/22T10:00:00.250Z", b"2026-11-22 10:00:00,250Z"],
    *[b"", OWN, b"\n" + OWN, OWN + b"\n"],
]


def marks(text: bytes) -> list[int]:
    """The places before and after what JSON gives a meaning."""
    found = {0, len(text), *(place + after for place, byte in enumerate(text) if byte in b'"{},: ' for after in (0, 1))}
    return sorted(found)


def by_the_long_way(record: Record) -> UsageEvent:
    """Raises EventRejected."""
    event = read(record)
    assert isinstance(event, UsageEvent)
    return event
