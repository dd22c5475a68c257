"""Learns of error reports that another process recorded. A webhook reaches one process, and one asks Stripe for old reports; all send to the meter.

What a report only counts, and what cannot be traced by the process that got it, is in partition 0 of the ledger. So that is where to look: a report
about a meter nearly always has some of it, because a request of the stream is known only to the process that made it.
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
REPORTS_PARTITION: Final = 0
_REJECTION: Final = b'{"format":"' + REJECTION_FORMAT.encode() + b'"'


class ReportFollower:
    """Hands each rejection that is written from now on to `observe`. The reader stays its owner's."""

    def __init__(self, reader: LogReader, topic: str, observe: Callable[[Rejection], None], clock: Clock) -> None:
        self._reader = reader
        self._topic = topic
        self._observe = observe
        self._clock = clock
        self._position: int | None = None

    async def run(self) -> None:
        """Until it is cancelled. What is wrong with the ledger is said by the workers, who need all of it."""
        while True:
            with suppress(LogUnavailable, FailClosed):
                await self.look()
            await self._clock.sleep(REPORTS_LOOK_SECONDS)

    async def look(self) -> None:
        """Read what is new. Raises LogUnavailable or FailClosed."""
        start, end = await self._reader.bounds(self._topic, REPORTS_PARTITION)
        begin = end if self._position is None else max(start, self._position)
        async with aclosing(records_around_damage(self._reader, self._topic, REPORTS_PARTITION, begin, end, on_damage=_unseen)) as batches:
            async for records in batches:
                for record in records:
                    self._position = record.offset + 1
                    entry = decode_entry(record.value) if (record.value or b"").startswith(_REJECTION) else None
                    if isinstance(entry, Rejection):
                        self._observe(entry)
        self._position = end


def _unseen(_start: int, _end: int, _error: RecordUnreadable) -> None:
    """The workers say it, who need all of the ledger. Here one partition's damage must not keep reports about others from being seen."""
