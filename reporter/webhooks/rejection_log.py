"""Writes rejections to usage.ledger, and finds the error reports that are already there."""

import asyncio
from collections.abc import Collection, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final

from metering.kafka.around_damage import records_around_damage
from metering.kafka.chain_records import PartitionPlace, taken_in
from metering.kafka.partition_log import Appender, LogReader
from metering.records.fail_closed import HistoryLost, RecordUnreadable
from metering.records.ledger_records import REJECTION_FORMAT, Rejection, decode_entry, encode_rejection

# Older rejections count as not recorded. They are written again, and readers recognise the repetition.
RECORDS_MAX: Final = 50_000
# The first bytes of every encoded rejection. Rejections are few; decoding the large intents between them would take long.
_BEGINNING: Final = b'{"format":"' + REJECTION_FORMAT.encode() + b'"'


@dataclass(slots=True)
class Recorded:
    """The part of a report that the ledger has: the number of errors by code and partition, and the time of the newest rejection."""

    counts: dict[tuple[str, int], int] = field(default_factory=dict)
    at_ms: int = 0

    def missing(self, rejections: Sequence[Rejection]) -> list[Rejection]:
        """The rejections of the report that the ledger lacks; none if it has all errors, even divided differently among the partitions."""
        if sum(self.counts.values()) >= sum(rejection.error_count for rejection in rejections):
            return []
        return [rejection for rejection in rejections if (rejection.code, rejection.partition) not in self.counts]


class RejectionLog:
    """Covers all partitions, no matter who owns them: a rejection is not part of the chain. Call `close` at the end."""

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
        """Returns when all are durable. Raises LogUnavailable; then any of them may or may not be in the log."""
        await asyncio.gather(*(self._appender.append(self._topic, rejection.partition, encode_rejection(rejection)) for rejection in rejections))

    async def recorded(self, event_ids: Collection[str], since_ms: int) -> dict[str, Recorded]:
        """What was recorded of these reports since `since_ms`. Reads at most the newest RECORDS_MAX records of each partition.

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
            async with aclosing(records_around_damage(self._reader, self._topic, partition, start, end, on_damage=_unseen)) as batches:
                async for records in batches:
                    for record in records:
                        is_rejection = (record.value or b"").startswith(_BEGINNING)
                        entry = await taken_in(self._reader, PartitionPlace(self._topic, partition), record, decode_entry) if is_rejection else None
                        if isinstance(entry, Rejection) and entry.event_id in event_ids:
                            recorded = found.setdefault(entry.event_id, Recorded())
                            recorded.counts[entry.code, partition] = entry.error_count
                            recorded.at_ms = max(recorded.at_ms, entry.at_ms)
        except HistoryLost:
            # Deleted after the bounds were read, so it is too old to matter.
            return


def _unseen(_start: int, _end: int, _error: RecordUnreadable) -> None:
    """The workers say it, who need all of the ledger. Here one partition's damage must not keep reports about others from being seen."""
