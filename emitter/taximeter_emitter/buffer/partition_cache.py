"""Which partition each customer is in, remembered: a plain look-up costs a fifth of working it out, even from functools' cache. Pure."""

from collections.abc import Callable
from typing import Final

from taximeter_emitter.wire.partitioner import partition_of

_CUSTOMERS_KNOWN: Final = 65_536


class PartitionCache:
    """`of(customer)` is the customer's partition. Forgets everything and begins again when it is full."""

    def __init__(self, partitions: int) -> None:
        self.partitions = partitions
        # The look-up of a dict itself: a method around it would double what it costs.
        self._known = _Known(partitions)
        self.of: Final[Callable[[str], int]] = self._known.__getitem__

    def __len__(self) -> int:
        """How many customers are known."""
        return len(self._known)


class _Known(dict[str, int]):
    def __init__(self, partitions: int) -> None:
        super().__init__()
        self._partitions = partitions

    def __missing__(self, customer: str) -> int:
        if len(self) >= _CUSTOMERS_KNOWN:
            self.clear()
        self[customer] = partition = partition_of(customer, self._partitions)
        return partition
