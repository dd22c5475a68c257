"""One line, row or event of what is brought in: what it says, or what is wrong with it. Pure."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from taximeter_emitter.wire.batch import NO_ID, TIME_MS_MAX
from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import Dimensions, check_text, fingerprint, parse_event
from taximeter_emitter.wire.limits import SOURCE_CHARS_MAX

from aggregator.importing.columns import at_path, document_of

_MADE_UP_ID: Final = "-"
_MADE_UP_TIME: Final = "1970-01-01T00:00:00Z"


class SourceEvent(NamedTuple):
    """An event that is brought in. `fingerprint`: 16 bytes, NO_ID for an event without an id."""

    customer: str
    dimensions: Dimensions
    time_ms: int
    usage: tuple[tuple[str, int], ...]
    fingerprint: bytes


class SourceEntry(NamedTuple):
    """What is at `place`, in words: an event, or why it is none."""

    place: str
    content: SourceEvent | EventRejected


class WholeLines:
    """Reads JSON values that are events in our own form, or CloudEvents. `source` is that of events that name none."""

    def __init__(self, source: str) -> None:
        self._source = source

    def read(self, value: Any) -> SourceEvent:
        """One event. Raises EventRejected."""
        return read_document(value, self._source)


class MappedLines:
    """Reads lines by their columns: `fields` has the field of each."""

    def __init__(self, fields: Mapping[str, str], source: str, *, nested: bool = False) -> None:
        self._fields = fields
        self._source = source
        self._nested = nested

    def read(self, value: Any) -> SourceEvent:
        """One event, of a mapping of columns to values. Raises EventRejected."""
        if not isinstance(value, dict):
            raise EventRejected(Reason.NOT_AN_OBJECT, "", "must be an object")
        if self._nested:
            value = {column: at_path(value, column) for column in self._fields}
        return read_document(document_of(value, self._fields), self._source)


def read_document(value: Any, source: str) -> SourceEvent:
    """One event in our own form, whose time may also be milliseconds, or a CloudEvent. It needs no id, but a time. Raises EventRejected."""
    if isinstance(value, dict):
        if value.get("time") is None:
            raise EventRejected(Reason.MISSING_FIELD, "time", "is missing: what is brought in happened earlier, and says when")
        if "specversion" not in value:
            return _own_form(value, source)
    event = parse_event(value, arrival_ms=0)
    return SourceEvent(event.customer, event.dimensions, event.time_ms, event.usage, event.fingerprint)


def check_source(source: str) -> str:
    """The source for events that name none. Raises EventRejected."""
    return check_text(source, "--source", SOURCE_CHARS_MAX) if source else ""


def _own_form(value: dict[str, Any], source: str) -> SourceEvent:
    moment = value["time"]
    changes: dict[str, Any] = {}
    if type(moment) is int:
        if not 0 <= moment < TIME_MS_MAX:
            raise EventRejected(Reason.BAD_TIME, "time", f"is no time of these centuries: {moment}")
        changes["time"] = _MADE_UP_TIME
    has_id = value.get("id") is not None
    if not has_id:
        changes["id"] = _MADE_UP_ID
    event = parse_event(value | changes if changes else value, arrival_ms=0)
    mark = fingerprint(event.source or source, event.event_id) if has_id else NO_ID
    return SourceEvent(event.customer, event.dimensions, moment if type(moment) is int else event.time_ms, event.usage, mark)
