"""Single events in any of their forms, decoded into the values of columns by one typed call each.

What is not read here is None. The long way (aggregator.reading.decoding) reads it, or says what is wrong with it. Everything that is read here obeys
the rules of an event, but for what the reader's user must see to: that texts can be printed, that a time is one, that there are not too many
usage fields, and whose customer it is.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Annotated, Any, Final, Literal, NamedTuple, TypeAlias

import msgspec
from msgspec import Meta, Raw, defstruct
from taximeter_emitter.wire.limits import CUSTOMER_CHARS_MAX, EVENT_ID_CHARS_MAX, NAME_CHARS_MAX, QUANTITY_MAX, SOURCE_CHARS_MAX

from metering.records.record import LogRecord

NO_QUANTITY: Final = -1
"""The quantity of a usage field that an event does not have."""

_TIME_CHARS_MAX: Final = 40
_LAYOUTS_MAX: Final = 1_000
_CATALOGUES_MAX: Final = 64
_JSON_TYPES: Final = frozenset({b"application/json", b"application/cloudevents+json", b"text/json"})
_ATTRIBUTES: Final = ("specversion", "id", "source", "type", "time", "subject")
_REQUIRED: Final = frozenset({"specversion", "id", "source", "type"})
# An event with another one goes the long way: what is passed over is not looked at as closely as by it.
_OTHER_ATTRIBUTES: Final = ("datacontenttype", "dataschema", "traceparent", "tracestate")
_UNREAD: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)

_headers = attrgetter("headers")
_value = attrgetter("value")
_own_fields: Any = attrgetter("id", "source", "time", "customer", "dimensions", "usage")

_Id = Annotated[str, Meta(min_length=1, max_length=EVENT_ID_CHARS_MAX)]
_Source = Annotated[str, Meta(min_length=1, max_length=SOURCE_CHARS_MAX)]
_Customer = Annotated[str, Meta(min_length=1, max_length=CUSTOMER_CHARS_MAX)]
_Time = Annotated[str, Meta(min_length=1, max_length=_TIME_CHARS_MAX)]
_Quantity = Annotated[int, Meta(ge=0, le=QUANTITY_MAX)]


class TypedColumns(NamedTuple):
    """Events. `origins`: what the source of each was given with, which is the source, or that and the type of a CloudEvent. `times`: as texts, ""
    for none. `dimensions`: their JSON as it stands. `usages` have the quantities as attributes, by the names in `TypedEvents.attributes`.
    """

    ids: Sequence[str]
    origins: Sequence[str | tuple[str, str]]
    times: Sequence[str]
    customers: Sequence[str]
    dimensions: Sequence[bytes]
    usages: Sequence[Any]


_Headers: TypeAlias = Sequence[tuple[str, bytes | None]]
_Fields: TypeAlias = tuple[str, str | tuple[str, str], str, str, Raw | bytes, Any]
"""What TypedColumns has of one event."""


class _Layout(NamedTuple):
    """What the headers of a record are for, by their places: content types, and the attributes _ATTRIBUTES of a CloudEvent (-1: it has none), or no
    attributes at all.
    """

    content_types: Sequence[int]
    attributes: Sequence[int] = ()


class _Forms(NamedTuple):
    """Decoders of the forms of an event."""

    own: Callable[[Any], Any]
    cloudevent: Callable[[Any], Any]
    data: Callable[[Any], Any]


@lru_cache(maxsize=_CATALOGUES_MAX)
def _forms_of(attributes: tuple[tuple[str, str], ...]) -> _Forms:
    """For all partitions with these usage fields: to make the types takes half a millisecond."""
    usage = defstruct(
        "Usage",
        [(attribute, _Quantity, NO_QUANTITY) for attribute, _ in attributes],
        rename=dict(attributes),
        forbid_unknown_fields=True,
        gc=False,
    )
    no_dimensions = Raw(b"{}")
    data = defstruct(
        "Data", [("usage", usage), ("customer", _Customer, ""), ("dimensions", Raw, no_dimensions)], forbid_unknown_fields=True, gc=False
    )
    own = defstruct(
        "Own",
        [
            ("id", _Id),
            ("customer", _Customer),
            ("usage", usage),
            ("source", _Source, ""),
            ("time", _Time, ""),
            ("dimensions", Raw, no_dimensions),
        ],
        forbid_unknown_fields=True,
        gc=False,
    )
    cloudevent = defstruct(
        "CloudEvent",
        [
            *[("specversion", Literal["1.0"]), ("id", _Id), ("source", _Source), ("type", _Id), ("data", data)],
            *[("time", _Time, ""), ("subject", str, "")],
            *[(name, str, "") for name in _OTHER_ATTRIBUTES],
        ],
        forbid_unknown_fields=True,
        gc=False,
    )
    return _Forms(*(msgspec.json.Decoder(form).decode for form in (own, cloudevent, data)))


class TypedEvents:
    """Reads events whose usage fields are all among these. `attributes`: attribute and name of each field."""

    def __init__(self, usage_fields: Iterable[str]) -> None:
        names = sorted(name for name in usage_fields if 0 < len(name) <= NAME_CHARS_MAX and name.isprintable())
        self.attributes = [(f"field_{place}", name) for place, name in enumerate(names)]
        forms = _forms_of(tuple(self.attributes))
        self._own, self._cloudevent, self._data = forms.own, forms.cloudevent, forms.data
        self._forms: list[Callable[[bytes], _Fields]] = [self._own_form, self._structured]  # the one that most are of comes first
        self._others = 0  # of those that are read, how many were not of the first form
        self._layouts: dict[tuple[str, ...], _Layout | None] = {}

    def read(self, records: Sequence[LogRecord]) -> tuple[Sequence[int], TypedColumns | None]:
        """The places of those that are read, and their columns, if there are any. The records have values."""
        fields = self._all_of_own_form(records)
        places: Sequence[int] = range(len(records))
        if fields is None:
            found = self._each(records)
            places = [place for place in places if found[place] is not None]
            if not places:
                return (), None
            fields = filter(None, found)
        ids, origins, times, customers, dimensions, usages = zip(*fields, strict=True)
        return places, TypedColumns(ids, origins, times, customers, list(map(bytes, dimensions)), usages)

    def _all_of_own_form(self, records: Sequence[LogRecord]) -> Iterable[_Fields] | None:
        """None if one is of another form, or is not read. Nearly all of it runs in C."""
        if self._forms[0] != self._own_form or any(not self._is_foreign(headers) for headers in filter(None, map(_headers, records))):
            return None
        try:
            return map(_own_fields, list(map(self._own, map(_value, records))))
        except _UNREAD:
            return None

    def _each(self, records: Sequence[LogRecord]) -> list[_Fields | None]:
        found = []
        self._others = 0
        for record in records:
            value: Any = record.value
            try:
                found.append(self._with_headers(record) if record.headers else self._either(value))
            except _UNREAD:
                found.append(None)
        if 2 * self._others > len(records):
            self._forms.reverse()
        return found

    def _either(self, value: bytes) -> _Fields:
        first, second = self._forms
        try:
            return first(value)
        except _UNREAD:
            fields = second(value)
            self._others += 1
            return fields

    def _own_form(self, value: bytes) -> _Fields:
        fields: _Fields = _own_fields(self._own(value))
        return fields

    def _structured(self, value: bytes) -> _Fields:
        event = self._cloudevent(value)
        data = event.data
        return event.id, (event.source, event.type), event.time, data.customer or event.subject, data.dimensions, data.usage

    def _is_foreign(self, headers: _Headers) -> bool:
        """Whether they say nothing of the event."""
        layout = self._layout(headers)
        return layout is not None and not layout.attributes and _are_json(headers, layout)

    def _with_headers(self, record: LogRecord) -> _Fields | None:
        """A record whose headers are foreign, or the attributes of a CloudEvent in binary mode."""
        value: Any = record.value
        headers = record.headers
        layout = self._layout(headers)
        if layout is None or not _are_json(headers, layout):
            return None
        if not layout.attributes:
            return self._either(value)
        texts = ["" if place < 0 else (headers[place][1] or b"").decode() for place in layout.attributes]
        if layout.attributes.count(-1) != texts.count(""):
            return None  # one is there and empty
        version, event_id, source, kind, time, subject = texts
        if version != "1.0" or len(event_id) > EVENT_ID_CHARS_MAX:
            return None
        data = self._data(value)
        return event_id, (source, kind), time, data.customer or subject, data.dimensions, data.usage

    def _layout(self, headers: _Headers) -> _Layout | None:
        """None where a header has a meaning that is not read here."""
        names = tuple([name for name, _ in headers])
        if names not in self._layouts:
            if len(self._layouts) >= _LAYOUTS_MAX:
                self._layouts.clear()
            self._layouts[names] = _layout_of(names)
        return self._layouts[names]


def _layout_of(names: Sequence[str]) -> _Layout | None:
    attributes: dict[str, int] = {}
    content_types = []
    for place, name in enumerate(map(str.lower, names)):
        if name.startswith(("ce_", "ce-")):
            if name[3:] in attributes:
                return None
            attributes[name[3:]] = place
        elif name == "content-type":
            content_types.append(place)
        elif name == "content-encoding" or name.startswith("taximeter-"):
            return None
    if not attributes:
        return _Layout(content_types)
    if not attributes.keys() >= _REQUIRED:
        return None
    return _Layout(content_types, [attributes.get(name, -1) for name in _ATTRIBUTES])


def _are_json(headers: _Headers, layout: _Layout) -> bool:
    return not layout.content_types or all(_is_json(headers[place][1]) for place in layout.content_types)


def _is_json(content_type: bytes | None) -> bool:
    return content_type is not None and content_type.split(b";", 1)[0].strip().lower() in _JSON_TYPES
