"""The catalogues that tallies name, from the definitions that tallies carry. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import orjson

from metering.records.tally import Tally


@dataclass(frozen=True, slots=True)
class MeterDefinition:
    """A meter sums these usage fields, apart for each value of these dimensions."""

    name: str
    fields: frozenset[str]
    dimensions: frozenset[str]


@dataclass(frozen=True, slots=True)
class CatalogueRules:
    """All meters of one version of the catalogue, and every usage field that it knows."""

    meters: Sequence[MeterDefinition]
    fields: frozenset[str]


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
            fields, dimensions, _customer_key, _value_key = parts
            meters.append(MeterDefinition(name, frozenset(fields), frozenset(dimensions)))
        else:
            (unmetered,) = parts
            free.update(unmetered)
    return CatalogueRules(meters, frozenset(free).union(*(meter.fields for meter in meters)))
