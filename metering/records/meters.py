"""The meter catalogue: what each Stripe meter makes of which events, and which dimensions go into its payload.

It is part of `taximeter.toml`:

    [[meters]]
    event_name = "alpaca_70b_input"
    display_name = "Alpaca 70B: input"    # optional: what Stripe's dashboard calls the meter
    aggregate = "sum"                     # optional: or "count", which counts events
    sum = ["input_tokens"]
    less = ["cached_input_tokens"]        # optional: a part of it that is not billed by this meter
    where = {model = ["alpaca-70b", "alpaca-70b-*"]}   # optional: only such events (metering.formulas.dimension_filters)
    dimensions = ["region"]               # optional
    customer_key = "stripe_customer_id"   # optional: the meter's customer_mapping[event_payload_key]
    value_key = "value"                   # optional: the meter's value_settings[event_payload_key]

    [usage]
    unmetered = ["reasoning_tokens"]  # optional: fields that are known, and free

`[[rate_cards]]` are a short form for many meters (metering.formulas.rate_cards).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from hashlib import blake2b
from typing import Any, Final

import orjson
from taximeter_emitter.wire.event import Dimensions
from taximeter_emitter.wire.limits import NAME_CHARS_MAX

from metering.formulas.dimension_filters import Where, dimensions_text, most_that_match, read_where, where_from, where_takes
from metering.formulas.meter_entries import CUSTOMER_KEY, VALUE_KEY, entry_problems, is_name
from metering.formulas.meter_formulas import Aggregate, MeterFormula
from metering.formulas.rate_cards import read_rate_cards
from metering.records.service_limits import CATALOGUE_BYTES_MAX, EVENT_METERS_MAX, METERS_MAX

_UNMETERED_MAX: Final = 64
_MATCHES_MAX: Final = 10_000
_SHOWN_MAX: Final = 3

_Usage = Iterable[tuple[str, int]]


@dataclass(frozen=True, slots=True)
class Meter:
    """One Stripe meter and what is added up for it: by `fields`, `less` and `aggregate`, of the events that `where` takes."""

    event_name: str
    fields: tuple[str, ...]
    dimensions: tuple[str, ...] = ()
    customer_key: str = CUSTOMER_KEY
    value_key: str = VALUE_KEY
    display_name: str = ""
    less: tuple[str, ...] = ()
    where: Where = ()
    aggregate: Aggregate = Aggregate.SUM

    @property
    def formula(self) -> MeterFormula:
        """What it makes of an event that it takes."""
        return MeterFormula(self.aggregate, frozenset(self.fields), frozenset(self.less))

    @property
    def stripe_formula(self) -> str:
        """By which formula Stripe's meter makes one value of meter events. Counts of events are sent as numbers, and added up."""
        return "sum" if self.formula.adds else "last"

    def takes(self, dimensions: Mapping[str, str]) -> bool:
        """Whether it takes an event of these dimensions."""
        return where_takes(self.where, dimensions)

    @property
    def definition(self) -> list[Any]:
        """What a catalogue's definition says of it. A plain sum of all events has five parts, as it always had."""
        more: dict[str, Any] = {}
        if self.aggregate is not Aggregate.SUM:
            more["aggregate"] = self.aggregate.value
        if self.less:
            more["less"] = sorted(self.less)
        if self.where:
            more["where"] = [each.definition for each in self.where]
        plain = [self.event_name, sorted(self.fields), sorted(self.dimensions), self.customer_key, self.value_key]
        return [*plain, more] if more else plain


class FieldVerdict(Enum):
    """What becomes of one quantity of an event."""

    BILLED = "billed"
    FREE = "free"
    UNKNOWN = "unknown"


class MatchingMeters:
    """The meters that take events of one set of dimensions, and so what becomes of the quantities of such an event.

    `rows` has, for each formula of the catalogue, the meters of it: their position, and the dimensions that they bill by.
    """

    def __init__(self, catalogue: "Catalogue", dimensions: Dimensions) -> None:
        values = dict(dimensions)
        self.dimensions = dimensions
        self.meters = tuple(meter for meter in catalogue.meters if meter.takes(values))
        matching = frozenset(meter.event_name for meter in self.meters)
        self.rows: Sequence[Sequence[tuple[int, Dimensions]]] = [
            [
                (position, tuple(pair for pair in dimensions if pair[0] in catalogue.meters[position].dimensions))
                for position in positions
                if catalogue.meters[position].event_name in matching
            ]
            for positions in catalogue.positions
        ]
        formulas = [formula for formula, rows in zip(catalogue.formulas, self.rows, strict=True) if rows]
        self._used = frozenset[str]().union(*(formula.uses for formula in formulas))
        self.known_fields = self._used | catalogue.unmetered
        self.counts_all = any(formula.counts_all for formula in formulas)
        self._catalogue = catalogue

    def judge_field(self, name: str, quantity: int) -> FieldVerdict:
        """The one rule for a usage field, in every way in: meters use it, or it costs nothing, or nobody knows what it is.

        An unmetered field and a zero cost nothing whatever the field is called; they spoil no event, and are never billed.
        """
        if name in self._used:
            return FieldVerdict.BILLED
        return FieldVerdict.FREE if quantity == 0 or name in self._catalogue.unmetered else FieldVerdict.UNKNOWN

    def unknown_in(self, usage: _Usage) -> list[tuple[str, int]]:
        """The quantities of an event that nobody knows what they are: they are named, not billed, and do not keep the others from counting."""
        return [(name, quantity) for name, quantity in usage if self.judge_field(name, quantity) is FieldVerdict.UNKNOWN]

    def knows_nothing_of(self, usage: _Usage) -> bool:
        """Whether an event has unknown quantities and no others: it is then refused, or set aside. A zero is as good as absent."""
        return not self.counts_all and {name in self.known_fields for name, quantity in usage if quantity} == {False}

    def why_unknown(self, name: str) -> str:
        """Why no meter takes this usage field, for a person: none has it, or those that have it do not take these dimensions."""
        others = [meter for meter in self._catalogue.meters if name in meter.formula.uses]
        if not others:
            return "no meter of the catalogue uses it, and [usage] unmetered does not name it"
        shown = "; ".join(f"{meter.event_name} where {where_text(meter.where)}" for meter in others[:_SHOWN_MAX])
        more = f"; and {len(others) - _SHOWN_MAX} more" if len(others) > _SHOWN_MAX else ""
        return f"no meter takes it of an event {dimensions_text(self.dimensions)}: it is taken by {shown}{more}"

    def units(self, usage: _Usage) -> dict[str, int]:
        """What an event adds to each meter, without those that it adds nothing to. To one of the latest value nothing is added."""
        quantities = dict(usage)
        return {meter.event_name: units for meter in self.meters if meter.formula.adds and (units := meter.formula.units(quantities))}

    def values(self, usage: _Usage) -> dict[str, int]:
        """What an event says of each meter of the latest value, also if it is zero."""
        quantities = dict(usage)
        return {meter.event_name: meter.formula.units(quantities) for meter in self.meters if not meter.formula.adds}

    def below_zero(self, usage: _Usage) -> Meter | None:
        """The first meter for which an event comes out below zero: it is then refused, or set aside."""
        quantities = dict(usage)
        return next((meter for meter in self.meters if meter.less and meter.formula.units(quantities) < 0), None)


def where_text(where: Where) -> str:
    """As a person says it."""
    return " and ".join(each.text for each in where) or "it is any event"


def below_zero_text(meter: Meter, usage: _Usage) -> str:
    """Why an event is refused for which this meter comes out below zero."""
    quantities = dict(usage)
    part, whole = (sum(quantities.get(name, 0) for name in names) for names in (meter.less, meter.fields))
    part_name, whole_name = " + ".join(meter.less), " + ".join(meter.fields)
    return f"meter {meter.event_name} takes {part_name} ({part}) off {whole_name} ({whole}): a part is above the whole"


class Catalogue:
    """The meters, in the order of the file. `version` changes whenever what is billed, or refused, would change.

    It is the digest of `definition`: an entry for each meter (event name, usage fields, dimensions, payload keys of customer and value, and what
    else its formula says), sorted, and before them one with an empty name and the unmetered usage fields, if there are any.
    `formulas` are those of the meters, each once; `positions` are those of the meters that have each. `takes_off`: the formulas that have `less`.
    `of_latest`: the meters that tell the latest value.
    """

    def __init__(self, meters: Sequence[Meter], unmetered: Iterable[str] = ()) -> None:
        self.meters = tuple(meters)
        self.by_name: Mapping[str, Meter] = {meter.event_name: meter for meter in self.meters}
        self.usage_fields = frozenset(field for meter in self.meters for field in meter.formula.uses)
        self.unmetered = frozenset(unmetered)
        self.known_fields = self.usage_fields | self.unmetered
        positions: dict[MeterFormula, list[int]] = {}
        for position, meter in enumerate(self.meters):
            positions.setdefault(meter.formula, []).append(position)
        self.formulas: Sequence[MeterFormula] = tuple(positions)
        self.positions: Sequence[Sequence[int]] = tuple(positions.values())
        self.of_latest = frozenset(meter.event_name for meter in self.meters if not meter.formula.adds)
        self.takes_off = tuple(formula for formula in self.formulas if formula.less)
        definition = [meter.definition for meter in self.meters]
        if self.unmetered:
            definition.append(["", sorted(self.unmetered)])
        self.definition: Sequence[Sequence[Any]] = sorted(definition, key=_plain_part)
        self.version = blake2b(orjson.dumps(self.definition), digest_size=8).hexdigest()
        self._matches: dict[Dimensions, MatchingMeters] = {}

    def of(self, dimensions: Dimensions) -> MatchingMeters:
        """The meters that take events of these dimensions."""
        found = self._matches.get(dimensions)
        if found is None:
            if len(self._matches) >= _MATCHES_MAX:
                self._matches.clear()
            found = self._matches[dimensions] = MatchingMeters(self, dimensions)
        return found


def _plain_part(entry: Sequence[Any]) -> list[Any]:
    return list(entry[:5])


def catalogue_from(definition: Sequence[Sequence[Any]]) -> Catalogue:
    """The catalogue of this definition: it counts alike and has the same version. Raises ValueError if it is none."""
    try:
        unmetered = [name for entry in definition if not entry[0] for name in entry[1]]
        meters = [_defined(*entry) for entry in definition if entry[0]]
    except (IndexError, TypeError, ValueError, KeyError) as error:
        raise ValueError(f"not the definition of a catalogue: {error!r}") from error
    return Catalogue(meters, unmetered)


def _defined(  # noqa: PLR0917  # these are the parts of an entry
    name: str, fields: Sequence[str], dimensions: Sequence[str], customer_key: str, value_key: str, more: Mapping[str, Any] | None = None
) -> Meter:
    """Raises TypeError or ValueError for what is no meter."""
    more = {} if more is None else more
    if unknown := more.keys() - {"aggregate", "less", "where"}:
        raise ValueError(f"a meter with {', '.join(sorted(unknown))}")
    return Meter(
        name,
        tuple(fields),
        tuple(dimensions),
        customer_key,
        value_key,
        less=tuple(more.get("less", ())),
        where=where_from(more.get("where", ())),
        aggregate=Aggregate(more.get("aggregate", Aggregate.SUM)),
    )


def parse_catalogue(document: Mapping[str, Any]) -> tuple[Catalogue | None, list[str]]:
    """Read `[[meters]]` and `[[rate_cards]]` of a decoded taximeter.toml. Returns the catalogue, or None and every problem found."""
    entries = document.get("meters", [])
    if not isinstance(entries, list) or not (entries or document.get("rate_cards")):
        return None, ['no meters: add at least one [[meters]] table with event_name = "..." and sum = ["..."], or a [[rate_cards]] table']
    meters: list[Meter] = []
    problems: list[str] = []
    for position, entry in enumerate(entries, start=1):
        where = f"meters[{position}]"
        found = entry_problems(entry, where) if isinstance(entry, dict) else [f"{where}: must be a table"]
        problems += found
        meters += [] if found else [_meter_of(entry)]
    of_cards, found = read_rate_cards(document)
    problems += found
    meters += [] if found else [_meter_of(each.entry) for each in of_cards]
    problems += _together(meters, len(entries) + len(of_cards))
    unmetered, found = _unmetered(document.get("usage", {}), {field for meter in meters for field in meter.formula.uses})
    problems += found
    return (None, problems) if problems else (Catalogue(meters, unmetered), [])


def _together(meters: Sequence[Meter], given: int) -> list[str]:
    """What is wrong with meters that are right one by one. `given`: how many there are with those that are not."""
    if given > METERS_MAX:
        return [f"{given} meters; at most {METERS_MAX} are taken"]
    names = [meter.event_name for meter in meters]
    problems = [
        f"meters: event_name {name!r} is used twice; Stripe allows one meter for each" for name in sorted({n for n in names if names.count(n) > 1})
    ]
    most = most_that_match([meter.where for meter in meters])
    if most > EVENT_METERS_MAX:
        problems.append(f"meters: {most} of them may take the same event; at most {EVENT_METERS_MAX} may: give them a where")
    size = len(orjson.dumps([meter.definition for meter in meters]))
    if size > CATALOGUE_BYTES_MAX:
        problems.append(f"meters: their definition has {size:,} bytes; at most {CATALOGUE_BYTES_MAX:,} are taken: use fewer values in where")
    return problems


def _meter_of(entry: Mapping[str, Any]) -> Meter:
    """Of an entry without problems."""
    return Meter(
        event_name=entry["event_name"],
        fields=tuple(entry.get("sum", ())),
        dimensions=tuple(entry.get("dimensions", ())),
        customer_key=entry.get("customer_key", CUSTOMER_KEY),
        value_key=entry.get("value_key", VALUE_KEY),
        display_name=entry.get("display_name") or entry["event_name"],
        less=tuple(entry.get("less", ())),
        where=read_where(entry["where"], "")[0] if "where" in entry else (),
        aggregate=Aggregate(entry.get("aggregate", Aggregate.SUM)),
    )


def _unmetered(table: object, metered: set[str]) -> tuple[list[str], list[str]]:
    """The names in `[usage] unmetered`, and what is wrong with the table."""
    if not isinstance(table, dict):
        return [], ["usage in the settings file is not a table; write [usage]"]
    problems = [f"{key} in [usage] is not a setting; known is unmetered" for key in sorted(table.keys() - {"unmetered"})]
    names = table.get("unmetered", [])
    if not isinstance(names, list) or len(names) > _UNMETERED_MAX or not all(is_name(name, NAME_CHARS_MAX) for name in names):
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
