"""Follows one partition of usage.deadletters."""

from contextlib import aclosing

from console.folding.letter_lines import note_letter
from console.folding.usage_changes import FoldChanges
from console.following.store_thread import StoreThread
from console.following.tally_follower import ROWS_A_WRITE
from console.store.fold_places import LETTERS, FoldPlace
from metering.kafka.around_damage import leave_out, records_around_damage
from metering.kafka.chain_records import PartitionPlace
from metering.kafka.partition_log import LogReader


class LetterFollower:
    """As TallyFollower. What retention took meanwhile, and what is damaged, is passed by: the tallies say how much was set aside."""

    def __init__(self, reader: LogReader, place: PartitionPlace, store: StoreThread, since_ms: int) -> None:
        self.place = place
        self._reader = reader
        self._store = store
        self._since_ms = since_ms
        self._stored: FoldPlace | None = None
        self._at: FoldPlace | None = None

    async def read_on(self) -> bool:
        """As TallyFollower's."""
        at, self._at = self._at or await self._begin(), None
        start, end = await self._reader.bounds(*self.place)
        begin = max(start, at.next_offset) if at.next_offset <= end else start
        if begin < end:
            at = await self._read(at, begin, end)
        self._at = at
        return begin < end

    async def _begin(self) -> FoldPlace:
        self._stored = stored = await self._store.run(self._store.store.place, LETTERS, self.place.partition)
        if stored is not None:
            return stored
        found = await self._reader.offset_for_time(*self.place, self._since_ms)
        begin = (await self._reader.bounds(*self.place))[1] if found is None else found
        return FoldPlace(LETTERS, self.place.partition, begin)

    async def _read(self, at: FoldPlace, begin: int, end: int) -> FoldPlace:
        changes = FoldChanges()
        async with aclosing(records_around_damage(self._reader, *self.place, begin, end, on_damage=leave_out)) as blocks:
            async for records in blocks:
                for record in records:
                    note_letter(record, changes)
                at = at._replace(next_offset=records[-1].offset + 1, log_time_ms=records[-1].timestamp)
                if changes.rows >= ROWS_A_WRITE:
                    await self._write(at, changes)
                    changes = FoldChanges()
        at = at._replace(next_offset=end)
        await self._write(at, changes)
        return at

    async def _write(self, at: FoldPlace, changes: FoldChanges) -> None:
        await self._store.run(self._store.store.write, at, self._stored, changes)
        self._stored = at
        self._store.revision += 1
