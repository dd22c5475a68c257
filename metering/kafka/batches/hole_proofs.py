"""Proof that offsets without a record never had one to read: they hold a transaction marker, or data of an aborted transaction.

A client passes over such offsets, over what compaction or a deletion took, and over records that it lost by its own fault, and says nothing.
"""

from collections.abc import Awaitable
from typing import Final, Protocol

from aiokafka.errors import KafkaTimeoutError

from metering.kafka.batch_fetcher import Fetched
from metering.kafka.batches.record_batches import ExaminedPart, Holds, spans_of
from metering.records.fail_closed import HistoryLost

PART_BYTES: Final = 1024 * 1024
PARTS_MAX: Final = 4_000  # of different partitions; each is some hundred kilobytes at most, where every record is a transaction


class BatchFetch(Protocol):
    """See BatchFetcher."""

    def __call__(self, topic: str, partition: int, offset: int, /, *, bytes_max: int) -> Awaitable[Fetched]:
        """As there."""
        ...


class HoleProofs:
    """One fetch examines the log for all holes in the next megabyte; the last part examined of each partition is kept."""

    def __init__(self, fetch: BatchFetch) -> None:
        self._fetch = fetch
        self._parts: dict[tuple[str, int], ExaminedPart] = {}

    def forget(self) -> None:
        """Examine everything again."""
        self._parts.clear()

    def is_proved(self, topic: str, partition: int, start: int, end: int) -> bool:
        """Whether it is known without asking that [start, end) holds nothing to read."""
        part = self._parts.get((topic, partition))
        if part is None or not part.start <= start <= end <= part.end:
            return False
        while start < end:
            holds, start = part.at(start)
            if holds is not Holds.NOTHING:
                return False
        return True

    async def holds_no_record(self, topic: str, partition: int, start: int, end: int) -> bool:
        """Whether the offsets [start, end) hold nothing to read; False: there is a record.

        Raises HistoryLost where records were taken away, KafkaError when Kafka does not answer.
        """
        position = start
        while position < end:
            part = self._parts.get((topic, partition))
            if part is None or not part.start <= position < part.end or part.at(position)[0] is not Holds.NOTHING:
                # What was a record before may have been taken away since.
                part = await self._examine(topic, partition, position)
            holds, until = part.at(position)
            if holds is Holds.RECORDS:
                return False
            if holds is not Holds.NOTHING:
                raise HistoryLost(
                    f"offsets {position} to {min(until, end) - 1} of {topic}/{partition} hold neither a record nor a"
                    " transaction marker: compaction or a deletion took what was there"
                )
            position = until
        return True

    async def lost_to(self, topic: str, partition: int, start: int) -> int:
        """The end of the offsets from `start` on of which nothing is left, neither a record nor a marker; `start` if there are none.

        Raises HistoryLost if the log begins behind it, KafkaError when Kafka does not answer.
        """
        holds, until = (await self._examine(topic, partition, start)).at(start)
        return until if holds is None else start

    async def lost_in(self, topic: str, partition: int, start: int, end: int) -> list[range]:
        """All offsets of [start, end) of which nothing is left. Raises as `lost_to` does; reads the headers of all batches."""
        found, position = [], start
        while position < end:
            part = await self._examine(topic, partition, position)
            while position < min(part.end, end):
                holds, until = part.at(position)
                if holds is None:
                    found.append(range(position, min(until, end)))
                position = until
        return found

    async def _examine(self, topic: str, partition: int, position: int) -> ExaminedPart:
        fetched = await self._fetch(topic, partition, position, bytes_max=PART_BYTES)
        part = ExaminedPart(position, spans_of(fetched.data, fetched.aborted))
        if part.end <= position:
            raise KafkaTimeoutError(f"nothing is to be had of {topic}/{partition} at {position} yet")
        if len(self._parts) >= PARTS_MAX:
            self._parts.clear()
        self._parts[topic, partition] = part
        return part
