"""The records of one batch as aiokafka reads them, which is quick, and where it fails as plain_batches does. Pure."""

from collections.abc import Iterable, Iterator
from typing import Any

from aiokafka.record.default_records import DefaultRecordBatch

from metering.kafka.batches.plain_batches import BatchHeader, BatchUnreadable, records_of


def records_from(offset: int, clear: memoryview, header: BatchHeader) -> Iterator[Any]:
    """The records of a batch in clear from this offset on. Raises BatchUnreadable, perhaps behind some that are before the damage."""

    def new(records: Iterable[Any]) -> Iterator[Any]:
        """Those that were not given out yet."""
        nonlocal offset
        for record in records:
            if record.offset >= offset:
                offset = record.offset + 1
                yield record

    try:
        yield from new(_in_order(clear, header))
    except Exception:  # the library's parsers raise whatever they come upon
        yield from new(records_of(clear, header))


def _in_order(clear: memoryview, header: BatchHeader) -> Iterator[Any]:
    """The records as the library reads them, while their offsets are those that follow. Raises BatchUnreadable where they are not.

    It takes the attributes of a record for a number of several bytes. Where that goes wrong it may raise nothing, and give a wrong offset.
    """
    expected = header.base_offset
    for record in DefaultRecordBatch(clear):
        if record.offset != expected:
            break
        expected += 1
        yield record
    if expected != header.next_offset:
        raise BatchUnreadable(f"the library finds no record at offset {expected}")
