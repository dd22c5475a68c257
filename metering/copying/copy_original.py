"""The original of a copy, read around what a person stepped over or passed over: such offsets are without a record, in the copy for good."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from metering.copying.partition_copy import CopiedRecords
from metering.folds.tallies import Tallies, tallies_from
from metering.kafka.chain_records import PartitionPlace, chain_records, first_chain_record, kept_records
from metering.kafka.partition_log import LogReader
from metering.kafka.topics import Topics
from metering.records.fail_closed import RecordUnreadable
from metering.records.tally import decode_tally


class CopyOriginal:
    """A CopySource. Blocks on Kafka; the reader stays its owner's."""

    def __init__(self, reader: LogReader, topics: Topics) -> None:
        self._reader = reader
        self._topics = topics

    async def bounds(self, topic: str, partition: int) -> tuple[int, int]:
        """The first offset that is kept, and the next one. Raises LogUnavailable."""
        return await self._reader.bounds(topic, partition)

    async def records(self, topic: str, partition: int, start: int, end: int) -> AsyncGenerator[CopiedRecords, None]:
        """The records of [start, end), without batches that cannot be read and that nobody takes in, as a person decided.

        Raises as `LogReader.records` does: RecordUnreadable, with what to type, for a batch about which nobody decided.
        """
        if topic in {self._topics.tallies.name, self._topics.ledger.name}:
            async with aclosing(kept_records(self._reader, PartitionPlace(topic, partition), start, end)) as kept:
                async for records in kept:
                    yield records
            return
        while start < end:
            try:
                async with aclosing(self._reader.records(topic, partition, start, end)) as blocks:
                    async for records in blocks:
                        start = records[-1].offset + 1
                        yield records
                return
            except RecordUnreadable as error:
                if error.offset is None or topic != self._topics.events.name:
                    raise
                stepped_to = await self._stepped_to(partition, error.offset)
                if stepped_to is None:
                    typed = f"taximeter repair skip --partition {partition} --offset {error.offset}"
                    raise RecordUnreadable(f"{error}. If no copy of it can be read: {typed}", offset=error.offset) from error
                start = stepped_to

    async def _stepped_to(self, partition: int, offset: int) -> int | None:
        """The end of what an accepted tally steps over at this offset of usage.events; None if none does. Reads all tallies."""
        place = PartitionPlace(self._topics.tallies.name, partition)
        start, end = await self._reader.bounds(*place)
        first = await first_chain_record(self._reader, place, start, end, decode_tally) if start else None
        tallies = Tallies() if first is None else tallies_from(*first)
        async for at, _, tally in chain_records(self._reader, place, start, end, decode_tally):
            if tallies.fold(at, tally) and tally.stepped_over is not None and tally.link.start <= offset < tally.link.end:
                return tally.link.end
        return None
