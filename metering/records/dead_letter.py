"""A dead letter: a record, or some events of it, set aside with the reason and the place it came from, and nothing thrown away."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final

import orjson
from taximeter_emitter.wire.emitter_names import KEY_NAME_HEADER
from taximeter_emitter.wire.errors import Reason
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, EVENT_RECORD_BYTES_MAX

from metering.records.fail_closed import RecordCorrupt
from metering.records.notes.marked_records import text, whole
from metering.records.record import LogRecord

LETTER_HEADER: Final = "taximeter-dead-letter"
_ORIGINAL: Final = "original-"
LETTER_CUSTOMERS_MAX: Final = 10  # of one dead letter, in its header

# Together they fit into the largest record of usage.deadletters, and leave room for the header about it.
VALUE_BYTES_MAX: Final = 3 * EVENT_RECORD_BYTES_MAX // 2
HEADER_BYTES_MAX: Final = EVENT_RECORD_BYTES_MAX // 4
KEY_BYTES_MAX: Final = 64 * 1024
_HEADER_OVERHEAD_BYTES: Final = 10


@dataclass(frozen=True, slots=True)
class Origin:
    """Whose events a dead letter holds, as far as their record says it: the `source` of a single event, the `emitter` of a batch, and how many events
    of which customers, the most first, LETTER_CUSTOMERS_MAX at most. Where nothing can be read, the customer is the key of the record.
    """

    source: str = ""
    emitter: str = ""
    customers: Sequence[tuple[str, int]] = ()


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """What was set aside: the original bytes, and which events of the record (`indexes`; empty for a single event or a whole record).

    Written at least once: after a crash the same letter may be there again, with the same (topic, partition, offset, reason).
    """

    topic: str
    partition: int
    offset: int
    log_time_ms: int
    reason: Reason
    field: str
    detail: str
    indexes: Sequence[int]
    events: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes | None]]
    origin: Origin = Origin()

    @property
    def api_key(self) -> str:
        """The name of the API key with which a gateway got the record, as its header says; "" where it says nothing."""
        return next(((value or b"").decode(errors="replace") for name, value in self.headers if name == KEY_NAME_HEADER), "")

    @property
    def written_key(self) -> bytes | None:
        """The key of its record: the original one, but cut at KEY_BYTES_MAX, and empty where key and value are both null. Kafka's client writes no
        such record.
        """
        if self.key is None:
            return b"" if self.value is None else None
        return self.key[:KEY_BYTES_MAX]


def encode_dead_letter(letter: DeadLetter) -> tuple[bytes | None, list[tuple[str, bytes | None]]]:
    """Value and headers of the record of usage.deadletters: the value is the original one, untouched; the headers tell the rest.

    A record that was compressed may be larger than a dead letter can be. What is left out is in usage.events: `cut_bytes` says how much it is.
    """
    about: dict[str, Any] = {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        "log_time": letter.log_time_ms,
        "reason": letter.reason,
        "field": letter.field,
        "detail": letter.detail[:500],
        "indexes": list(letter.indexes),
        "events": letter.events,
        "source": letter.origin.source,
        "emitter": letter.origin.emitter,
        "largest_customers": letter.origin.customers,
    }
    value = None if letter.value is None else letter.value[:VALUE_BYTES_MAX]
    original = _fitting([(f"{_ORIGINAL}{name}", value) for name, value in letter.headers])
    written = (letter.written_key, value, *(value for _, value in original))
    given = (letter.key, letter.value, *(value for _, value in letter.headers))
    if len(original) < len(letter.headers) or sum(map(_size, written)) < sum(map(_size, given)):
        about["cut_bytes"] = sum(map(_size, given)) - sum(map(_size, written))
    return value, [(LETTER_HEADER, orjson.dumps(about)), *original]


def _fitting(headers: Sequence[tuple[str, bytes | None]]) -> Sequence[tuple[str, bytes | None]]:
    """The first of these that HEADER_BYTES_MAX has room for."""
    sizes = accumulate(len(name.encode()) + _size(value) + _HEADER_OVERHEAD_BYTES for name, value in headers)
    return headers[: sum(1 for size in sizes if size <= HEADER_BYTES_MAX)]


def _size(value: bytes | None) -> int:
    return 0 if value is None else len(value)


def decode_dead_letter(record: LogRecord) -> DeadLetter:
    """Read a record of usage.deadletters that has the header LETTER_HEADER. Raises RecordCorrupt."""
    headers = [(name, value) for name, value in record.headers if name != LETTER_HEADER]
    try:
        about = orjson.loads(dict(record.headers)[LETTER_HEADER] or b"")
        customers = [(text(name), whole(count)) for name, count in about.get("largest_customers", ())]
        return DeadLetter(
            topic=text(about["topic"]),
            partition=whole(about["partition"]),
            offset=whole(about["offset"]),
            log_time_ms=whole(about["log_time"]),
            reason=Reason(about["reason"]),
            field=text(about["field"]),
            detail=text(about["detail"]),
            indexes=tuple(map(_within_a_batch, about["indexes"])),
            events=_within_a_batch(about["events"]),
            key=record.key,
            value=record.value,
            headers=[(name.removeprefix(_ORIGINAL), value) for name, value in headers],
            origin=Origin(text(about.get("source", "")), text(about.get("emitter", "")), customers),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RecordCorrupt(f"offset {record.offset} of the dead letters is no dead letter: {error!r}", offset=record.offset) from error


def _within_a_batch(found: Any) -> int:
    if whole(found) > BATCH_EVENTS_MAX:
        raise ValueError(f"{found} events are in no record")
    return int(found)
