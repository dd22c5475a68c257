"""Which reader reads: the native one where it is installed, and otherwise the plain one."""

from collections.abc import Callable, Iterable, Sequence
from typing import Literal, NamedTuple, Protocol, TypeAlias

from aggregator.reading.events import Reading
from aggregator.reading.plain_reader import PlainReader
from aggregator.reading.series import SeriesTable
from metering.records.record import LogRecord


class EventReader(Protocol):
    """Reads the records of one partition."""

    def read(self, records: Sequence[LogRecord]) -> Reading:
        """All of them, numbered by the series table."""

    def forget(self) -> None:
        """The series table was emptied."""


MakeReader: TypeAlias = Callable[[int, Iterable[str], SeriesTable], EventReader]
"""Of the partition, the usage fields that the catalogue knows, and the table that numbers the series."""


class ChosenReader(NamedTuple):
    """A reader with its name in logs and metrics."""

    name: Literal["native", "plain"]
    make: MakeReader


def quickest_reader() -> ChosenReader:
    """The quickest that this installation has."""
    try:
        from aggregator.reading.native_reader import NativeReader  # noqa: PLC0415  # it imports a distribution that may be missing
    except ImportError:
        return ChosenReader("plain", PlainReader)
    return ChosenReader("native", NativeReader)
