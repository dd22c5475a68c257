"""A single event in its own form or as a CloudEvent, from its decoded JSON. Pure."""

from base64 import b64decode
from collections.abc import Mapping
from hashlib import blake2b
from typing import Any, Final

import orjson
from taximeter_emitter.wire.event import Dimensions
from taximeter_emitter.wire.limits import (
    CUSTOMER_CHARS_MAX,
    DIMENSION_VALUE_CHARS_MAX,
    DIMENSIONS_MAX,
    EVENT_ID_CHARS_MAX,
    NAME_CHARS_MAX,
    QUANTITY_MAX,
    SOURCE_CHARS_MAX,
    USAGE_FIELDS_MAX,
)

from audit.decoder.record_contents import HeldEvents, NotReadable
from audit.decoder.utc_times import unix_ms

_OWN_FIELDS: Final = {"id", "source", "time", "customer", "usage", "dimensions"}
_DATA_FIELDS: Final = {"customer", "usage", "dimensions"}


def event_in(document: object, log_time_ms: int) -> HeldEvents:
    """The event of a JSON value. Without a time it happened at `log_time_ms`. Raises NotReadable."""
    if not isinstance(document, dict):
        raise NotReadable("it is no JSON object")
    if "specversion" in document:
        return cloudevent_in(document, _data_of(document), log_time_ms)
    _only(document, _OWN_FIELDS)
    source = text_in(document, "source", SOURCE_CHARS_MAX) if "source" in document else ""
    return _event(document, document, source, text_in(document, "customer", CUSTOMER_CHARS_MAX), log_time_ms)


def cloudevent_in(attributes: Mapping[str, Any], data: object, log_time_ms: int) -> HeldEvents:
    """The event of a CloudEvent 1.0. Attributes that are not known are allowed. Raises NotReadable."""
    if attributes.get("specversion") != "1.0":
        raise NotReadable("specversion is not 1.0")
    if not isinstance(data, dict):
        raise NotReadable("data is no JSON object")
    _only(data, _DATA_FIELDS)
    text_in(attributes, "type", EVENT_ID_CHARS_MAX)
    source = text_in(attributes, "source", SOURCE_CHARS_MAX)
    customer = text_in(data, "customer", CUSTOMER_CHARS_MAX) if "customer" in data else text_in(attributes, "subject", CUSTOMER_CHARS_MAX)
    return _event(attributes, data, source, customer, log_time_ms)


def identity_of(source: str, event_id: str) -> bytes:
    """The fingerprint of an event that has an id."""
    named = source.encode()
    return blake2b(len(named).to_bytes(4, "big") + named + event_id.encode(), digest_size=16).digest()


def text_in(document: Mapping[str, Any], field: str, chars_max: int) -> str:
    """A required text. Raises NotReadable."""
    text = document.get(field)
    if not isinstance(text, str) or not 1 <= len(text) <= chars_max or not text.isprintable():
        raise NotReadable(f"{field} is not a printable text of 1 to {chars_max} characters")
    return text


def dimensions_in(document: object) -> Dimensions:
    """Keys and values, sorted by key. Raises NotReadable."""
    if not isinstance(document, dict) or len(document) > DIMENSIONS_MAX:
        raise NotReadable(f"dimensions are not an object of at most {DIMENSIONS_MAX} texts")
    for key, text in document.items():
        check_name(key, "dimensions")
        if not isinstance(text, str) or len(text) > DIMENSION_VALUE_CHARS_MAX or not text.isprintable():
            raise NotReadable(f"a dimension is not a printable text of at most {DIMENSION_VALUE_CHARS_MAX} characters")
    return tuple(sorted(document.items()))


def check_name(name: str, what: str) -> None:
    """Raise NotReadable for what is no name of a usage field or dimension."""
    if not 1 <= len(name) <= NAME_CHARS_MAX or not name.isprintable():
        raise NotReadable(f"a name in {what} is not 1 to {NAME_CHARS_MAX} printable characters")


def is_integer(value: object, maximum: int) -> bool:
    """Whether it is an integer from 0 to `maximum`, and no boolean."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= maximum


def _event(named: Mapping[str, Any], told: Mapping[str, Any], source: str, customer: str, log_time_ms: int) -> HeldEvents:
    """The event whose id and time are in `named`, and whose usage and dimensions are in `told`."""
    event_id = text_in(named, "id", EVENT_ID_CHARS_MAX)
    moment = unix_ms(named["time"], "time") if "time" in named else log_time_ms
    dimensions = dimensions_in(told["dimensions"]) if "dimensions" in told else ()
    usage = _usage_in(told.get("usage"))
    columns = {field: (quantity,) for field, quantity in usage.items()}
    return HeldEvents(((customer, dimensions),), (0,), (moment,), (moment,), columns, (identity_of(source, event_id),))


def _usage_in(document: object) -> dict[str, int]:
    if not isinstance(document, dict) or not 1 <= len(document) <= USAGE_FIELDS_MAX:
        raise NotReadable(f"usage is not an object of 1 to {USAGE_FIELDS_MAX} quantities")
    for field, quantity in document.items():
        check_name(field, "usage")
        if not is_integer(quantity, QUANTITY_MAX):
            raise NotReadable(f"a quantity in usage is not an integer from 0 to {QUANTITY_MAX}")
    return document


def _data_of(document: dict[str, Any]) -> object:
    """The data of a CloudEvent in structured mode, which may be base64 of JSON."""
    if "data_base64" not in document:
        return document.get("data")
    text = document["data_base64"]
    if not isinstance(text, str) or "data" in document:
        raise NotReadable("data_base64 is no text, or data is there as well")
    try:
        return orjson.loads(b64decode(text, validate=True))
    except ValueError:
        raise NotReadable("data_base64 is not the base64 of JSON") from None


def _only(document: dict[str, Any], known: set[str]) -> None:
    unknown = document.keys() - known
    if unknown:
        raise NotReadable(f"{min(unknown)[:40]} is not a field of an event")
