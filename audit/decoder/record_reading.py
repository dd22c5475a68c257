"""A record of usage.events, whatever form it has. Pure."""

from typing import Any, Final

import orjson
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX

from audit.decoder.batch_documents import batch_in
from audit.decoder.event_documents import cloudevent_in, event_in, is_integer
from audit.decoder.record_contents import NotReadable, RecordContents, SingleContents, UnreadableContents
from metering.records.record import LogRecord
from metering.records.service_limits import EVENT_VALUE_BYTES_MAX

_JSON_TYPES: Final = {"application/json", "application/cloudevents+json", "text/json"}
_NO_DOCUMENT: Final = object()


def contents_of(record: LogRecord) -> RecordContents:
    """What the record holds. Raises nothing that a record can cause."""
    document: Any = _NO_DOCUMENT
    try:
        document = _document(record.value)
        attributes = _attributes(record)
        if attributes:
            return SingleContents(cloudevent_in(attributes, document, record.timestamp))
        if isinstance(document, dict) and "taximeter" in document:
            return batch_in(document, record.timestamp, _looked_up(record))
        return SingleContents(event_in(document, record.timestamp))
    except NotReadable as problem:
        return UnreadableContents(str(problem), _claimed(document))


def _looked_up(record: LogRecord) -> bytes:
    return next((value or b"" for name, value in record.headers if name == "looked-up-ids"), b"")


def source_of(record: LogRecord) -> str:
    """The source that a single event names; "" for one without, and for what cannot be read."""
    return name_of(record)[0]


def name_of(record: LogRecord) -> tuple[str, str]:
    """Source and id that a single event names; "" for what it has not, and for what cannot be read."""
    try:
        document = _document(record.value)
        named: Any = _attributes(record) or document
    except NotReadable:
        return "", ""
    found = [named.get(field) if isinstance(named, dict) else None for field in ("source", "id")]
    source, event_id = (text if isinstance(text, str) else "" for text in found)
    return source, event_id


def _document(value: bytes | None) -> object:
    if value is None:
        raise NotReadable("it has no value")
    if len(value) > EVENT_VALUE_BYTES_MAX:
        raise NotReadable(f"it has {len(value)} bytes")
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        raise NotReadable("it is no JSON") from None


def _claimed(document: object) -> int:
    """What looks like a batch stands for the events that it says it has, anything else for one."""
    count = document.get("count") if isinstance(document, dict) and "taximeter" in document else None
    return count if isinstance(count, int) and is_integer(count, BATCH_EVENTS_MAX) and count else 1


def _attributes(record: LogRecord) -> dict[str, Any]:
    """The attributes of a CloudEvent in binary mode; none for other records. Raises NotReadable."""
    attributes: dict[str, Any] = {}
    for name, value in record.headers:
        lower = name.lower()
        if lower.startswith(("ce_", "ce-")):
            attributes[lower[3:]] = _text(name, value)
        elif lower == "content-type":
            if _text(name, value).split(";")[0].strip().lower() not in _JSON_TYPES:
                raise NotReadable("content-type is not JSON")
        elif lower == "content-encoding" or lower.startswith("taximeter-"):
            raise NotReadable(f"the header {lower[:40]} is not known")
    if attributes and "specversion" not in attributes:
        raise NotReadable("headers that begin with ce_ are there, and no ce_specversion")
    return attributes


def _text(name: str, value: bytes | None) -> str:
    if value is None:
        raise NotReadable(f"the header {name[:40]} has no value")
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise NotReadable(f"the header {name[:40]} is not UTF-8") from None
