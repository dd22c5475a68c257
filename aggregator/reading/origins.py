"""Whose events are set aside: what a record says of who sent it, even one that cannot be read."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from taximeter_emitter.wire.batch import EMITTER_CHARS_MAX, FORMAT_KEY
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import UsageEvent, parse_json
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, CUSTOMER_CHARS_MAX, SOURCE_CHARS_MAX

from metering.records.dead_letter import LETTER_CUSTOMERS_MAX, Origin
from metering.records.record import LogRecord
from metering.records.service_limits import EVENT_VALUE_BYTES_MAX

_SOURCE_HEADERS: Final = ("ce_source", "ce-source")


class Claimed(NamedTuple):
    """What an unreadable record says of itself: how many events it stands for, and whose."""

    events: int
    origin: Origin


def origin_of_event(event: UsageEvent) -> Origin:
    """Of a single event."""
    return Origin(source=event.source, customers=((event.customer, 1),))


def origin_of_batch(emitter: str, customers: Iterable[str]) -> Origin:
    """Of events of a batch, by the customer of each."""
    return Origin(emitter=emitter, customers=tuple(Counter(customers).most_common(LETTER_CUSTOMERS_MAX)))


def claimed(record: LogRecord) -> Claimed:
    """Of a record that cannot be read: one event, unless it is a batch and says how many. Nothing that it says is checked but for its size."""
    document = _document(record)
    key = (record.key or b"").decode(errors="replace")
    if FORMAT_KEY in document:
        count = document.get("count")
        events = count if type(count) is int and 0 < count <= BATCH_EVENTS_MAX else 1
        return Claimed(events, Origin(emitter=_text(document, "emitter", EMITTER_CHARS_MAX), customers=_customers(key, events)))
    data = document.get("data")
    customer = _text(document, "customer", CUSTOMER_CHARS_MAX) or _text(data if type(data) is dict else {}, "customer", CUSTOMER_CHARS_MAX)
    source = _text(document, "source", SOURCE_CHARS_MAX) or _source_header(record)
    return Claimed(1, Origin(source=source, customers=_customers(customer or key, 1)))


def _document(record: LogRecord) -> Mapping[str, Any]:
    value = record.value or b""
    if len(value) > EVENT_VALUE_BYTES_MAX:
        return {}
    try:
        document = parse_json(value)
    except EventRejected:
        return {}
    return document if type(document) is dict else {}


def _customers(customer: str, events: int) -> tuple[tuple[str, int], ...]:
    return ((customer[:CUSTOMER_CHARS_MAX], events),) if customer else ()


def _text(document: Mapping[str, Any], name: str, chars_max: int) -> str:
    value = document.get(name)
    return value[:chars_max] if type(value) is str else ""


def _source_header(record: LogRecord) -> str:
    value = next((value for name, value in record.headers if name.lower() in _SOURCE_HEADERS), None)
    return (value or b"").decode(errors="replace")[:SOURCE_CHARS_MAX]
