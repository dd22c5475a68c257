"""What the counting of a partition must know of its surroundings."""

from collections.abc import Callable
from dataclasses import dataclass

from metering.records.meters import Catalogue


@dataclass(frozen=True, slots=True)
class CountingRules:
    """What a counter must know of its surroundings. `partition_of` says which partition a customer belongs to.

    `run_min`: with at least this many records in a row that may be plain events, reading them as columns is faster than one by one.
    `batches_min`: with at least this many small batches in a row, joining them is faster than counting each.
    """

    topic: str
    catalogue: Catalogue
    partition_of: Callable[[str], int]
    instance: str
    deduplication_horizon_ms: int
    run_min: int = 10
    batches_min: int = 4
