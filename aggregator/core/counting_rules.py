"""What the counting of a partition must know of its surroundings."""

from collections.abc import Callable
from dataclasses import dataclass

from aggregator.reading.plain_reader import PlainReader
from aggregator.reading.readers import MakeReader
from metering.records.meters import Catalogue


@dataclass(frozen=True, slots=True)
class CountingRules:
    """What a counter must know of its surroundings. `partition_of` says which partition a customer belongs to.

    `make_reader` makes what reads the records of a partition.
    """

    topic: str
    catalogue: Catalogue
    partition_of: Callable[[str], int]
    instance: str
    deduplication_horizon_ms: int
    make_reader: MakeReader = PlainReader
