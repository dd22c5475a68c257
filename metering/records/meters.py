"""The meter catalogue: which usage fields each Stripe meter sums, and which dimensions go into its payload.

It is part of `taximeter.toml`:

    [[meters]]
    event_name = "alpaca_ai_tokens"
    display_name = "Alpaca AI tokens"     # optional: what Stripe's dashboard calls the meter
    sum = ["input_tokens", "output_tokens"]
    dimensions = ["model"]            # optional
    customer_key = "stripe_customer_id"   # optional: the meter's customer_mapping[event_payload_key]
    value_key = "value"                   # optional: the meter's value_settings[event_payload_key]

    [usage]
    unmetered = ["cached_tokens"]     # optional: fields that are known, and free
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import Any, Final

import orjson
from taximeter_emitter.wire.event import Dimensions
from taximeter_emitter.wire.limits import NAME_CHARS_MAX, USAGE_FIELDS_MAX

from metering.records.service_limits import METERS_MAX

_METER_KEYS: Final = frozenset({"event_name", "display_name", "sum", "dimensions", "customer_key", "value_key"})
_DISPLAY_NAME_CHARS_MAX: Final = 250  # Stripe's limit
_EVENT_NAME_CHARS_MAX: Final = 100  # Stripe's limit for a meter's event_name and payload keys
_UNMETERED_MAX: Final = 64
_PROJECTIONS_MAX: Final = 10_000


@dataclass(frozen=True, slots=True)
class Meter:
    """One Stripe meter and what is summed into it."""

    event_name: str
    fields: tuple[str, ...]
    dimensions: tuple[str, ...] = ()
    customer_key: str = "stripe_customer_id"
    value_key: str = "value"
    display_name: str = ""


class FieldVerdict(Enum):
    """What becomes of one quantity of an event."""

    BILLED = "billed"
    FREE = "free"
    UNKNOWN = "unknown"


class Catalogue:
    """The meters, in the order of the file. `version` changes whenever what is billed, or refused, would change.

    It is the digest of `definition`: an entry for each meter (event name, usage fields, dimensions, payload keys of customer and value), sorted,
    and before them one with an empty name and the unmetered usage fields, if there are any.
    """

    def __init__(self, meters: Sequence[Meter], unmetered: Iterable[str] = ()) -> None:
        self.meters = tuple(meters)
        self.by_name: Mapping[str, Meter] = {meter.event_name: meter for meter in self.meters}
        self.usage_fields = frozenset(field for meter in self.meters for field in meter.fields)
        self.unmetered = frozenset(unmetered)
        self.known_fields = self.usage_fields | self.unmetered
        definition: list[list[Any]] = [[m.event_name, sorted(m.fields), sorted(m.dimensions), m.customer_key, m.value_key] for m in self.meters]
        if self.unmetered:
            definition.append(["", sorted(self.unmetered)])
        self.definition: Sequence[Sequence[Any]] = sorted(definition)
        self.version = blake2b(orjson.dumps(self.definition), digest_size=8).hexdigest()
        self._projections: dict[Dimensions, tuple[Dimensions, ...]] = {}

    def judge_field(self, name: str, quantity: int) -> FieldVerdict:
        """The one rule for a usage field, in every way in: meters sum it, or it costs nothing, or nobody knows what it is.

        An unmetered field and a zero cost nothing whatever the field is called; they spoil no event, and are never billed.
        """
        if name in self.usage_fields:
            return FieldVerdict.BILLED
        return FieldVerdict.FREE if quantity == 0 or name in self.unmetered else FieldVerdict.UNKNOWN

    def unknown_in(self, usage: Iterable[tuple[str, int]]) -> list[tuple[str, int]]:
        """The quantities of an event that nobody knows what they are: they are named, not billed, and do not keep the others from counting."""
        return [(name, quantity) for name, quantity in usage if self.judge_field(name, quantity) is FieldVerdict.UNKNOWN]

    def knows_nothing_of(self, usage: Iterable[tuple[str, int]]) -> bool:
        """Whether an event has unknown quantities and no others: it is then refused, or set aside. A zero is as good as absent."""
        return {name in self.known_fields for name, quantity in usage if quantity} == {False}

    def project(self, dimensions: Dimensions) -> tuple[Dimensions, ...]:
        """For each meter, the part of an event's dimensions that it bills by."""
        projected = self._projections.get(dimensions)
        if projected is None:
            if len(self._projections) >= _PROJECTIONS_MAX:
                self._projections.clear()
            projected = tuple(tuple(pair for pair in dimensions if pair[0] in meter.dimensions) for meter in self.meters)
            self._projections[dimensions] = projected
        return projected


def catalogue_from(definition: Sequence[Sequence[Any]]) -> Catalogue:
    """The catalogue of this definition: it counts alike and has the same version. Raises ValueError if it is none."""
    try:
        unmetered = [name for entry in definition if not entry[0] for name in entry[1]]
        meters = [
            Meter(name, tuple(fields), tuple(dimensions), customer_key, value_key)
            for name, fields, dimensions, customer_key, value_key in (entry for entry in definition if entry[0])
        ]
    except (IndexError, TypeError, ValueError) as error:
        raise ValueError(f"not the definition of a catalogue: {error!r}") from error
    return Catalogue(meters, unmetered)


def parse_catalogue(document: Mapping[str, Any]) -> tuple[Catalogue | None, list[str]]:
    """Read `[[meters]]` of a decoded taximeter.toml. Returns the catalogue, or None and every problem found."""
    entries = document.get("meters")
    if not isinstance(entries, list) or not entries:
        return None, ['no meters: add at least one [[meters]] table with event_name = "..." and sum = ["..."]']
    problems: list[str] = []
    if len(entries) > METERS_MAX:
        problems.append(f"{len(entries)} meters; at most {METERS_MAX} are taken")
    meters: list[Meter] = []
    for position, entry in enumerate(entries, start=1):
        where = f"meters[{position}]"
        if not isinstance(entry, dict):
            problems.append(f"{where}: must be a table")
            continue
        meter_problems = _problems(entry, where)
        problems += meter_problems
        if not meter_problems:
            meters.append(
                Meter(
                    event_name=entry["event_name"],
                    fields=tuple(entry["sum"]),
                    dimensions=tuple(entry.get("dimensions", ())),
                    customer_key=entry.get("customer_key", "stripe_customer_id"),
                    value_key=entry.get("value_key", "value"),
                    display_name=entry.get("display_name") or entry["event_name"],
                )
            )
    names = [meter.event_name for meter in meters]
    problems += [
        f"meters: event_name {name!r} is used twice; Stripe allows one meter for each" for name in sorted({n for n in names if names.count(n) > 1})
    ]
    unmetered, found = _unmetered(document.get("usage", {}), {field for meter in meters for field in meter.fields})
    problems += found
    return (None, problems) if problems else (Catalogue(meters, unmetered), [])


def _unmetered(table: object, metered: set[str]) -> tuple[list[str], list[str]]:
    """The names in `[usage] unmetered`, and what is wrong with the table."""
    if not isinstance(table, dict):
        return [], ["usage in the settings file is not a table; write [usage]"]
    problems = [f"{key} in [usage] is not a setting; known is unmetered" for key in sorted(table.keys() - {"unmetered"})]
    names = table.get("unmetered", [])
    if not isinstance(names, list) or len(names) > _UNMETERED_MAX or not all(_is_name(name, NAME_CHARS_MAX) for name in names):
        return [], [*problems, f"usage.unmetered: must be a list of at most {_UNMETERED_MAX} names of usage fields, is {names!r}"]
    problems += [f"usage.unmetered: {name!r} is summed by a meter, so it is not free" for name in names if name in metered]
    return names, problems


def catalogue_problems(document: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with the meters of a decoded taximeter.toml."""
    return parse_catalogue(document)[1]


def catalogue_of(document: Mapping[str, Any]) -> Catalogue:
    """The catalogue of a decoded taximeter.toml that was checked before. Raises ValueError if it has problems after all."""
    catalogue, problems = parse_catalogue(document)
    if catalogue is None:
        raise ValueError("; ".join(problems))
    return catalogue


def _problems(entry: Mapping[str, Any], where: str) -> list[str]:
    problems = [f"{where}: unknown key {key!r}; known are {', '.join(sorted(_METER_KEYS))}" for key in sorted(entry.keys() - _METER_KEYS)]
    for key in ("event_name", "customer_key", "value_key", "display_name"):
        longest = _DISPLAY_NAME_CHARS_MAX if key == "display_name" else _EVENT_NAME_CHARS_MAX
        if (key in entry or key == "event_name") and not _is_name(entry.get(key), longest):
            problems.append(f"{where}.{key}: must be a string of 1 to {longest} characters, is {entry.get(key)!r}")
    for key, required in (("sum", True), ("dimensions", False)):
        names = entry.get(key, [])
        if (
            not isinstance(names, list)
            or (required and not names)
            or len(names) > USAGE_FIELDS_MAX
            or not all(_is_name(n, NAME_CHARS_MAX) for n in names)
        ):
            problems.append(f"{where}.{key}: must be a list of 1 to {USAGE_FIELDS_MAX} names, is {names!r}")
        elif len(set(names)) != len(names):
            problems.append(f"{where}.{key}: names a field twice: {names!r}")
    if entry.get("customer_key", "stripe_customer_id") == entry.get("value_key", "value"):
        problems.append(f"{where}: customer_key and value_key are both {entry.get('value_key', 'value')!r}; a payload has each key once")
    reserved = {entry.get("customer_key", "stripe_customer_id"), entry.get("value_key", "value")}
    if isinstance(entry.get("dimensions"), list) and reserved & {str(name) for name in entry["dimensions"]}:
        problems.append(f"{where}.dimensions: {sorted(reserved)} are the payload keys of customer and value")
    return problems


def _is_name(value: object, chars_max: int) -> bool:
    return isinstance(value, str) and 0 < len(value) <= chars_max and value.isprintable()
