"""Follows one partition of usage.tallies."""

import asyncio
from contextlib import aclosing
from typing import Final

from console.folding.counted_usage import CountedUsage
from console.folding.usage_changes import FoldChanges
from console.following.log_beginnings import TallyBeginning, check_kept, tallies_at, tallies_since
from console.following.store_thread import StoreThread
from console.store.fold_places import TALLIES, FoldPlace, place_of_tallies
from metering.kafka.chain_records import PartitionPlace, chain_records
from metering.kafka.partition_log import LogReader
from metering.records.tally import decode_tally

ROWS_A_WRITE: Final = 20_000


class TallyFollower:
    """`since_ms`: where nothing is folded yet, nothing older is wanted. After any error it begins again where the store is."""

    def __init__(self, reader: LogReader, place: PartitionPlace, store: StoreThread, since_ms: int) -> None:
        self.place = place
        self._reader = reader
        self._store = store
        self._since_ms = since_ms
        self._beginning: TallyBeginning | None = None
        self._stored: FoldPlace | None = None
        self._log_time_ms = 0

    async def read_on(self) -> bool:
        """Fold to where the topic ended when this was called; returns whether there was something.

        Blocks on Kafka and the disk; raises LogUnavailable, FailClosed or StoreUnusable.
        """
        beginning, self._beginning = self._beginning or await self._begin(), None  # after an interruption it is not known what was folded
        start, end = await self._reader.bounds(*self.place)
        check_kept(self.place, beginning.begin, start, end)
        if beginning.begin < end:
            await self._fold(beginning, end)
        self._beginning = beginning._replace(begin=end)
        return beginning.begin < end

    async def _begin(self) -> TallyBeginning:
        self._stored = stored = await self._store.run(self._store.store.place, TALLIES, self.place.partition)
        if stored is None:
            return await tallies_since(self._reader, self.place, self._since_ms)
        self._log_time_ms = stored.log_time_ms
        return tallies_at(stored)

    async def _fold(self, beginning: TallyBeginning, end: int) -> None:
        changes, fold = FoldChanges(), beginning.fold
        async with aclosing(chain_records(self._reader, self.place, beginning.begin, end, decode_tally)) as tallies:
            async for offset, log_time_ms, tally in tallies:
                if offset < beginning.wanted_from:
                    fold.pass_by(offset, tally)
                    continue
                fold.fold(offset, tally, changes)
                self._log_time_ms = log_time_ms
                await asyncio.sleep(0)  # those who ask have their turn
                if changes.rows >= ROWS_A_WRITE:
                    await self._write(fold, changes)
                    changes = FoldChanges()
        fold.tallies.chain.next_offset = end
        await self._write(fold, changes)

    async def _write(self, fold: CountedUsage, changes: FoldChanges) -> None:
        place = place_of_tallies(self.place.partition, fold.tallies, self._log_time_ms)
        await self._store.run(self._store.store.write, place, self._stored, changes)
        self._stored = place
        self._store.revision += 1
