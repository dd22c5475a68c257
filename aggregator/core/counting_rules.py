"""What the counting of a partition must know of its surroundings."""

from collections.abc import Callable
from dataclasses import dataclass, field

from aggregator.core.dead_letter_limits import DeadLetterLimits
from metering.records.meters import Catalogue


@dataclass(frozen=True, slots=True)
class CountingRules:
    """What a counter must know of its surroundings. `partition_of` says which partition a customer belongs to.

    `run_min`: from so many records in a row on that may be plain events, reading them as columns takes less than one by one.
    `shape_min`: from so many on, reading those of one shape (see aggregator.reading.event_shapes) takes less than decoding them.
    `batches_min`: from so many small batches in a row on, joining them takes less than counting each.
    """

    topic: str
    catalogue: Catalogue
    partition_of: Callable[[str], int]
    instance: str
    deduplication_horizon_ms: int
    dead_letter_limits: DeadLetterLimits = field(default_factory=DeadLetterLimits)
    run_min: int = 10
    shape_min: int = 30
    batches_min: int = 4
