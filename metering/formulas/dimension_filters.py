"""`where` of a meter: which events it takes, by their dimensions.

    where = {model = ["alpaca-70b", "alpaca-70b-*"], region = "eu", tier = {present = true}}

Every condition must hold. A value with `*` at its end takes every value that begins so.
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import chain, product
from math import prod
from operator import and_
from typing import Any, Final

from taximeter_emitter.wire.event import Dimensions
from taximeter_emitter.wire.limits import DIMENSION_VALUE_CHARS_MAX, DIMENSIONS_MAX, NAME_CHARS_MAX

VALUES_MAX: Final = 64
"""Values of one condition."""
_KINDS_TRIED_MAX: Final = 50_000
_LAST: Final = "\U0010ffff"
_OTHER: Final = "\0"  # a value that no filter names: no dimension can have it


@dataclass(frozen=True, slots=True)
class DimensionFilter:
    """A condition on one dimension. `wanted`: values and prefixes, sorted; or True, if the dimension must be there, or False, if it must not."""

    dimension: str
    wanted: tuple[str, ...] | bool

    def takes(self, value: str | None) -> bool:
        """Whether an event with this value of the dimension is taken; None: it does not have the dimension."""
        if isinstance(self.wanted, bool):
            return (value is not None) is self.wanted
        prefixes = tuple(wanted[:-1] for wanted in self.wanted if wanted.endswith("*"))
        return value is not None and (value in self.wanted or value.startswith(prefixes))

    @property
    def text(self) -> str:
        """As a person says it: `model is alpaca-70b or alpaca-70b-*`."""
        if isinstance(self.wanted, bool):
            return f"{self.dimension} is {'given' if self.wanted else 'not given'}"
        return f"{self.dimension} is {' or '.join(self.wanted)}"

    @property
    def definition(self) -> list[Any]:
        """As a tally carries it."""
        return [self.dimension, self.wanted if isinstance(self.wanted, bool) else list(self.wanted)]


Where = tuple[DimensionFilter, ...]
"""The conditions of a meter, sorted by dimension. None: every event is taken."""


def where_takes(where: Where, dimensions: Mapping[str, str]) -> bool:
    """Whether every condition holds."""
    return all(each.takes(dimensions.get(each.dimension)) for each in where)


def where_from(definition: Iterable[Sequence[Any]]) -> Where:
    """The conditions of this definition. Raises TypeError or ValueError."""
    return tuple(DimensionFilter(dimension, wanted if isinstance(wanted, bool) else tuple(wanted)) for dimension, wanted in definition)


def read_where(table: object, place: str) -> tuple[Where, list[str]]:
    """The conditions of a `where` of the settings file, and what is wrong with it."""
    if not isinstance(table, Mapping) or not table or len(table) > DIMENSIONS_MAX:
        return (), [f'{place}: must be a table of 1 to {DIMENSIONS_MAX} dimensions, such as {{model = "alpaca-70b"}}, is {table!r}']
    found: list[DimensionFilter] = []
    problems: list[str] = []
    for dimension, wanted in sorted(table.items()):
        here = f"{place}.{dimension}"
        if not 0 < len(dimension) <= NAME_CHARS_MAX or not dimension.isprintable():
            problems.append(f"{here}: no dimension has this name; a name has 1 to {NAME_CHARS_MAX} characters that can be printed")
        elif isinstance(wanted, Mapping):
            if wanted.keys() == {"present"} and isinstance(wanted["present"], bool):
                found.append(DimensionFilter(dimension, wanted["present"]))
            else:
                problems.append(f"{here}: must be {{present = true}} or {{present = false}}, a value, or a list of values; is {dict(wanted)!r}")
        else:
            values = wanted if isinstance(wanted, list) else [wanted]
            wrong = values_problem(values)
            if wrong:
                problems.append(f"{here}: {wrong}")
            else:
                found.append(DimensionFilter(dimension, tuple(sorted(values))))
    return tuple(found), problems


def values_problem(values: Sequence[object]) -> str:
    """What is wrong with the values of a condition; empty if nothing is."""
    if not 1 <= len(values) <= VALUES_MAX:
        return f"must have 1 to {VALUES_MAX} values, has {len(values)}"
    for value in values:
        if not isinstance(value, str) or len(value) > DIMENSION_VALUE_CHARS_MAX or not value.isprintable():
            return f"a value must be a text of at most {DIMENSION_VALUE_CHARS_MAX} characters that can be printed, is {value!r}"
        if value == "*":
            return '"*" takes every value: write {present = true}'
        if "*" in value[:-1]:
            return f"a * stands for the rest of a value, at its end; {value!r} has one elsewhere"
    return f"names a value twice: {list(values)!r}" if len(set(map(str, values))) != len(values) else ""


def most_that_match(wheres: Sequence[Where]) -> int:
    """How many of these can take one event at once; never less, and more only where conditions on many dimensions meet.

    For each dimension it is enough to try each value that is named, each prefix as a value, a value that nobody names, and none at all: what a
    longer value of a prefix matches, the prefix matches too.
    """
    takers = {name: list(set(_takers(name, wheres).values())) for name in {each.dimension for where in wheres for each in where}}
    names = sorted(takers, key=lambda name: len(takers[name]), reverse=True)
    while prod(len(takers[name]) for name in names) > _KINDS_TRIED_MAX and len(names) > 1:
        names.pop()  # what it asks for is taken to hold
    everybody = (1 << len(wheres)) - 1
    return max(reduce(and_, masks, everybody).bit_count() for masks in product(*(takers[name] for name in names)))


def _takers(dimension: str, wheres: Sequence[Where]) -> dict[str | None, int]:
    """Which of these take each value of the dimension that makes a difference, as bits."""
    asked = [(1 << place, each.wanted) for place, where in enumerate(wheres) for each in where if each.dimension == dimension]
    rest = (1 << len(wheres)) - 1 - sum(bit for bit, _ in asked)
    values = sorted({wanted.removesuffix("*") for _, all_wanted in asked if not isinstance(all_wanted, bool) for wanted in all_wanted})
    found: dict[str | None, int] = dict.fromkeys([None, _OTHER, *values], rest)
    for bit, wanted in asked:
        if isinstance(wanted, bool):
            taken: Iterable[str | None] = [_OTHER, *values] if wanted else [None]
        else:
            taken = chain.from_iterable(_begun_by(values, each[:-1]) if each.endswith("*") else [each] for each in wanted)
        for value in taken:
            found[value] |= bit
    return found


def _begun_by(values: Sequence[str], prefix: str) -> Sequence[str]:
    """Those of the sorted values that begin so."""
    return values[bisect_left(values, prefix) : bisect_left(values, prefix + _LAST)]


def dimensions_text(dimensions: Dimensions) -> str:
    """As a person says it: `with model alpaca-7b, region eu`."""
    return f"with {', '.join(f'{name} {value}' for name, value in dimensions)}" if dimensions else "without dimensions"
