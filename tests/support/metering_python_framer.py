"""The native module's framing in Python, a record at a time: what it must give, and what takes its place where it is not built."""

from typing import Final

import numpy as np

from metering.kafka.batches.framed_response import Framed
from metering.kafka.batches.plain_batches import (
    _CODEC_MASK,
    _CONTROL,
    _LOG_APPEND_TIME,
    _MAGIC,
    _TRANSACTIONAL,
    _VARLONG_BYTES,
    HEADER_BYTES,
    BatchHeader,
    BatchUnreadable,
    _Reader,
    batches,
    header_of,
)
from metering.records.service_limits import BATCH_HEADERS_MAX, BATCH_RECORDS_MAX
from tests.support.metering_framed_records import headers_of

_MAGIC_AT: Final = 16
_ATTRIBUTES_AT: Final = 22
Row = tuple[int, int, list[int]]


class TooManyOfThem(Exception):
    """Records in a batch, or headers of a record."""


class PythonFramer:
    """A Framer. `framed` counts the batches that were."""

    def __init__(self) -> None:
        self.framed = 0

    def frame(self, data: bytes, at: int, from_offset: int, /) -> Framed:
        rows, status, next_offset = list[Row](), None, from_offset
        try:
            for batch in batches(data[at:]):
                status = _unusual(batch)
                if status is not None:
                    break
                header = header_of(batch)
                status = self._add(rows, batch, header, at, from_offset)
                if status is not None:
                    break
                at += len(batch)
                next_offset = max(next_offset, header.next_offset)
        except BatchUnreadable as error:
            if "no whole batch" not in str(error):
                status = "checksum" if "checksum" in str(error) else "damaged"
        return (*_columns(rows), at, next_offset, status)

    def frame_batch(self, data: bytes, from_offset: int, /) -> Framed:
        rows, batch = list[Row](), memoryview(data)
        base, last, first_time, max_time = (
            int.from_bytes(batch[begin:end], "big", signed=True) for begin, end in ((0, 8), (23, 27), (27, 35), (35, 43))
        )
        header = BatchHeader(base, base + last + 1, batch[_ATTRIBUTES_AT], first_time, max_time, -1, int.from_bytes(batch[57:61], "big"))
        status = self._add(rows, batch, header, 0, from_offset)
        return (*_columns(rows), 0 if status else len(data), from_offset if status else max(from_offset, header.next_offset), status)

    def headers(self, data: bytes, at: int, count: int, /) -> tuple[tuple[str, bytes | None], ...]:
        return headers_of(data, at, count)

    def _add(self, rows: list[Row], batch: memoryview, header: BatchHeader, at: int, from_offset: int) -> str | None:
        try:
            found = _rows(batch, header, at)
        except TooManyOfThem:
            return "too-many"
        except BatchUnreadable:
            return "damaged"
        rows += [row for row in found if row[0] >= from_offset]
        self.framed += 1
        return None


def _unusual(batch: memoryview) -> str | None:
    if batch[_MAGIC_AT] != _MAGIC:
        return "form"
    attributes = batch[_ATTRIBUTES_AT]
    for bits, status in ((_CODEC_MASK, "compressed"), (_CONTROL, "control"), (_TRANSACTIONAL, "transactional")):
        if attributes & bits:
            return status
    return None


def _rows(batch: memoryview, header: BatchHeader, at: int) -> list[Row]:
    if header.records > BATCH_RECORDS_MAX:
        raise TooManyOfThem
    reader, rows = _Reader(batch.tobytes(), HEADER_BYTES), list[Row]()
    for _ in range(header.records):
        size = reader.varint()
        begin = reader.at
        reader.byte()
        timestamp = header.first_timestamp + reader.varint(_VARLONG_BYTES)
        if header.attributes & _LOG_APPEND_TIME:
            timestamp = header.max_timestamp
        offset = header.base_offset + reader.varint()
        place = []
        for _ in range(2):
            field = reader.sized()
            length = -1 if field is None else len(field)
            place += [at + reader.at - max(0, length), length]
        count = reader.varint()
        place += [at + reader.at, count]
        if count < 0:
            raise BatchUnreadable("headers")
        if count > BATCH_HEADERS_MAX:
            raise TooManyOfThem
        for _ in range(count):
            if reader.sized() is None:
                raise BatchUnreadable("a header without a name")
            reader.sized()
        if reader.at - begin != size:
            raise BatchUnreadable("size")
        if offset <= (rows[-1][0] if rows else header.base_offset - 1) or offset >= header.next_offset:
            raise BatchUnreadable("offsets")
        rows.append((offset, timestamp, place))
    if reader.at != len(batch):
        raise BatchUnreadable("bytes")
    return rows


def _columns(rows: list[Row]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return (
        np.array([row[0] for row in rows], np.int64),
        np.array([row[1] for row in rows], np.int64),
        np.array([row[2] for row in rows], np.int32).reshape(-1, 6),
    )
