"""Reads the events of a request body, and accepts or refuses each on its own. Pure.

The content type decides the form: an event or an array of events (application/json), one event a line (application/x-ndjson), a CloudEvent
(application/cloudevents+json), an array of CloudEvents (application/cloudevents-batch+json), or a CloudEvent in binary mode (`ce-` headers,
and its data as application/json).
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import UsageEvent, check_not_in_future, parse_cloudevent, parse_event, parse_json
from taximeter_emitter.wire.limits import EVENT_ID_CHARS_MAX

from ingest.refusals import Refusal, RequestRefused
from ingest.requests.body_size import check_lines, check_size, has_too_many_values, is_large
from ingest.requests.event_age import check_age
from ingest.requests.request_columns import ColumnReader, RequestPart, parts_of
from metering.records.meters import Catalogue, below_zero_text
from metering.records.service_limits import EVENT_AGE_MAX_MS

JSON: Final = "application/json"
NDJSON: Final = "application/x-ndjson"
CLOUDEVENT: Final = "application/cloudevents+json"
CLOUDEVENT_BATCH: Final = "application/cloudevents-batch+json"
MEDIA_TYPES: Final = (JSON, NDJSON, CLOUDEVENT, CLOUDEVENT_BATCH)

_OTHER_JSON: Final = re.compile(r"application/[a-z0-9!#$&^_.+-]+\+json")
_CE_PREFIX: Final = "ce-"
# With at least this many events, reading columns costs less than reading one event after the other.
_COLUMNS_FROM: Final = 4
_MEDIA_TYPES_CACHED: Final = 64


@dataclass(frozen=True, slots=True)
class Rejected:
    """A refused event of a request: its place, its id if that could be read, and the reason."""

    index: int
    event_id: str | None
    reason: str
    field: str
    detail: str


@dataclass(frozen=True, slots=True)
class Unmapped:
    """A record of which no mapping could make an event, and why."""

    refusal: EventRejected
    event_id: str | None = None


@dataclass(slots=True)
class ReadEvents:
    """The events of a body. `accepted` groups acceptable ones by usage fields. `is_single`: the body is one event, not a list of one."""

    is_single: bool
    count: int
    accepted: list[RequestPart]
    rejected: list[Rejected]


class BodyReader:
    """Reads bodies against the catalogue's usage fields. Events older than `age_max_ms` are refused. `keep_ids`: also as texts."""

    def __init__(self, catalogue: Catalogue, *, events_max: int, age_max_ms: int = EVENT_AGE_MAX_MS, keep_ids: bool = False) -> None:
        self._keep_ids = keep_ids
        self._age_max_ms = age_max_ms
        self.follow(catalogue)
        self.events_max = events_max

    def follow(self, catalogue: Catalogue) -> None:
        """From the next body on, this says which usage fields are known."""
        self._catalogue = catalogue
        self._columns = ColumnReader(catalogue.known_fields, age_max_ms=self._age_max_ms, keep_ids=self._keep_ids)

    def read(self, media_type: str, headers: Mapping[str, str], body: bytes, *, now_ms: int) -> ReadEvents:
        """Read the events of a body. `headers` are those of HTTP, or have lower-case names. Raises RequestRefused if no event can be read."""
        if media_type == JSON and is_binary(headers):
            check_size(body, 1)
            return self._read_binary(headers, body, now_ms)
        if media_type == NDJSON:
            check_lines(body, self.events_max)
            suspicious = is_large(body) and has_too_many_values(body, self.events_max)
            values = [_Line(line, suspicious) for line in body.split(b"\n") if line.strip()]
            return self._read_all(values, now_ms)
        check_size(body, self.events_max)
        try:
            value = parse_json(body)
        except EventRejected as refusal:
            raise _broken(refusal) from None
        if media_type == CLOUDEVENT_BATCH and type(value) is not list:
            raise RequestRefused(Refusal.NOT_AN_ARRAY, f"{CLOUDEVENT_BATCH} takes an array of CloudEvents")
        if media_type in {JSON, CLOUDEVENT_BATCH} and type(value) is list:
            return self._read_all(value, now_ms, cloudevents=media_type == CLOUDEVENT_BATCH)
        return self._read_all([value], now_ms, cloudevents=media_type == CLOUDEVENT, is_single=True)

    def read_documents(self, documents: list[Any], *, now_ms: int) -> ReadEvents:
        """Read events that mappings made; some may be Unmapped. Raises RequestRefused if there are too many."""
        return self._read_all(documents, now_ms) if documents else ReadEvents(is_single=False, count=0, accepted=[], rejected=[])

    def unknown_usage(self, read: ReadEvents) -> dict[str, int]:
        """The units of acceptable events that no meter sums and that are not free, by usage field: nobody is billed for them."""
        units: Counter[str] = Counter()
        for part in read.accepted:
            if self._is_known(part):
                continue
            known = [self._catalogue.of(dimensions).known_fields for dimensions in part.events.dimensions]
            for name, quantities in zip(part.events.fields, part.events.quantities, strict=True):
                units[name] += sum(quantity for quantity, fields in zip(quantities, known, strict=True) if name not in fields)
        return {name: quantity for name, quantity in sorted(units.items()) if quantity}

    def _is_known(self, part: RequestPart) -> bool:
        """Whether somebody knows all usage fields of all of its events."""
        fields = part.events.fields
        return all(self._catalogue.of(dimensions).known_fields.issuperset(fields) for dimensions in set(part.events.dimensions))

    def _may_be_below_zero(self, part: RequestPart) -> bool:
        """Whether one of its events may come out below zero for a meter; each is then judged on its own."""
        if not self._catalogue.takes_off:
            return False
        events = part.events
        usages = (dict(zip(events.fields, quantities, strict=True)) for quantities in zip(*events.quantities, strict=True))
        return any(formula.units(usage) < 0 for usage in usages for formula in self._catalogue.takes_off)

    def _read_all(self, values: list[Any], now_ms: int, *, cloudevents: bool = False, is_single: bool = False) -> ReadEvents:
        if not values:
            raise RequestRefused(Refusal.NO_EVENTS, "the body has no events")
        if len(values) > self.events_max:
            raise RequestRefused(Refusal.TOO_MANY_EVENTS, f"{len(values)} events; a request takes {self.events_max}")
        part = self._columns.read(values, now_ms) if len(values) >= _COLUMNS_FROM and not cloudevents else None
        if part is not None and self._is_known(part) and not self._may_be_below_zero(part):
            return ReadEvents(is_single, len(values), [part], [])
        events: list[tuple[int, UsageEvent]] = []
        refused: list[Rejected] = []
        for index, value in enumerate(values):
            found: Any = value
            try:
                if type(value) is _Line:
                    found = value.decoded()
                elif type(value) is Unmapped:
                    raise value.refusal
                if cloudevents and type(found) is dict and "specversion" not in found:
                    raise EventRejected(Reason.MISSING_FIELD, "specversion", "a CloudEvent says specversion 1.0")
                event = parse_event(found, arrival_ms=now_ms)
                self._check(event, now_ms)
            except EventRejected as refusal:
                refused.append(_rejected(index, found, refusal))
            else:
                events.append((index, event))
        return ReadEvents(is_single, len(values), parts_of(events, keep_ids=self._keep_ids), refused)

    def _read_binary(self, headers: Mapping[str, str], body: bytes, now_ms: int) -> ReadEvents:
        attributes = cloudevent_attributes(headers)
        try:
            event = parse_cloudevent(attributes, parse_json(body), arrival_ms=now_ms)
            self._check(event, now_ms)
        except EventRejected as refusal:
            return ReadEvents(is_single=True, count=1, accepted=[], rejected=[_rejected(0, attributes, refusal)])
        return ReadEvents(is_single=True, count=1, accepted=parts_of([(0, event)], keep_ids=self._keep_ids), rejected=[])

    def _check(self, event: UsageEvent, now_ms: int) -> None:
        check_not_in_future(event.time_ms, now_ms)
        check_age(event.time_ms, now_ms, self._age_max_ms)
        if event.customer != event.customer.strip(" "):
            raise EventRejected(Reason.WRONG_TYPE, "customer", f"begins or ends with a space: {event.customer!r}")
        meters = self._catalogue.of(event.dimensions)
        if meters.knows_nothing_of(event.usage):
            name, _ = meters.unknown_in(event.usage)[0]
            raise EventRejected(Reason.UNKNOWN_USAGE_FIELD, f"usage.{name}", meters.why_unknown(name))
        below = meters.below_zero(event.usage)
        if below is not None:
            raise EventRejected(Reason.BELOW_ZERO, f"usage.{below.less[0]}", below_zero_text(below, event.usage))


@dataclass(frozen=True, slots=True)
class _Line:
    """A line of NDJSON, not decoded yet: a broken line must not refuse the others."""

    raw: bytes
    suspicious: bool

    def decoded(self) -> Any:
        """The JSON value of the line. Raises EventRejected."""
        if self.suspicious and has_too_many_values(self.raw, 1):
            raise EventRejected(Reason.TOO_MANY, "", "has more values than an event may have")
        return parse_json(self.raw)


def is_binary(headers: Mapping[str, str]) -> bool:
    """Whether these headers are of a CloudEvent in binary mode. Without a Content-Type its data is JSON."""
    return f"{_CE_PREFIX}specversion" in headers


def cloudevent_attributes(headers: Mapping[str, str]) -> dict[str, str]:
    """The attributes of a CloudEvent in binary mode."""
    lower = {name.lower(): value for name, value in headers.items()}
    return {name.removeprefix(_CE_PREFIX): _decoded(value) for name, value in lower.items() if name.startswith(_CE_PREFIX)}


@lru_cache(maxsize=_MEDIA_TYPES_CACHED)
def media_type_of(content_type: str) -> str:
    """The media type of a Content-Type header; application/*+json is read as JSON. Raises RequestRefused if the gateway does not take it."""
    media_type, *parameters = (part.strip().lower() for part in content_type.split(";"))
    if media_type not in MEDIA_TYPES and _OTHER_JSON.fullmatch(media_type) and not media_type.startswith("application/cloudevents"):
        media_type = JSON
    if media_type not in MEDIA_TYPES:
        raise RequestRefused(Refusal.UNSUPPORTED_MEDIA_TYPE, f"takes {', '.join(MEDIA_TYPES)} and application/*+json", field="content-type")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name == "charset" and value.strip('"') not in {"utf-8", "utf8", "us-ascii"}:
            raise RequestRefused(Refusal.UNSUPPORTED_MEDIA_TYPE, "JSON is UTF-8", field="content-type")
    return media_type


def _rejected(index: int, value: object, refusal: EventRejected) -> Rejected:
    found = value.event_id if isinstance(value, Unmapped) else value.get("id") if isinstance(value, dict) else None
    event_id = found[:EVENT_ID_CHARS_MAX] if isinstance(found, str) else None
    return Rejected(index, event_id, refusal.reason, refusal.field, refusal.detail)


def _broken(refusal: EventRejected) -> RequestRefused:
    return RequestRefused(Refusal.MALFORMED_JSON, refusal.detail)


def _decoded(value: str) -> str:
    # The HTTP binding of CloudEvents says: percent-encoded UTF-8, with or without quotes.
    return unquote(value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value)
