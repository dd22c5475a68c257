"""Find tallies: the one that covers an offset, those that have rows of a customer, and the meters that each counted by."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from metering.folds.tallies import Tallies, tallies_from
from metering.kafka.partition_log import LogReader
from metering.records.fail_closed import RecordCorrupt
from metering.records.meters import Catalogue, catalogue_from
from metering.records.tally import Tally, decode_tally


class TallySearch:
    """Reads usage.tallies. Blocks on Kafka; every method may raise LogUnavailable or FailClosed."""

    def __init__(self, reader: LogReader, topic: str) -> None:
        self._reader = reader
        self._topic = topic
        self._catalogues: dict[str, Catalogue] = {}

    async def covering(self, partition: int, offset: int, log_time_ms: int) -> tuple[int, Tally] | None:
        """The accepted tally that covers this offset of usage.events, whose record has this log time; None if none does yet."""
        async with aclosing(self.accepted(partition, log_time_ms)) as tallies:
            async for at, tally in tallies:
                if tally.link.start <= offset < tally.link.end:
                    return at, tally
        return None

    async def accepted(self, partition: int, since_ms: int) -> AsyncGenerator[tuple[int, Tally], None]:
        """The accepted tallies, with their offsets, of which the first covers what was logged then or earlier."""
        start, end = await self._reader.bounds(self._topic, partition)
        if start == end:
            return
        begin, fold = await self._begin(partition, since_ms, start, end)
        async with aclosing(self._reader.records(self._topic, partition, begin, end)) as batches:
            async for records in batches:
                for record in records:
                    tally = decode_tally(record.value)
                    if fold.fold(record.offset, tally):
                        if tally.catalogue_definition is not None:
                            self._catalogues[tally.catalogue] = catalogue_from(tally.catalogue_definition)
                        yield record.offset, tally

    def catalogue_of(self, tally: Tally) -> Catalogue | None:
        """The meters that a tally which was read counted by; None if the log does not say it, as of tallies of the old form."""
        return self._catalogues.get(tally.catalogue)

    async def _begin(self, partition: int, since_ms: int, start: int, end: int) -> tuple[int, Tallies]:
        """An accepted tally that is not behind what was logged at `since_ms`, and behind which all meters are named; and the fold before it."""
        found = await self._reader.offset_for_time(self._topic, partition, since_ms)
        tally = await self._at(partition, end - 1 if found is None else min(found, end - 1))
        begin = min(tally.link.previous, tally.checkpoint)
        begin = max(begin, start)  # NO_OFFSET is below all
        return begin, Tallies() if begin == 0 else tallies_from(begin, await self._at(partition, begin))

    async def _at(self, partition: int, offset: int) -> Tally:
        record = await self._reader.record(self._topic, partition, offset)
        if record is None:
            raise RecordCorrupt(f"offset {offset} of {self._topic}/{partition} holds no tally")
        return decode_tally(record.value)
