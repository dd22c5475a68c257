"""A compiled mapping: makes the document of an event of one foreign record. Pure."""

from collections.abc import Callable, Collection
from typing import Any, Final

from taximeter_emitter.wire.errors import EventRejected, Reason
from taximeter_emitter.wire.event import parse_event, type_name
from taximeter_emitter.wire.limits import DIMENSION_VALUE_CHARS_MAX

from ingest.mappings.field_paths import getter_of, path_text
from ingest.mappings.mapping_table import MappingTable, Members
from ingest.mappings.rules import QuantityRefused, condition_rule, id_rule, is_number_text, quantity_rule, text_rule, time_rule

_Rule = Callable[[Any], Any]
_SHOWN_CHARS: Final = DIMENSION_VALUE_CHARS_MAX
_NOTHING: Final = object()


class CompiledMapping:
    """Makes documents of events in our own form. They are judged like any other event afterwards.

    `sets_aside`: what is refused of its records is kept as a dead letter, because their sender would lose it.
    """

    def __init__(self, table: MappingTable) -> None:
        self.name = table.name
        self.sets_aside = table.refused == "set_aside"
        self._id = id_rule(table.id)
        self._source = text_rule(table.source)
        self._customer = text_rule(table.customer)
        self._time = time_rule(table.time, table.time_unit) if table.time else None
        self._only = condition_rule(table.only) if table.only else None
        self._leave_out = condition_rule(table.leave_out) if table.leave_out else None
        self._usage = tuple((name, quantity_rule(rule, f"usage.{name}")) for name, rule in table.usage.items())
        self._dimensions = tuple((name, text_rule(rule)) for name, rule in table.dimensions.items())
        self._members = None if table.members is None else _members_rule(table.members)

    def event(self, record: object) -> dict[str, Any] | None:
        """The document of a record; None for one that is left out. Raises EventRejected where the record is not as the mapping says."""
        if type(record) is not dict:
            raise EventRejected(Reason.NOT_AN_OBJECT, "", f"a record is a JSON object, this is {type_name.get(type(record), 'something else')}")
        if (self._only is not None and not self._only(record)) or (self._leave_out is not None and self._leave_out(record)):
            return None
        usage, dimensions = ({}, {}) if self._members is None else self._members(record)
        for name, quantity in self._usage:
            found = quantity(record)
            if found is not None:
                usage[name] = found
        for name, text in self._dimensions:
            value = text(record)
            if value is not None:
                dimensions[name] = value
        document = {"id": self._id(record), "source": self._source(record) or "", "customer": self._customer(record), "usage": usage}
        if self._time is not None:
            time = self._time(record)
            if time is not None:
                document["time"] = time
        if dimensions:
            document["dimensions"] = dimensions
        if document["customer"] is None:
            raise EventRejected(Reason.MISSING_FIELD, "customer", "the record does not say who pays")
        if not document["source"]:
            raise EventRejected(Reason.MISSING_FIELD, "source", "the record does not say its source")
        return document

    def remains(self, record: object) -> Any:
        """What there is of a record that `event` refuses: as much as can be mapped, with the mistake in it, so that every reader refuses it."""
        if type(record) is not dict:
            return record if record is None or type(record) in {bool, int, float} else str(record)[:_SHOWN_CHARS]
        usage, dimensions = ({}, {}) if self._members is None else _attempt(self._members, record) or ({}, {})
        usage |= {name: found for name, quantity in self._usage if (found := _quantity_or_rest(quantity, record)) is not _NOTHING}
        dimensions |= {name: found for name, text in self._dimensions if (found := _attempt(text, record)) is not None}
        single = {"id": self._id, "source": self._source, "customer": self._customer, "time": self._time}
        document = {name: found for name, rule in single.items() if rule is not None and (found := _attempt(rule, record)) is not None}
        document["usage"] = usage
        if dimensions:
            document["dimensions"] = dimensions
        return uncountable(document)


def uncountable(document: dict[str, Any]) -> dict[str, Any]:
    """The document, without what would make an event of it."""
    try:
        parse_event(document, arrival_ms=0)
    except EventRejected:
        return document
    return {name: value for name, value in document.items() if name != "usage"}


def _attempt(rule: _Rule, record: Any) -> Any:
    try:
        return rule(record)
    except EventRejected:
        return None


def _quantity_or_rest(quantity: _Rule, record: Any) -> Any:
    """The quantity, or what the record has instead, which every reader refuses."""
    try:
        found = quantity(record)
    except QuantityRefused as refusal:
        return refusal.value
    return _NOTHING if found is None else found


def _members_rule(members: Members) -> Callable[[Any], tuple[dict[str, Any], dict[str, Any]]]:
    find, named, ignore = getter_of(members.of), path_text(members.of), members.ignore
    find_texts = None if members.texts is None else getter_of(members.texts)

    def found(record: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        holder = find(record)
        if type(holder) is not dict:
            raise EventRejected(Reason.NOT_AN_OBJECT, named, f"must be an object, is {type_name.get(type(holder), 'something else')}")
        texts = None if find_texts is None else find_texts(record)
        usage: dict[str, Any] = {}
        # What is wrong with one of them is found when the event is judged.
        dimensions: dict[str, Any] = dict(texts) if type(texts) is dict else {}
        _take_members(holder, named, ignore, usage, dimensions)
        return usage, dimensions

    return found


def _take_members(holder: dict[str, Any], named: str, ignore: Collection[str], usage: dict[str, Any], dimensions: dict[str, Any]) -> None:
    for name, value in holder.items():
        if name in ignore or value is None:
            continue
        if is_number_text(value):
            usage[name] = _whole(value)
        elif type(value) is str:
            dimensions[name] = value
        else:
            detail = f"is {type_name.get(type(value), 'something else')}: map it, or name it in members.ignore"
            raise EventRejected(Reason.WRONG_TYPE, f"{named}.{name}", detail)


def _whole(value: Any) -> Any:
    """An integer where the value is one; what is not is refused with the event's other quantities."""
    if type(value) is str:
        return int(value)
    return int(value) if type(value) is float and value.is_integer() else value
