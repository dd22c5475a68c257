"""Framed records of any others, written in Kafka's form into bytes of their own; no native code is needed."""

from collections.abc import Sequence

import numpy as np

from metering.kafka.batches.framed_records import FramedRecords
from metering.kafka.batches.plain_batches import _name, _Reader
from metering.records.record import LogRecord
from tests.support.wire_records import varint

_BEFORE = b'{"before":1}'  # something that is not the first record


def framed(records: Sequence[LogRecord]) -> FramedRecords:
    """The same records. Names of headers must be UTF-8."""
    data, places = bytearray(_BEFORE), list[tuple[int, ...]]()
    for record in records:
        place = []
        for field in (record.key, record.value):
            data += varint(-1 if field is None else len(field))
            place += [len(data), -1 if field is None else len(field)]
            data += field or b""
        data += varint(len(record.headers))
        places.append((*place, len(data), len(record.headers)))
        for name, value in record.headers:
            data += varint(len(name.encode())) + name.encode() + varint(-1 if value is None else len(value)) + (value or b"")
    return FramedRecords(
        bytes(data),
        np.array([record.offset for record in records], np.int64),
        np.array([record.timestamp for record in records], np.int64),
        np.array(places, np.int32).reshape(-1, 6),
        headers_of,
    )


def headers_of(data: bytes, at: int, count: int) -> tuple[tuple[str, bytes | None], ...]:
    """As taximeter_native.headers gives them."""
    reader = _Reader(data, at)
    return tuple((_name(reader), reader.sized()) for _ in range(count))
