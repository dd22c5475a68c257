"""What a record of usage.events says: a batch, a heartbeat, or a single event in any of its forms."""

from typing import Any

import numpy as np
from taximeter_emitter.wire.batch import FORMAT_KEY, Batch
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import UsageEvent, parse_cloudevent, parse_event, parse_json

from metering.records.batch_decoding import KnownTexts, decode_batch
from metering.records.notes.looked_up_ids import looked_up_in
from metering.records.record import LogRecord
from metering.records.service_limits import EVENT_VALUE_BYTES_MAX

_JSON_TYPES = ("application/json", "application/cloudevents+json", "text/json")


def read(record: LogRecord, known: KnownTexts | None = None) -> Batch | UsageEvent:
    """Decode a record. Raises EventRejected, which says what is wrong with it. `known`: of the batches that this reader has read before."""
    attributes = _cloudevent_attributes(record) if record.headers and record.value is not None else None
    document = decoded(record)
    if attributes is not None:
        return parse_cloudevent(attributes, document, arrival_ms=record.timestamp)
    return understood(record, document, known)


def decoded(record: LogRecord) -> Any:
    """The JSON value of a record. Raises EventRejected."""
    if record.value is None:
        raise EventRejected(Reason.NULL_VALUE, "", "the record has no value; a usage event is never deleted by a tombstone")
    if len(record.value) > EVENT_VALUE_BYTES_MAX:
        raise EventRejected(Reason.TOO_LONG, "", f"the record has {len(record.value):,} bytes; at most {EVENT_VALUE_BYTES_MAX:,} are read")
    return parse_json(record.value)


def understood(record: LogRecord, document: Any, known: KnownTexts | None = None) -> Batch | UsageEvent:
    """What the decoded value of a record without attributes in its headers says. Raises EventRejected."""
    if type(document) is dict and FORMAT_KEY in document:
        batch = decode_batch(document, known)
        return with_looked_up(batch, record) if record.headers else batch
    return parse_event(document, arrival_ms=record.timestamp)


def with_looked_up(batch: Batch, record: LogRecord) -> Batch:
    """The batch with the identities that its events were written without, after they were looked for in the log."""
    looked_up = looked_up_in(record, batch.count)
    if looked_up is None:
        return batch
    own = np.frombuffer(batch.ids or bytes(len(looked_up.fingerprints)), np.uint64).reshape(-1, 2)
    beside = np.frombuffer(looked_up.fingerprints, np.uint64).reshape(-1, 2)
    return batch._replace(ids=np.where(own.any(axis=1, keepdims=True), own, beside).tobytes())


def _cloudevent_attributes(record: LogRecord) -> dict[str, Any] | None:
    """The attributes of a CloudEvent in binary mode, or None. Tracing and other foreign headers are let through; ours must be known."""
    attributes: dict[str, Any] = {}
    for name, value in record.headers:
        lower = name.lower()
        if lower.startswith(("ce_", "ce-")):
            attributes[lower[3:]] = _header_text(name, value)
        elif lower == "content-type":
            content_type = _header_text(name, value).split(";", 1)[0].strip().lower()
            if content_type not in _JSON_TYPES:
                raise EventRejected(Reason.BAD_HEADER, name, f"only JSON is read, not {content_type[:60]!r}")
        elif lower == "content-encoding" or lower.startswith("taximeter-"):
            raise EventRejected(Reason.BAD_HEADER, name, "this header is not known; values are plain JSON")
    if attributes and "specversion" not in attributes:
        raise EventRejected(Reason.BAD_HEADER, "ce_specversion", "is missing, and other ce_ headers are there")
    return attributes or None


def _header_text(name: str, value: bytes | None) -> str:
    if value is None:
        raise EventRejected(Reason.BAD_HEADER, name, "has no value")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise EventRejected(Reason.BAD_HEADER, name, "is not UTF-8") from None
