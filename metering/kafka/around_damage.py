"""Reading a range of a partition around batches that cannot be read: for those who look for something, and do not count."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing

from aiokafka.structs import ConsumerRecord

from metering.kafka.partition_log import LogReader
from metering.records.fail_closed import RecordUnreadable

OnDamage = Callable[[int, int, RecordUnreadable], None]
"""Gets the offsets of a batch that cannot be read, from the first to before the second, and why. It may raise instead."""


async def records_around_damage(
    reader: LogReader, topic: str, partition: int, start: int, end: int, *, on_damage: OnDamage
) -> AsyncGenerator[Sequence[ConsumerRecord[bytes, bytes]], None]:
    """The records of [start, end) that can be read. Raises as `LogReader.records` does. Close the generator if you stop before its end."""
    while start < end:
        try:
            async with aclosing(reader.records(topic, partition, start, end)) as blocks:
                async for records in blocks:
                    start = records[-1].offset + 1
                    yield records
            return
        except RecordUnreadable as error:
            if error.offset is None:
                raise
            start = min(end, await reader.batch_end(topic, partition, error.offset))
            on_damage(error.offset, start, error)
