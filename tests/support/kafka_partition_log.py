"""A partition's log, opened and appended to."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from taximeter_sandbox.kafka.storage.batch import parse_header
from taximeter_sandbox.kafka.storage.partition_log import PartitionLog

from tests.support.broker_wire import record_batch


@contextmanager
def opened(path: Path) -> Iterator[PartitionLog]:
    with closing(PartitionLog(path, fsync_each_append=False)) as log:
        yield log


def append(log: PartitionLog, values: list[bytes], *, append_time_ms: int | None = None, **options: int) -> int:
    batch = record_batch(values, **options)
    return log.append(batch, parse_header(batch), append_time_ms=append_time_ms).base_offset
