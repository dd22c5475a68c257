"""Find tallies: the one that covers an offset, those that have rows of a customer, and the meters that each counted by."""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from metering.folds.tallies import Tallies, tallies_from
from metering.kafka.chain_records import Decode, PartitionPlace, chain_records, first_chain_record, last_chain_record
from metering.kafka.partition_log import LogReader
from metering.records.fail_closed import RecordCorrupt
from metering.records.meters import Catalogue, catalogue_from
from metering.records.tally import Tally, decode_tally


class TallySearch:
    """Reads usage.tallies. Blocks on Kafka; every method may raise LogUnavailable or FailClosed. `decode` may leave rows out."""

    def __init__(self, reader: LogReader, topic: str, decode: Decode[Tally] = decode_tally) -> None:
        self._reader = reader
        self._topic = topic
        self._decode = decode
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
        place = PartitionPlace(self._topic, partition)
        last = await last_chain_record(self._reader, place, start, end, self._decode)
        if last is None:
            return
        begin, fold = await self._begin(place, since_ms, start, last)
        async with aclosing(chain_records(self._reader, place, begin, end, self._decode)) as tallies:
            async for offset, _, tally in tallies:
                if fold.fold(offset, tally):
                    if tally.catalogue_definition is not None:
                        self._catalogues[tally.catalogue] = catalogue_from(tally.catalogue_definition)
                    yield offset, tally

    def catalogue_of(self, tally: Tally) -> Catalogue | None:
        """The meters that a tally which was read counted by; None if the log does not say it, as of tallies of the old form."""
        return self._catalogues.get(tally.catalogue)

    async def _begin(self, place: PartitionPlace, since_ms: int, start: int, last: tuple[int, Tally]) -> tuple[int, Tallies]:
        """An accepted tally that is not behind what was logged at `since_ms`, and behind which all meters are named; and the fold before it."""
        found = await self._reader.offset_for_time(*place, since_ms)
        first = None if found is None else await first_chain_record(self._reader, place, found, last[0], self._decode)
        _, tally = last if first is None else first
        begin = min(tally.link.previous, tally.checkpoint)
        begin = max(begin, start)  # NO_OFFSET is below all
        if begin == 0:
            return begin, Tallies()
        at_begin = await first_chain_record(self._reader, place, begin, begin + 1, self._decode)
        if at_begin is None:
            raise RecordCorrupt(f"offset {begin} of {self._topic}/{place.partition} holds no tally")
        return begin, tallies_from(*at_begin)
