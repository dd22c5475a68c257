"""Finds the records in the body of a foreign request, and maps each. Pure."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

import orjson
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.limits import EVENT_ID_CHARS_MAX

from ingest.foreign.otlp_json import json_spans
from ingest.foreign.otlp_protobuf import protobuf_spans
from ingest.mappings.compiled_mapping import CompiledMapping, uncountable
from ingest.mappings.foreign_paths import ForeignPath
from ingest.refusals import OF_KEYS, Refusal, RequestRefused
from ingest.requests.bodies import CLOUDEVENT, CLOUDEVENT_BATCH, Rejected, Unmapped, cloudevent_attributes, is_binary
from ingest.requests.body_size import check_lines, check_size

PROTOBUF: Final = "application/x-protobuf"
RECORDS_PER_EVENT: Final = 16
"""A request may have this many records for each event that it may have: a Collector sends all spans, of which few are calls of models."""
VALUES_PER_RECORD: Final = 8
"""A foreign record may have as many values as this many events. LiteLLM's have 300."""
SPAN_VALUES_PER_RECORD: Final = 32
"""Each attribute of a span is two objects."""
_SHOWN_BYTES: Final = 512
_BROKEN_LINE: Final = EventRejected(Reason.MALFORMED_JSON, "", "the line is not valid JSON")


@dataclass(frozen=True, slots=True)
class BrokenLine:
    """A line that is not JSON; the first bytes of it."""

    raw: bytes


@dataclass(slots=True)
class MappedRecords:
    """The records of a body that are not left out. `documents` has what each became: the document of an event, or why there is none."""

    records: list[Any] = field(default_factory=list)
    mappings: list[CompiledMapping | None] = field(default_factory=list)
    documents: list[Any] = field(default_factory=list)
    left_out: int = 0

    def is_set_aside(self, rejected: Rejected) -> bool:
        """Whether a refused record is kept as a dead letter."""
        mapping = self.mappings[rejected.index]
        return mapping is not None and mapping.sets_aside

    def letter(self, rejected: Rejected) -> bytes:
        """What is written to the topic for a refused record: JSON in which each reader sees a mistake, so that it does not count."""
        place = rejected.index
        record, mapping, document = self.records[place], self.mappings[place], self.documents[place]
        if type(record) is BrokenLine:
            return record.raw
        if mapping is not None and type(document) is Unmapped:
            return orjson.dumps(mapping.remains(record), default=str)
        if rejected.reason in OF_KEYS:
            return orjson.dumps(_of_nobody(document, rejected.reason))
        return orjson.dumps(document, default=str)


def map_body(path: ForeignPath, headers: Mapping[str, str], body: bytes, *, events_max: int) -> MappedRecords:
    """Map the records of a body. Raises RequestRefused if there are none, or too many."""
    records = records_in(path, headers, body, events_max=events_max)
    if len(records) > RECORDS_PER_EVENT * events_max:
        raise RequestRefused(Refusal.TOO_MANY_EVENTS, f"more than {RECORDS_PER_EVENT * events_max} records")
    found = MappedRecords()
    only = None if path.by_type else path.otherwise
    for record in records:
        mapping = only or path.mapping_of(record)
        document: Any = record
        if mapping is not None:
            try:
                document = mapping.event(record)
            except EventRejected as refusal:
                document = Unmapped(_BROKEN_LINE if type(record) is BrokenLine else refusal, _id_of(record))
            if document is None:
                found.left_out += 1
                continue
        found.records.append(record)
        found.mappings.append(mapping)
        found.documents.append(document)
    if len(found.documents) > events_max:
        raise RequestRefused(Refusal.TOO_MANY_EVENTS, f"{len(found.documents)} events; a request takes {events_max}")
    return found


def records_in(path: ForeignPath, headers: Mapping[str, str], body: bytes, *, events_max: int) -> list[Any]:
    """The records of a body, decoded. Raises RequestRefused."""
    return _FORMS[path.form](headers, body, events_max)


def _id_of(record: Any) -> str | None:
    found = record.get("id") if type(record) is dict else None
    return found[:EVENT_ID_CHARS_MAX] if type(found) is str else None


def _of_nobody(document: dict[str, Any], reason: str) -> dict[str, Any]:
    """The document without its customer, because the key may not send it. A dimension says which customer, or which source, it is not for."""
    whose = {reason: document["customer"]}
    if reason == Refusal.SOURCE_NOT_ALLOWED.reason:
        whose = {reason: document.get("source", ""), "customer": document["customer"]}
    dimensions = {**document.get("dimensions", {}), **whose}
    return uncountable({**{name: value for name, value in document.items() if name != "customer"}, "dimensions": dimensions})


def _plain_records(_: Mapping[str, str], body: bytes, events_max: int) -> list[Any]:
    """Objects, an array of them, or one a line. Senders differ in what they call that, so the bytes decide."""
    check_size(body, VALUES_PER_RECORD * events_max)
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        if b"\n" not in body.strip():
            raise RequestRefused(Refusal.MALFORMED_JSON, f"not valid JSON: {error}") from None
        check_lines(body, events_max)
        return [_line(line) for line in body.split(b"\n") if line.strip()]
    return value if type(value) is list else [value]


def _line(raw: bytes) -> Any:
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        return BrokenLine(raw[:_SHOWN_BYTES])


def _cloudevents(headers: Mapping[str, str], body: bytes, events_max: int) -> list[Any]:
    """One in binary or structured mode, or an array of them."""
    check_size(body, VALUES_PER_RECORD * events_max)
    value = _decoded(body)
    content_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    if is_binary(headers) and content_type not in {CLOUDEVENT, CLOUDEVENT_BATCH}:
        return [{**cloudevent_attributes(headers), "data": value}]
    return [_said(each) for each in (value if type(value) is list else [value])]


def _said(value: Any) -> Any:
    if type(value) is dict and value.get("specversion") != "1.0":
        # Without it our own form would be read, in which an event needs no type.
        return {**value, "specversion": value.get("specversion", "none")}
    return value


def _spans(headers: Mapping[str, str], body: bytes, events_max: int) -> list[Any]:
    """The spans of an OTLP request."""
    if is_protobuf(headers):
        spans = protobuf_spans(body)
    else:
        check_size(body, SPAN_VALUES_PER_RECORD * events_max)
        spans = json_spans(_decoded(body))
    return list(islice(spans, RECORDS_PER_EVENT * events_max + 1))


def is_protobuf(headers: Mapping[str, str]) -> bool:
    """Whether an OTLP request is in protobuf, and its answer has to be."""
    return headers.get("content-type", "").partition(";")[0].strip().lower() == PROTOBUF


def _decoded(body: bytes) -> Any:
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestRefused(Refusal.MALFORMED_JSON, f"not valid JSON: {error}") from None


_FORMS: Final[Mapping[str, Callable[[Mapping[str, str], bytes, int], list[Any]]]] = {
    "records": _plain_records,
    "cloudevents": _cloudevents,
    "otlp": _spans,
}
