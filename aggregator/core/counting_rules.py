"""What the counting of a partition must know of its surroundings."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from aggregator.reading.events import Reading
from aggregator.reading.plain_reader import PlainReader
from aggregator.reading.series import SeriesTable
from metering.records.meters import Catalogue
from metering.records.record import LogRecord


class EventReader(Protocol):
    """Reads the records of one partition; see PlainReader."""

    def read(self, records: Sequence[LogRecord]) -> Reading:
        """All of them, numbered by the series table."""

    def forget(self) -> None:
        """The series table was emptied."""


def plain_reader(partition: int, catalogue: Catalogue, series: SeriesTable) -> EventReader:
    """Reads in Python alone."""
    return PlainReader(partition, catalogue.known_fields, series)


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
    make_reader: Callable[[int, Catalogue, SeriesTable], EventReader] = plain_reader
