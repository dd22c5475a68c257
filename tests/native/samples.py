"""Record sets of all forms of events, and what they are spoiled with. Drawn by a seed."""

import json
from base64 import b64encode
from collections.abc import Callable
from dataclasses import replace
from random import Random
from typing import Any, Final

import orjson
from taximeter_emitter.wire.packed import pack

from metering.records.notes.looked_up_ids import looked_up_headers
from tests.native.comparison import PARTITION
from tests.native.record_sets import Header, RawBatch, RawRecord, with_checksums
from tests.support.aggregator_event_texts import PIECES as EVENT_PIECES
from tests.support.aggregator_event_texts import TEXTS as EVENT_TEXTS

BASE: Final = 1_000
TIMES: Final = [
    *["2026-11-22T10:00:00.250Z", "2026-11-22T10:00:00Z", "2026-11-22t10:00:00z", "2026-11-22 10:00:00Z", "2026-11-22T10:00:00.123456789Z"],
    *["2026-11-22T10:00:00+01:00", "2026-11-22T10:00:00.5-23:59", "2024-02-29T23:59:59.9Z", "2023-02-29T10:00:00Z", "2016-12-31T23:59:60Z"],
    *["1970-01-01T00:00:00Z", "1969-12-31T23:59:59Z", "1970-01-01T00:30:00+01:00", "9999-12-31T23:59:59.999Z", "9999-12-31T23:59:59-23:59"],
    *["0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "2026-11-22T10:00:00.Z", "2026-11-22T10:00:00,5Z", "2026-11-22T24:00:00Z"],
    *["2026-11-22T10:00:00", "2026-11-22T10:00:00+0100", "2026-11-22T10:00:00+24:00", "2026-11-22T10:00:00-00:00", "20261122T100000.000000Z"],
    *["2026-W47-7T10:00:00Z", "2026-11-22T10:00:00.1234567890123456789Z", "2026-11-22T10:00:00.12345678901234567890Z", "2026-11-22T10:00:00Z ", ""],
    *["2026-11-22T10:00:00.25:Z", "2026-11-22T1:00:000Z", "2100-02-29T00:00:00Z", "2000-02-29T00:00:00.000000Z", "2026-11-22T10:00:0٣Z"],
]
TEXTS: Final = ["s", "inference", "/v1/a b", "é", "日本", "😀", "\u200b", "\u00ad", "a\u0301", "x" * 128, "é" * 128, "x" * 129, "é" * 129, '"', "\\"]
ESCAPES: Final = [rb"\u00e9", rb"\/", rb"\"", rb"\\", rb"\n", rb"\u0041", rb"\ud83d\ude00", rb"\ud800", rb"\udc00", rb"\u0000", rb"\u12", rb"\x"]
PIECES: Final = [
    *EVENT_PIECES,
    *ESCAPES,
    *[rb"\ud83d", rb"\u200b", b"\xc2\x85", b"\xe2\x80\xa8", "😀".encode(), b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\xc0\x80", b"\x1f"],
    *[b'"taximeter":2,', b'"kept_ids":"x",', b'"ids":"AAAA",', b'"final":true,', b'"stamped":true,', b'"stamped":false,', b'"stamped":[1],'],
    *[b'"dimensions":{},', b'"usage":{"input":1},', b'"subject":"z",', b'"type":"t",', b'"data":{},', b"4611686018427387904", b"4611686018427387905"],
    *[b"5000", b"5001", b"253402300800000", b"253402300800001", b"18446744073709551615", b"18446744073709551616", b"=", b"==", b"1AA==", b"8"],
    *[b'"input":1,"input":1,', b'"away"', b"\r\n\t ", b"\x0b", b"-", b"+1", b"0x1", b"1e0", b"NaN", b"[1]", b"[[", b"]]", b"//", b"'"],
]
HEADERS: Final[list[Header]] = [
    *[(b"traceparent", b"00-1-2-01"), (b"tracestate", None), (b"x", b"\xff"), (b"\xff\xfe", b"x"), ("é".encode(), b""), (b"", b"")],
    *[(b"content-type", b"application/json"), (b"Content-Type", b"application/json; charset=utf-8"), (b"content-type", b"text/plain")],
    *[(b"content-type", b" text/json "), (b"content-type", None), (b"content-type", b"application/json;\xff"), (b"content-encoding", b"gzip")],
    *[(b"content-type", "\u00a0application/json".encode()), (b"content-type", b"\x1capplication/json"), (b"content-type", b"application/avro")],
    *[(b"taximeter-x", b"1"), (b"TAXIMETER-x", b"1"), (b"taximeter", b"1"), (b"ce_extension", b"x"), (b"ce-traceparent", b"\xff"), (b"ce_", b"")],
    *[(b"ce_time", b"2026-11-22T10:00:00Z"), (b"CE_ID", b"again"), (b"ce_subject", b'"'), (b"ce_subject", b""), (b"ce_source", None)],
    *[(b"looked-up-ids", bytes(8) + b"x" * 16), (b"looked-up-ids", None), (b"Looked-Up-Ids", b"")],
    *[("ce_\u212aind".encode(), b"x"), (b"\xe2\x84\xaa", b"x"), (b"ce_specversion", b"1.0"), (b"ce_specversion", b"0.3")],
]


def texts(chance: Random) -> str:
    """Of a source, an id, a customer."""
    return chance.choice(TEXTS) if chance.random() < 0.1 else f"t-{chance.randrange(40)}"


def time(chance: Random) -> str:
    """Mostly the usual form."""
    if chance.random() < 0.2:
        return chance.choice(TIMES)
    day, second = chance.randint(1, 28), chance.randrange(60)
    return f"20{chance.randint(10, 60)}-{chance.randint(1, 12):02}-{day:02}T{chance.randrange(24):02}:07:{second:02}.{chance.randrange(1000):03}Z"


def quantity(chance: Random) -> int:
    """From none to the most, and one more."""
    return chance.choice([0, 1, 7, 255, 256, 65_535, 65_536, 10**6, 10**12, chance.randrange(10**6), chance.randrange(10**12), 10**12 + 1])


def _usage(chance: Random) -> dict[str, Any]:
    fields = chance.sample(["input", "output", "cached", "é"], chance.randint(1, 3))
    if chance.random() < 0.02:
        fields.append("mystery")
    return {name: min(quantity(chance), 10**12) for name in fields}


def _dimensions(chance: Random) -> dict[str, str]:
    return {name: texts(chance) for name in chance.sample(["model", "region", "tier", "é"], chance.randint(0, 3))}


def own(chance: Random) -> bytes:
    """A single event in our own form."""
    document: dict[str, Any] = {"id": texts(chance), "customer": texts(chance), "usage": _usage(chance)}
    others = {"source": texts(chance), "time": time(chance), "dimensions": _dimensions(chance)}
    document |= {name: value for name, value in others.items() if chance.random() < 0.8}
    return _written(chance, document)


def _cloudevent(chance: Random) -> dict[str, Any]:
    data: dict[str, Any] = {"usage": _usage(chance)}
    document: dict[str, Any] = {"specversion": "1.0", "id": texts(chance), "source": texts(chance), "type": texts(chance), "data": data}
    for place, name, value in (
        (document, "time", time(chance)),
        (document, "subject", texts(chance)),
        (data, "customer", texts(chance)),
        (data, "dimensions", _dimensions(chance)),
        (document, "datacontenttype", "application/json"),
        (document, "extension", texts(chance)),
    ):
        if chance.random() < 0.7:
            place[name] = value
    return document


def structured(chance: Random) -> bytes:
    """A CloudEvent as one value."""
    return _written(chance, _cloudevent(chance))


def binary(chance: Random) -> RawRecord:
    """A CloudEvent with its attributes in headers."""
    document = _cloudevent(chance)
    data = document.pop("data")
    prefix = chance.choice([b"ce_", b"ce-", b"CE_"])
    headers: list[Header] = [(prefix + name.encode(), value.encode()) for name, value in _shuffled(chance, document).items()]
    return RawRecord(_written(chance, data), headers=headers)


def _shuffled(chance: Random, document: dict[str, Any]) -> dict[str, Any]:
    return dict(chance.sample(list(document.items()), len(document)))


def _written(chance: Random, document: dict[str, Any]) -> bytes:
    """As JSON, of one of several writers."""
    match chance.randrange(4):
        case 0:
            return orjson.dumps(document)
        case 1:
            return json.dumps(_shuffled(chance, document)).encode()
        case 2:
            return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()
        case _:
            return json.dumps(_shuffled(chance, document), indent=chance.choice([None, 1]), ensure_ascii=chance.random() < 0.5).encode()


def batch(chance: Random, events: int | None = None) -> bytes:
    """A batch of an emitter, in one of both forms."""
    count = events or chance.choice([1, 2, 3, 5, 8, 70])
    customers = [texts(chance) for _ in range(chance.randint(1, 3))]
    dimensions = [_dimensions(chance) for _ in range(chance.randint(1, 3))]
    pairs = [(c, d) for c in range(len(customers)) for d in range(len(dimensions))]
    if chance.random() < 0.3:  # some of them, so that it may be that nothing has a customer or dimensions
        pairs = chance.sample(pairs, chance.randint(1, len(pairs)))
    is_packed = chance.random() < 0.5
    column: Callable[[list[int]], Any] = pack if is_packed else list
    document: dict[str, Any] = {
        "taximeter": 2 if is_packed else 1,
        "emitter": texts(chance) if chance.random() < 0.1 else "e1",
        "partition": PARTITION if chance.random() < 0.97 else 2,
        "first_seq": chance.choice([0, 7, 2**62]),
        "count": count,
        "customers": customers if is_packed else [customers[c] for c, _ in pairs],
    }
    if is_packed:
        document |= {"series": len(pairs), "series_customers": pack([c for c, _ in pairs])}
    document |= {
        "series_dimensions": column([d for _, d in pairs]),
        "at": column([chance.randrange(len(pairs)) for _ in range(count)]),
        "time": column([chance.choice([0, 5, 300, 70_000, 2**33]) for _ in range(count)]),
        "usage": {name: column([chance.choice([0, 1, 300, 10**12]) for _ in range(count)]) for name in _usage(chance)},
        "dimensions": dimensions,
        "base_time": chance.choice([0, 1_795_000_000_000, 253_402_300_800_000]),
    }
    if chance.random() < 0.4:
        document["stamped"] = chance.choice([True, column([chance.randrange(2) for _ in range(count)])])
    if chance.random() < 0.4:
        document["ids"] = b64encode(b"".join(chance.choice([bytes(16), chance.randbytes(16)]) for _ in range(count))).decode()
    if chance.random() < 0.1:
        document["kept_ids"] = "anything"
    return orjson.dumps(document) if chance.random() < 0.8 else _written(chance, document)


def heartbeat(chance: Random) -> bytes:
    """A record of an emitter without events."""
    return orjson.dumps({"taximeter": 1, "emitter": "e1", "partition": PARTITION, "first_seq": 4, "count": 0, "final": chance.random() < 0.5})


def record(chance: Random) -> RawRecord:
    """Of any form, with nothing wrong but for odd texts."""
    draw = chance.random()
    key = chance.choice([None, b"c", b""])
    if draw < 0.3:
        found = RawRecord(own(chance), key)
    elif draw < 0.4:
        found = RawRecord(structured(chance), key)
    elif draw < 0.5:
        found = binary(chance)
    elif draw < 0.8:
        found = RawRecord(batch(chance), key)
    elif draw < 0.85:
        events = chance.randint(1, 4)
        looked_up = looked_up_headers(chance.choice([0, 1_795_000_000_000]), bytes(16) + chance.randbytes(16 * events - 16))
        found = RawRecord(batch(chance, events), key, headers=[(name.encode(), value) for name, value in looked_up])
    elif draw < 0.9:
        found = RawRecord(chance.choice(EVENT_TEXTS), key)
    else:
        found = RawRecord(chance.choice([None, b"", heartbeat(chance), own(chance)]), key)
    if chance.random() < 0.1:
        found = replace(found, headers=(*found.headers, HEADERS[chance.randrange(2)]))
    return replace(found, timestamp_delta=chance.choice([0, 0, 3, -1, 10**6]))


def spoiled(chance: Random, found: RawRecord) -> RawRecord:
    """With something changed, which need not be wrong."""
    if chance.random() < 0.25:
        headers = list(found.headers)
        headers.insert(chance.randint(0, len(headers)), chance.choice(HEADERS))
        if chance.random() < 0.3:
            del headers[chance.randrange(len(headers))]
        return replace(found, headers=headers)
    return replace(found, value=_changed(chance, found.value or b""))


def _changed(chance: Random, value: bytes) -> bytes:
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        places = [place + after for place, byte in enumerate(value) if byte in b'"{}[],: ' for after in (0, 1)]
        at = chance.choice(places) if places and chance.random() < 0.8 else chance.randint(0, len(value))
        match chance.randrange(6):
            case 0:
                value = value[:at] + value[at + chance.choice([1, 1, 2, 5]) :]
            case 1:
                value = value[:at] + bytes([chance.randrange(256)]) + value[at + 1 :]
            case 2:
                value = value[:at]
            case 3 if places:
                end = chance.choice(places)
                value = value[: max(at, end)] + value[min(at, end) :]
            case _:
                after = chance.choice([0, 0, 1, 3])
                value = value[:at] + chance.choice(PIECES) + value[at + after :]
        value = value[:3_000]
    return value


def damaged_framing(chance: Random, found: RawBatch) -> RawBatch:
    """With a wrong number somewhere."""
    odd = chance.choice([-(2**31), -9, -1, 0, 1, 2, 60, 2**31 - 1])
    records = list(found.records)
    at = chance.randrange(len(records)) if records else 0
    match chance.randrange(14):
        case 0:
            return replace(found, attributes=chance.choice([1, 2, 3, 4, 7, 8, 16, 32, 48, 64, 9]))
        case 1:
            return replace(found, last_delta=odd)
        case 2:
            return replace(found, count=odd)
        case 3:
            return replace(found, length_added=chance.choice([-1, 1, -60, -200, 10**6, -(10**3)]))
        case 4:
            return replace(found, magic=chance.choice([0, 1, 3, -1]))
        case 5:
            return replace(found, checksum_added=1)
        case 6:
            return replace(found, tail=bytes(chance.randint(1, 9)))
        case 7:
            return replace(found, base_offset=chance.choice([0, -5, 2**63 - 1, 2**63 - 2, -(2**63)]))
        case 8:
            return replace(found, first_timestamp=chance.choice([2**63 - 1, -(2**63), -1]), max_timestamp=chance.choice([-1, 2**63 - 1]))
    changes: list[dict[str, Any]] = [
        {"offset_delta": chance.choice([-1, 0, 1, 5, 2**31, 2**33, -(2**34)])},
        {"timestamp_delta": chance.choice([2**62, -(2**63), 2**63 - 1])},
        {"attributes": chance.randrange(256)},
        {"header_count": chance.choice([-1, 1, 2, 2**31 - 1, 2**33])},
        {"size_added": chance.choice([-1, 1, -9, 2**31, 2**34 - 100])},
        {"padding": b"\0"},
        {"headers": ((None, b"x"),)},
    ]
    if records:
        records[at] = replace(records[at], **chance.choice(changes))
    return replace(found, records=records)


def record_set(chance: Random) -> tuple[bytes, int]:
    """What a broker sent, with whatever is wrong with it, and the offset that was asked for."""
    offset, data = BASE, b""
    for _ in range(chance.choice([1, 1, 1, 2, 3])):
        records = [record(chance) for _ in range(chance.choice([0, 1, 1, 2, 3, 5]))]
        records = [spoiled(chance, found) if chance.random() < 0.6 else found for found in records]
        found = RawBatch(offset, records, attributes=chance.choice([0, 0, 0, 8]))
        if chance.random() < 0.1:
            found = damaged_framing(chance, found)
        data += found.encoded()
        offset += len(records) + chance.choice([0, 0, 1, 4])
    draw = chance.random()
    if draw < 0.05:
        data = data[: chance.randint(0, len(data))]
    elif draw < 0.1:
        changed = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            changed[chance.randrange(len(changed))] = chance.choice([0, 1, 2, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        data = with_checksums(bytes(changed)) if chance.random() < 0.8 else bytes(changed)
    return data, BASE + chance.choice([0, 0, 0, 1, 2, 50, -3])
