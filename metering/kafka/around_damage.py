"""Reading a range of a partition around batches that cannot be read: for those who look for something, and do not count."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing

from metering.kafka.partition_log import LogReader
from metering.records.fail_closed import RecordUnreadable
from metering.records.record import LogRecord

OnDamage = Callable[[int, int, RecordUnreadable], None]
"""Gets the offsets of a batch that cannot be read, from the first to before the second, and why. It may raise instead."""


def leave_out(_start: int, _end: int, _error: RecordUnreadable) -> None:
    """For those to whom what cannot be read says nothing."""


GoOn = Callable[[int, RecordUnreadable], Awaitable[int]]
"""Gets the offset of a batch that cannot be read, and why. Returns the offset behind it, or raises."""


async def records_past_damage(
    reader: LogReader, topic: str, partition: int, start: int, end: int, *, go_on: GoOn
) -> AsyncGenerator[Sequence[LogRecord], None]:
    """The records of [start, end), where `go_on` lets reading go on. Raises as it and `LogReader.records` do. Close the generator if you stop before
    its end.
    """
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
            start = await go_on(error.offset, error)


async def records_around_damage(
    reader: LogReader, topic: str, partition: int, start: int, end: int, *, on_damage: OnDamage
) -> AsyncGenerator[Sequence[LogRecord], None]:
    """The records of [start, end) that can be read. Raises as `LogReader.records` does. Close the generator if you stop before its end."""

    async def go_on(offset: int, error: RecordUnreadable) -> int:
        behind = min(end, await reader.batch_end(topic, partition, offset))
        on_damage(offset, behind, error)
        return behind

    async with aclosing(records_past_damage(reader, topic, partition, start, end, go_on=go_on)) as blocks:
        async for records in blocks:
            yield records
