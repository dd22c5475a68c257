"""A dead letter: a record, or some events of it, set aside with the reason and the place it came from, and nothing thrown away."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from taximeter_emitter.wire.errors import Reason

from metering.records.fail_closed import RecordCorrupt
from metering.records.record import LogRecord

LETTER_HEADER: Final = "taximeter-dead-letter"
_ORIGINAL: Final = "original-"
LETTER_CUSTOMERS_MAX: Final = 10  # of one dead letter, in its header


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


def encode_dead_letter(letter: DeadLetter) -> tuple[bytes | None, list[tuple[str, bytes | None]]]:
    """Value and headers of the record of usage.deadletters: the value is the original one, untouched; the headers tell the rest."""
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
    original = [(f"{_ORIGINAL}{name}", value) for name, value in letter.headers]
    return letter.value, [(LETTER_HEADER, orjson.dumps(about)), *original]


def decode_dead_letter(record: LogRecord) -> DeadLetter:
    """Read a record of usage.deadletters that has the header LETTER_HEADER. Raises RecordCorrupt."""
    headers = [(name, value) for name, value in record.headers if name != LETTER_HEADER]
    try:
        about = orjson.loads(dict(record.headers)[LETTER_HEADER] or b"")
        return DeadLetter(
            topic=about["topic"],
            partition=about["partition"],
            offset=about["offset"],
            log_time_ms=about["log_time"],
            reason=Reason(about["reason"]),
            field=about["field"],
            detail=about["detail"],
            indexes=tuple(about["indexes"]),
            events=about["events"],
            key=record.key,
            value=record.value,
            headers=[(name.removeprefix(_ORIGINAL), value) for name, value in headers],
            origin=Origin(about.get("source", ""), about.get("emitter", ""), [(name, count) for name, count in about.get("largest_customers", ())]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise RecordCorrupt(f"offset {record.offset} of the dead letters is no dead letter: {error!r}") from error
