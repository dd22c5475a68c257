"""Follows one partition of usage.ledger."""

import asyncio
from contextlib import aclosing

from console.folding.spoken_events import SpokenBook
from console.folding.told_usage import ToldUsage
from console.folding.usage_changes import FoldChanges
from console.following.log_beginnings import check_kept, ledger_at_place, ledger_from_time
from console.following.spoken_search import at_place, settled_event
from console.following.store_thread import StoreThread
from console.following.tally_follower import ROWS_A_WRITE
from console.store.fold_places import LEDGER, FoldPlace, place_of_ledger
from metering.folds.corrections import MeterEventPlace
from metering.kafka.chain_records import PartitionPlace, chain_records
from metering.kafka.partition_log import LogReader
from metering.records.ledger_records import Entry, decode_entry


class LedgerFollower:
    """As TallyFollower. `search`: reads what was forgotten, beside `reader`."""

    def __init__(self, reader: LogReader, search: LogReader, place: PartitionPlace, store: StoreThread, since_ms: int) -> None:
        self.place = place
        self._reader = reader
        self._search = search
        self._store = store
        self._since_ms = since_ms
        self._fold: ToldUsage | None = None
        self._end: int | None = None
        self._stored: FoldPlace | None = None
        self._log_time_ms = 0

    async def look(self) -> None:
        """See where the ledger ends, before the tallies are read: then what the next `read_on` folds is of tallies that are folded already."""
        self._end = (await self._reader.bounds(*self.place))[1]

    async def read_on(self) -> bool:
        """As TallyFollower's, up to where `look` saw the end."""
        fold, self._fold = self._fold or await self._begin(), None  # after an interruption it is not known what was folded
        position = fold.ledger.chain.next_offset
        start, end = await self._reader.bounds(*self.place)
        check_kept(self.place, position, start, end)
        end = end if self._end is None else max(position, min(end, self._end))
        if position < end:
            await self._read(fold, position, end)
        self._fold = fold
        return position < end

    async def _begin(self) -> ToldUsage:
        partition = self.place.partition
        self._stored = stored = await self._store.run(self._store.store.place, LEDGER, partition)
        if stored is None:
            beginning = await ledger_from_time(self._reader, self.place, self._since_ms)
            beginning.ledger.chain.next_offset = beginning.begin
            return ToldUsage(partition, beginning.ledger)
        self._log_time_ms = stored.log_time_ms
        spoken = SpokenBook(await self._store.run(self._store.store.spoken, partition))
        beginning = await ledger_at_place(self._reader, self.place, stored)
        fold = ToldUsage(partition, beginning.ledger, spoken)
        async with aclosing(chain_records(self._reader, self.place, beginning.begin, stored.next_offset, decode_entry)) as entries:
            async for offset, log_time_ms, entry in entries:
                fold.pass_by(offset, log_time_ms, entry)
        fold.ledger.chain.next_offset = stored.next_offset
        return fold

    async def _read(self, fold: ToldUsage, position: int, end: int) -> None:
        changes = FoldChanges()
        async with aclosing(chain_records(self._reader, self.place, position, end, decode_entry)) as entries:
            async for offset, log_time_ms, entry in entries:
                changes = await self._remember(fold, offset, entry, changes)
                fold.fold(offset, log_time_ms, entry, changes)
                self._log_time_ms = log_time_ms
                await asyncio.sleep(0)  # those who ask have their turn
                if changes.rows >= ROWS_A_WRITE:
                    await self._write(fold, changes)
                    changes = FoldChanges()
        fold.ledger.chain.next_offset = end
        await self._write(fold, changes)

    async def _remember(self, fold: ToldUsage, offset: int, entry: Entry, changes: FoldChanges) -> FoldChanges:
        """Know what the entry at `offset` speaks of; returns the changes that are not written yet."""
        names = list(fold.names(entry))
        if names and changes.intents:
            await self._write(fold, changes)  # the intent may be among them
            changes = FoldChanges()
        for name in names:
            await self._know(fold, name, offset, changes)
        return changes

    async def _know(self, fold: ToldUsage, name: MeterEventPlace, end: int, changes: FoldChanges) -> None:
        intent = await self._store.run(self._store.store.intent_at, self.place.partition, name.start, name.end)
        if intent is None or name.chain_id != fold.ledger.chain_id:
            return  # older than what is kept
        place = at_place(intent, name)
        if fold.know_open(place, changes):
            return
        found = await settled_event(self._search, self.place, intent, name, end)
        if found is not None:
            fold.know(place, found, changes)

    async def _write(self, fold: ToldUsage, changes: FoldChanges) -> None:
        changes.held = fold.held()
        place = place_of_ledger(self.place.partition, fold.ledger, self._log_time_ms)
        await self._store.run(self._store.store.write, place, self._stored, changes, fold.spoken.events)
        self._stored = place
        self._store.revision += 1
