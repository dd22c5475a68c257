"""What a meter adds for one event, whatever its dimensions."""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple


class Aggregate(Enum):
    """What a meter tells: the sum of the quantities of events, how many events there are, or the quantity of the latest event."""

    SUM = "sum"
    COUNT = "count"
    LAST = "last"


class MeterFormula(NamedTuple):
    """Several meters may have the same. A SUM is of the `fields`, less the fields of `less`; so is the value of each event for a LAST.

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

    @property
    def adds(self) -> bool:
        """Whether what it makes of several events is added up."""
        return self.aggregate is not Aggregate.LAST

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
        made = f"{fields} less {less}" if less else fields
        return made if self.adds else f"the latest {made}"
