"""What a meter adds for one event, whatever its dimensions."""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple


class Aggregate(Enum):
    """How a meter adds up: the quantities of events, or how many events there are."""

    SUM = "sum"
    COUNT = "count"


class MeterFormula(NamedTuple):
    """Several meters may have the same. A SUM is of the `fields`, less the fields of `less`.

    A COUNT is 1 for an event that has any of the `fields`; without `fields`, for every event.
    """

    aggregate: Aggregate
    fields: frozenset[str]
    less: frozenset[str]

    @property
    def uses(self) -> frozenset[str]:
        """The usage fields that it looks at."""
        return self.fields | self.less

    @property
    def counts_all(self) -> bool:
        """Whether an event counts whatever its usage is."""
        return self.aggregate is Aggregate.COUNT and not self.fields

    def units(self, usage: Mapping[str, int]) -> int:
        """What it makes of these quantities. Below zero, the event is at fault: it has more of `less` than of all `fields`."""
        if self.aggregate is Aggregate.COUNT:
            return int(not self.fields or any(usage.get(name) for name in self.fields))
        return sum(usage.get(name, 0) for name in self.fields) - sum(usage.get(name, 0) for name in self.less)

    @property
    def text(self) -> str:
        """As a person says it: `input_tokens less cached_input_tokens`."""
        fields, less = " + ".join(sorted(self.fields)), " + ".join(sorted(self.less))
        if self.aggregate is Aggregate.COUNT:
            return f"events with {' or '.join(sorted(self.fields))}" if self.fields else "events"
        return f"{fields} less {less}" if less else fields
