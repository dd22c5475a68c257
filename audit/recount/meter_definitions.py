"""The catalogues that tallies name, from the definitions that tallies carry. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, TypeAlias

import orjson
from taximeter_emitter.wire.event import Dimensions

from metering.records.tally import Tally

WantedValues: TypeAlias = bool | frozenset[str]
"""What a dimension must be: there, not there, or one of these values. One that ends with `*` is the beginning of many."""


@dataclass(frozen=True, slots=True)
class MeterDefinition:
    """A meter sums these usage fields, and subtracts those of `less`, apart for each value of these dimensions. One that `counts` adds 1 for each
    event, or for each that has one of the fields. One that `tells_last` has the sum of the latest event, also if it is zero. `where`: what the
    dimensions of its events must be.
    """

    name: str
    fields: frozenset[str]
    dimensions: frozenset[str]
    less: frozenset[str] = frozenset()
    counts: bool = False
    where: tuple[tuple[str, WantedValues], ...] = ()
    tells_last: bool = False

    def is_for(self, dimensions: Dimensions) -> bool:
        """Whether it is about events of these dimensions."""
        own = dict(dimensions)
        return all(_is_wanted(own.get(dimension), wanted) for dimension, wanted in self.where)


def _is_wanted(value: str | None, wanted: WantedValues) -> bool:
    if isinstance(wanted, bool):
        return (value is None) != wanted
    if value is None:
        return False
    # Either the value or a beginning of it with a star. The aggregator asks the other way round.
    return value in wanted or any(f"{value[:length]}*" in wanted for length in range(len(value) + 1))


@dataclass(frozen=True, slots=True)
class CatalogueRules:
    """All meters of one version of the catalogue, and every usage field that it knows. `free` are those that no meter uses."""

    meters: Sequence[MeterDefinition]
    fields: frozenset[str]
    free: frozenset[str] = frozenset()

    def fields_for(self, dimensions: Dimensions) -> frozenset[str]:
        """The usage fields that are known of events of these dimensions."""
        return self.free.union(*(meter.fields | meter.less for meter in self.meters if meter.is_for(dimensions)))

    def counts_all_of(self, dimensions: Dimensions) -> bool:
        """Whether a meter counts every event of these dimensions."""
        return any(meter.counts and not meter.fields and meter.is_for(dimensions) for meter in self.meters)


class KnownCatalogues:
    """Every version that was defined so far. There are as many as the catalogue was changed."""

    def __init__(self) -> None:
        self._rules: dict[str, CatalogueRules] = {}

    def learn(self, tally: Tally) -> str | None:
        """Take in the definition that a tally carries; returns what is wrong with it."""
        definition = tally.catalogue_definition
        if definition is None or tally.catalogue in self._rules:
            return None
        if blake2b(orjson.dumps(definition), digest_size=8).hexdigest() != tally.catalogue:
            return f"defines catalogue {tally.catalogue} by meters of another version"
        rules = rules_of(definition)
        if rules is not None:  # of a form that this version does not know: such tallies are not counted again
            self._rules[tally.catalogue] = rules
        return None

    def of(self, version: str) -> CatalogueRules | None:
        """The rules of a version; None if nothing that was read defines it."""
        return self._rules.get(version)


def rules_of(definition: Sequence[Sequence[Any]]) -> CatalogueRules | None:
    """The rules of this definition; None for a form that this version does not know."""
    try:
        return _rules(definition)
    except (TypeError, ValueError):
        return None


def _rules(definition: Sequence[Sequence[Any]]) -> CatalogueRules:
    """Raises TypeError or ValueError for what is no definition."""
    meters, free = [], set[str]()
    for name, *parts in definition:
        if name:
            meters.append(_meter(name, parts))
        else:
            (unmetered,) = parts
            free.update(unmetered)
    return CatalogueRules(meters, frozenset(free).union(*(meter.fields | meter.less for meter in meters)), frozenset(free))


def _meter(name: str, parts: Sequence[Any]) -> MeterDefinition:
    """Raises TypeError or ValueError for a form that this version does not know."""
    fields, dimensions, _customer_key, _value_key, *rest = parts
    more: Mapping[str, Any] = {}
    if rest:
        (more,) = rest
    if more.keys() - {"aggregate", "less", "where"} or more.get("aggregate", "sum") not in {"sum", "count", "last"}:
        raise ValueError(f"meter {name} is of a form that is not known")
    where = tuple((dimension, wanted if isinstance(wanted, bool) else frozenset(wanted)) for dimension, wanted in more.get("where", ()))
    less = frozenset(more.get("less", ()))
    aggregate = more.get("aggregate")
    return MeterDefinition(name, frozenset(fields), frozenset(dimensions), less, aggregate == "count", where, aggregate == "last")
