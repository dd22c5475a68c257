"""Learns of error reports that another process recorded. A webhook reaches one process, and one asks Stripe for old reports; all send to the meter.

A report is recorded in the partitions of the meter events that it names, and in partition 0 as far as it only counts. So all partitions are looked
at, also those that other processes own: the report names a meter, and the meter is everybody's.
"""

from collections.abc import Callable
from contextlib import aclosing, suppress
from typing import Final

from taximeter_emitter.clock import Clock

from metering.kafka.around_damage import records_around_damage
from metering.kafka.partition_log import LogReader, LogUnavailable
from metering.records.fail_closed import FailClosed, RecordUnreadable
from metering.records.ledger_records import REJECTION_FORMAT, Rejection, decode_entry

REPORTS_LOOK_SECONDS: Final = 5.0
_REJECTION: Final = b'{"format":"' + REJECTION_FORMAT.encode() + b'"'


class ReportFollower:
    """Hands each rejection that is written from now on to `observe`. The reader stays its owner's."""

    def __init__(self, reader: LogReader, topic: str, partitions: int, observe: Callable[[Rejection], None], clock: Clock) -> None:
        self._reader = reader
        self._topic = topic
        self._observe = observe
        self._clock = clock
        self._positions: dict[int, int | None] = dict.fromkeys(range(partitions))

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await self.look()
            await self._clock.sleep(REPORTS_LOOK_SECONDS)

    async def look(self) -> None:
        """Read what is new. A partition that cannot be read keeps no other back; what is wrong with it is said by its worker, who needs all of it."""
        for partition in self._positions:
            with suppress(LogUnavailable, FailClosed):
                await self._look_at(partition)

    async def _look_at(self, partition: int) -> None:
        start, end = await self._reader.bounds(self._topic, partition)
        position = self._positions[partition]
        begin = end if position is None else max(start, position)
        async with aclosing(records_around_damage(self._reader, self._topic, partition, begin, end, on_damage=_unseen)) as batches:
            async for records in batches:
                for record in records:
                    self._positions[partition] = record.offset + 1
                    entry = decode_entry(record.value) if (record.value or b"").startswith(_REJECTION) else None
                    if isinstance(entry, Rejection):
                        self._observe(entry)
        self._positions[partition] = end


def _unseen(_start: int, _end: int, _error: RecordUnreadable) -> None:
    """The workers say it, who need all of the ledger. Here one partition's damage must not keep reports about others from being seen."""
