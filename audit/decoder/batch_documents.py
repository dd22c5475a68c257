"""A batch or heartbeat from its decoded JSON: form 1, lists, and form 2, packed columns. Pure."""

import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

import numpy as np
from taximeter_emitter.wire.batch import ABANDONED_RANGES_MAX, EMITTER_CHARS_MAX, FINGERPRINT_BYTES, PARTITION_MAX, SEQUENCE_MAX, TIME_MS_MAX
from taximeter_emitter.wire.kept_ids import KEPT_IDS_CHARS_MAX
from taximeter_emitter.wire.limits import BATCH_EVENTS_MAX, CLOCK_AHEAD_MAX_MS, CUSTOMER_CHARS_MAX, QUANTITY_MAX, USAGE_FIELDS_MAX

from audit.decoder.event_documents import check_name, dimensions_in, is_integer, text_in
from audit.decoder.record_contents import NO_IDENTITY, BatchContents, HeartbeatContents, HeldEvents, NotReadable

_BATCH_FIELDS: Final = {
    *("taximeter", "emitter", "partition", "first_seq", "count", "customers", "series_dimensions", "at", "time", "usage", "dimensions"),
    *("base_time", "stamped", "ids", "kept_ids", "final", "abandoned", "dropped"),
}
_FIELDS: Final = {1: _BATCH_FIELDS, 2: {*_BATCH_FIELDS, "series", "series_customers"}}
_BASE64: Final = re.compile(r"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?", re.ASCII)
_ZEROS: Final = bytes(FINGERPRINT_BYTES)

_Column = Callable[[object, str, int, int], list[int]]


def batch_in(document: Mapping[str, Any], log_time_ms: int, looked_up: bytes = b"") -> BatchContents | HeartbeatContents:
    """The batch or heartbeat of a JSON object with the key `taximeter`. Raises NotReadable.

    `looked_up`: when identities were looked for in the log (8 bytes), and which; of events that were written without.
    A stamped event whose time is up to CLOCK_AHEAD_MAX_MS later than `log_time_ms` happened then; one that is further ahead is in the future.
    """
    form = document["taximeter"]
    if not is_integer(form, 2) or form not in _FIELDS:
        raise NotReadable("taximeter is not 1 or 2")
    unknown = document.keys() - _FIELDS[form]
    if unknown:
        raise NotReadable(f"{min(unknown)[:40]} is not a field of a batch of form {form}")
    count = _integer(document, "count", BATCH_EVENTS_MAX)
    emitter = text_in(document, "emitter", EMITTER_CHARS_MAX)
    partition = _integer(document, "partition", PARTITION_MAX)
    first = _integer(document, "first_seq", SEQUENCE_MAX)
    if count == 0:
        return _heartbeat(document, emitter, partition, first)
    events = _events(document, count, _packed if form == 2 else _listed, log_time_ms)
    return BatchContents(emitter, partition, first, _with_looked_up(events, looked_up))


def _heartbeat(document: Mapping[str, Any], emitter: str, partition: int, first: int) -> HeartbeatContents:
    final, abandoned = document.get("final", False), document.get("abandoned", [])
    if not isinstance(final, bool):
        raise NotReadable("final is no boolean")
    if not isinstance(abandoned, list) or len(abandoned) > ABANDONED_RANGES_MAX or not all(_is_range(pair) for pair in abandoned):
        raise NotReadable("abandoned is not a list of ranges")
    dropped = _integer(document, "dropped", SEQUENCE_MAX) if "dropped" in document else 0
    return HeartbeatContents(emitter, partition, first if final else None, [(first, last) for first, last in abandoned], dropped)


def _events(document: Mapping[str, Any], count: int, column: _Column, log_time_ms: int) -> HeldEvents:
    customers = _list(document, "customers")
    for customer in customers:
        text_in({"customers": customer}, "customers", CUSTOMER_CHARS_MAX)
    dimensions = [dimensions_in(entry) for entry in _list(document, "dimensions")]
    if column is _packed:
        series = _integer(document, "series", BATCH_EVENTS_MAX)
        customers = [customers[place] for place in column(document.get("series_customers"), "series_customers", series, len(customers) - 1)]
    sets = column(document.get("series_dimensions"), "series_dimensions", len(customers), len(dimensions) - 1)
    base = _integer(document, "base_time", TIME_MS_MAX)
    times = [base + after for after in column(document.get("time"), "time", count, TIME_MS_MAX)]
    stamped = _stamped(document, count, column)
    usage = document.get("usage")
    if not isinstance(usage, dict) or not 1 <= len(usage) <= USAGE_FIELDS_MAX:
        raise NotReadable(f"usage is not an object of 1 to {USAGE_FIELDS_MAX} columns")
    for field in usage:
        check_name(field, "usage")
    moments = [log_time_ms if own and 0 < time - log_time_ms <= CLOCK_AHEAD_MAX_MS else time for time, own in zip(times, stamped, strict=True)]
    return HeldEvents(
        series=[(customer, dimensions[place]) for customer, place in zip(customers, sets, strict=True)],
        at=column(document.get("at"), "at", count, len(customers) - 1),
        times=moments,
        copies_from=moments,
        usage={field: column(entries, f"usage.{field}", count, QUANTITY_MAX) for field, entries in usage.items()},
        identities=_identities(document["ids"], count) if "ids" in document else [NO_IDENTITY] * count,
        kept_ids=_kept_ids(document),
    )


def _with_looked_up(events: HeldEvents, looked_up: bytes) -> HeldEvents:
    """The events with the identities that were looked for in the log before they were written without."""
    searched_ms, marks = int.from_bytes(looked_up[:8], "big"), looked_up[8:]
    if len(looked_up) != 8 + FINGERPRINT_BYTES * len(events.at) or searched_ms > TIME_MS_MAX:
        return events
    identities, copies_from = list(events.identities), list(events.copies_from)
    for place in range(len(events.at)):
        mark = marks[FINGERPRINT_BYTES * place : FINGERPRINT_BYTES * (place + 1)]
        if mark != _ZEROS:
            identities[place] = identities[place] or mark
            copies_from[place] = max(copies_from[place], searched_ms)
    return replace(events, identities=identities, copies_from=copies_from)


def _kept_ids(document: Mapping[str, Any]) -> str:
    """For people, so nothing in it can be wrong but its type."""
    text = document.get("kept_ids", "")
    if not isinstance(text, str) or len(text) > KEPT_IDS_CHARS_MAX:
        raise NotReadable("kept_ids is no string")
    return text


def _stamped(document: Mapping[str, Any], count: int, column: _Column) -> list[int]:
    """For each event, whether its sender set the time itself."""
    if "stamped" not in document:
        return [0] * count
    return [1] * count if document["stamped"] is True else column(document["stamped"], "stamped", count, 1)


def _listed(entries: object, name: str, length: int, maximum: int) -> list[int]:
    if not isinstance(entries, list) or len(entries) != length or not length or not all(is_integer(entry, maximum) for entry in entries):
        raise NotReadable(f"{name} is not a list of {length} integers from 0 to {maximum}")
    return entries


def _packed(text: object, name: str, length: int, maximum: int) -> list[int]:
    problem = NotReadable(f"{name} is not a packed column of {length} integers from 0 to {maximum}")
    if not isinstance(text, str) or text[:1] not in {"1", "2", "4", "8"} or not _BASE64.fullmatch(text, 1):
        raise problem
    width, raw = int(text[0]), b64decode(text[1:])
    if not length or len(raw) != width * length:
        raise problem
    entries: list[int] = np.frombuffer(raw, f"<u{width}").tolist()
    if max(entries) > maximum:
        raise problem
    return entries


def _identities(text: object, count: int) -> list[bytes]:
    raw = b64decode(text) if isinstance(text, str) and _BASE64.fullmatch(text) else b""
    if len(raw) != count * FINGERPRINT_BYTES:
        raise NotReadable(f"ids is not the base64 of {FINGERPRINT_BYTES} bytes an event")
    parts = (raw[place : place + FINGERPRINT_BYTES] for place in range(0, len(raw), FINGERPRINT_BYTES))
    return [NO_IDENTITY if part == _ZEROS else part for part in parts]


def _list(document: Mapping[str, Any], name: str) -> list[Any]:
    entries = document.get(name)
    if not isinstance(entries, list) or not 1 <= len(entries) <= BATCH_EVENTS_MAX:
        raise NotReadable(f"{name} is not a list of 1 to {BATCH_EVENTS_MAX} entries")
    return entries


def _integer(document: Mapping[str, Any], name: str, maximum: int) -> int:
    value = document.get(name)
    if not isinstance(value, int) or not is_integer(value, maximum):
        raise NotReadable(f"{name} is not an integer from 0 to {maximum}")
    return value


def _is_range(pair: object) -> bool:
    return isinstance(pair, list) and len(pair) == 2 and all(is_integer(number, 2**64) for number in pair) and pair[0] <= pair[1]
