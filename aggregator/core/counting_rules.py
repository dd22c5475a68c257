"""What the counting of a partition must know of its surroundings."""

from collections.abc import Callable
from dataclasses import dataclass

from aggregator.reading.plain_reader import PlainReader
from aggregator.reading.readers import MakeReader
from metering.folds.catalogue_timeline import CatalogueTimeline


@dataclass(frozen=True, slots=True)
class CountingRules:
    """What a counter must know of its surroundings. `partition_of` says which partition a customer belongs to.

    `timeline`: the versions of the catalogue that are known when it begins. `make_reader` makes what reads the records of a partition.
    """

    topic: str
    timeline: CatalogueTimeline
    partition_of: Callable[[str], int]
    instance: str
    deduplication_horizon_ms: int
    make_reader: MakeReader = PlainReader
