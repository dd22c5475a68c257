"""What an encoder was given, read back from the batches that it made."""

from itertools import chain

from taximeter_emitter.buffer.batching import EventRow
from taximeter_emitter.buffer.event_encoding import Event, EventDecoder
from taximeter_emitter.buffer.partition_cache import PartitionCache

from tests.support.ingest_rows import rows_of


def read(found: list[Event], partitions: int) -> dict[tuple[int, tuple[str, ...]], list[EventRow]]:
    """By partition and usage fields, each list in the order of the events."""
    rows: dict[tuple[int, tuple[str, ...]], list[EventRow]] = {}
    for home, columns in EventDecoder("s").decode(list(chain.from_iterable(found)), PartitionCache(partitions)):
        rows.setdefault((home, columns.fields), []).extend(rows_of(columns))
    return rows
