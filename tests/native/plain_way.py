"""What the plain way makes of what a broker sent: the records, and what each says."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from taximeter_emitter.wire.batch import FINGERPRINT_BYTES, NO_ID, Batch
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import Dimensions, UsageEvent, check_text, parse_dimensions, parse_json
from taximeter_emitter.wire.limits import CUSTOMER_CHARS_MAX

from aggregator.reading.decoding import read
from metering.kafka.batches.plain_batches import BatchHeader, BatchUnreadable, PlainRecord, header_of, records_of
from metering.records.record import LogRecord

_CODEC, _TRANSACTIONAL, _CONTROL = 0x07, 0x10, 0x20
_INT64: Final = range(-(2**63), 2**63)
_FRAME_BYTES: Final = 17
_LENGTH_MIN: Final = 5


@dataclass(slots=True)
class Framing:
    """As `taximeter_native.frame` says it, with records in place of places."""

    next_offset: int
    records: list[PlainRecord] = field(default_factory=list)
    next_at: int = 0
    status: str | None = None


def framing(data: bytes, from_offset: int) -> Framing:
    """The records of whole batches up to the first that is not an ordinary one."""
    found = Framing(from_offset)
    for batch in _whole(data):
        if batch is None:
            found.status = "damaged"
            break
        try:
            header = header_of(batch)
        except BatchUnreadable as error:
            found.status = "form" if "form" in str(error) else "checksum" if "checksum" in str(error) else "damaged"
            break
        found.status = _reason(header) or _add(found, batch, header)
        if found.status is not None:
            break
        found.next_at += len(batch)
    return found


def _whole(data: bytes) -> Iterator[memoryview | None]:
    """Batches; None for a length that cannot be."""
    at = 0
    while len(data) - at >= _FRAME_BYTES:
        length = int.from_bytes(data[at + 8 : at + 12], "big", signed=True)
        if length < _LENGTH_MIN:
            yield None
            return
        end = at + 12 + length
        if end > len(data):
            return
        yield memoryview(data)[at:end]
        at = end


def _reason(header: BatchHeader) -> str | None:
    if header.is_control:
        return "control"
    if header.is_transactional:
        return "transactional"
    return "compressed" if header.attributes & _CODEC else None


def _add(found: Framing, batch: memoryview, header: BatchHeader) -> str | None:
    """Adds the records of a batch that were not given out yet; otherwise the reason why it cannot be read."""
    try:
        records = list(records_of(batch, header))
    except BatchUnreadable as error:
        return "too-many" if "at most" in str(error) or "more than 10,000 headers" in str(error) else "damaged"
    if any(number not in _INT64 for record in records for number in (record.offset, record.offset + 1, record.timestamp)):
        return "damaged"  # Kafka's own clients refuse such a number; here integers have no end
    if header.next_offset not in _INT64:
        return "damaged"
    for record in records:
        if record.offset >= found.next_offset:
            found.records.append(record)
            found.next_offset = record.offset + 1
    found.next_offset = max(found.next_offset, header.next_offset)
    return None


@dataclass(frozen=True, slots=True)
class Seen:
    """One event, however it was read."""

    customer: str
    dimensions: Dimensions
    time_ms: int
    stamped: bool
    fingerprint: bytes
    usage: tuple[tuple[str, int], ...]
    """Without zeros: a column has one where an event has nothing."""


@dataclass(frozen=True, slots=True)
class SeenRecord:
    """What a record says. `batch`: emitter, first number and count."""

    events: tuple[Seen, ...]
    batch: tuple[str, int, int] | None = None


def said(record: LogRecord) -> SeenRecord | None:
    """None: it is refused."""
    try:
        found = read(record)
    except EventRejected:
        return None
    return _of_batch(found) if isinstance(found, Batch) else _of_event(found)


def _of_event(event: UsageEvent) -> SeenRecord:
    return SeenRecord((Seen(event.customer, event.dimensions, event.time_ms, False, event.fingerprint, _some(event.usage)),))


def _of_batch(batch: Batch) -> SeenRecord:
    events = []
    for index in range(batch.count):
        series = batch.at[index]
        stamped = batch.stamped if isinstance(batch.stamped, bool) else batch.stamped[index] == 1
        fingerprint = batch.ids[index * FINGERPRINT_BYTES : (index + 1) * FINGERPRINT_BYTES] or NO_ID
        usage = _some(sorted((name, column[index]) for name, column in batch.usage.items()))
        dimensions = batch.dimensions[batch.series_dimensions[series]]
        events.append(Seen(batch.customers[series], dimensions, batch.base_time_ms + batch.time[index], stamped, fingerprint, usage))
    return SeenRecord(tuple(events), (batch.emitter, batch.first_seq, batch.count))


def _some(usage: "list[tuple[str, int]] | tuple[tuple[str, int], ...]") -> tuple[tuple[str, int], ...]:
    return tuple((name, quantity) for name, quantity in usage if quantity)


class LearntSeries:
    """Numbers series as a user of the native reader does, from their JSON texts. Customers for which `refused` is true are never learnt."""

    def __init__(self, refused: Callable[[str], bool] = lambda customer: customer == "away") -> None:
        self.found: list[tuple[str, Dimensions]] = []
        self.asked: list[tuple[bytes, bytes]] = []
        self._refused = refused

    def __call__(self, customer: bytes, dimensions: bytes) -> int:
        self.asked.append((customer, dimensions))
        try:
            name = check_text(parse_json(customer), "customer", CUSTOMER_CHARS_MAX)
            found = parse_dimensions(parse_json(dimensions), "dimensions")
        except EventRejected:
            return -1
        if self._refused(name):
            return -1
        self.found.append((name, found))
        return len(self.found) - 1


def printable_bits() -> bytes:
    """A bit for each code point that Python calls printable, the lowest first."""
    return np.packbits(np.array([chr(code).isprintable() for code in range(0x110000)]), bitorder="little").tobytes()
