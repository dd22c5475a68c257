"""Rejections in usage.ledger: writing them, and which error reports are there already."""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from metering.kafka.partition_log import Appender, LogReader
from metering.records.errors import HistoryLost
from metering.records.ledger_records import REJECTION_FORMAT, Rejection, decode_entry, encode_rejection

# What lies further back counts as not recorded: it is written again, and readers take the same rejection for what it is.
RECORDS_MAX: Final = 50_000
# What encode_rejection begins with; intents are large, and these are few.
_BEGINNING: Final = b'{"format":"' + REJECTION_FORMAT.encode() + b'"'


@dataclass(slots=True)
class Recorded:
    """What the ledger has of one report: how many errors by code and partition, and when the newest of it was written."""

    counts: dict[tuple[str, int], int] = field(default_factory=dict)
    at_ms: int = 0

    def missing(self, rejections: Sequence[Rejection]) -> list[Rejection]:
        """Which of the report's rejections are not there. None, once its errors are there in some other division among the partitions."""
        if sum(self.counts.values()) >= sum(rejection.error_count for rejection in rejections):
            return []
        return [rejection for rejection in rejections if (rejection.code, rejection.partition) not in self.counts]


class RejectionLog:
    """Of all partitions, whoever owns them: a rejection needs no place in the chain. Close it in the end."""

    def __init__(self, *, reader: LogReader, appender: Appender, topic: str, partitions: int) -> None:
        self._reader = reader
        self._appender = appender
        self._topic = topic
        self._partitions = partitions

    async def close(self) -> None:
        """Close the connections."""
        await self._reader.close()
        await self._appender.close()

    async def append(self, rejections: Sequence[Rejection]) -> None:
        """Returns when all are durable. Raises LogUnavailable, and then each may be there or not."""
        await asyncio.gather(*(self._appender.append(self._topic, rejection.partition, encode_rejection(rejection)) for rejection in rejections))

    async def recorded(self, event_ids: Collection[str], since_ms: int) -> dict[str, Recorded]:
        """Those of these reports that were written since then. Reads the newest RECORDS_MAX records of each partition at most.

        Raises LogUnavailable, and RecordCorrupt for a rejection that cannot be read.
        """
        found: dict[str, Recorded] = {}
        for partition in range(self._partitions):
            start, end = await self._reader.bounds(self._topic, partition)
            at = await self._reader.offset_for_time(self._topic, partition, since_ms)
            if at is not None:
                await self._read(partition, max(start, at, end - RECORDS_MAX), end, event_ids, found)
        return found

    async def _read(self, partition: int, start: int, end: int, event_ids: Collection[str], found: dict[str, Recorded]) -> None:
        try:
            async with aclosing(self._reader.records(self._topic, partition, start, end)) as batches:
                async for records in batches:
                    for record in records:
                        entry = decode_entry(record.value) if (record.value or b"").startswith(_BEGINNING) else None
                        if isinstance(entry, Rejection) and entry.event_id in event_ids:
                            recorded = found.setdefault(entry.event_id, Recorded())
                            recorded.counts[entry.code, partition] = entry.error_count
                            recorded.at_ms = max(recorded.at_ms, entry.at_ms)
        except HistoryLost:
            # Deleted between the question for the bounds and the reading: too old to matter.
            return
