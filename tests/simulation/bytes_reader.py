"""The native reader for simulated records: they are written as the bytes of a batch first."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from unittest.mock import patch

from aggregator.reading.events import Reading
from aggregator.reading.readers import EventReader, MakeReader, quickest_reader
from aggregator.reading.series import SeriesTable
from metering.records.record import LogRecord
from tests.simulation import simulation
from tests.support.metering_framed_records import framed


class BytesReader:
    """Gives a reader bytes instead of records."""

    def __init__(self, reader: EventReader) -> None:
        self._reader = reader
        self.forget: Callable[[], None] = reader.forget

    def read(self, records: Sequence[LogRecord]) -> Reading:
        """As the reader reads them."""
        return self._reader.read(framed(records))


def from_bytes(make: MakeReader) -> MakeReader:
    """The same reader, of simulated records."""

    def made(partition: int, fields: Iterable[str], series: SeriesTable) -> EventReader:
        return BytesReader(make(partition, fields, series))

    return made


@contextmanager
def native_reader() -> Iterator[None]:
    """All aggregators read with the native reader. Raises AssertionError where it is not installed."""
    chosen = quickest_reader()
    assert chosen.name == "native"
    with patch.object(simulation, "make_reader", from_bytes(chosen.make)):
        yield
