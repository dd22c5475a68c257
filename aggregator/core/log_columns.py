"""What counting needs of records beside their events, as columns."""

from collections.abc import Sequence
from operator import attrgetter
from typing import NamedTuple

import numpy as np

from metering.kafka.batches.framed_records import FramedRecords
from metering.records.integer_columns import Integers
from metering.records.record import LogRecord

_offset = attrgetter("offset")
_timestamp = attrgetter("timestamp")
_value = attrgetter("value")


class LogColumns(NamedTuple):
    """Offsets, log times in ms, and bytes of the values of records."""

    offsets: Integers
    moments: Integers
    sizes: Integers


def columns_of(records: Sequence[LogRecord]) -> LogColumns:
    """Of records in log order."""
    if isinstance(records, FramedRecords):
        return LogColumns(records.offsets, records.timestamps, records.value_sizes)
    return LogColumns(
        np.array(list(map(_offset, records)), np.int64),
        np.array(list(map(_timestamp, records)), np.int64),
        np.array([len(value) if value is not None else 0 for value in map(_value, records)], np.int64),
    )
