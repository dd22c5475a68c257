"""Reads the logs from where the last export ended to where they end now, and writes them as files."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Final

from console.following.log_beginnings import check_kept, ledger_at_place, ledger_from_time, tallies_at, tallies_since
from console.store.fold_places import FoldPlace, place_of_ledger, place_of_tallies
from metering.kafka.chain_records import PartitionPlace, chain_records
from metering.kafka.partition_log import LogReader
from metering.kafka.topics import Topics
from metering.records.ledger_records import decode_entry
from metering.records.tally import Tally, decode_tally
from taximeter.exporting.day_files import DayFiles
from taximeter.exporting.export_rows import ExportedRow, rows_of_entry, rows_of_events, rows_of_tally

ROWS_A_FILE: Final = 200_000


class Exporter:
    """Methods block on Kafka and the disk; they raise LogUnavailable, FailClosed, ExportRefused or OSError. The readers stay their owner's.

    `since_ms`: where nothing is exported yet, nothing older is wanted (Unix ms, log time). `gone` counts records of usage.events that retention took.
    """

    def __init__(self, reader: LogReader, events_reader: LogReader, topics: Topics, files: DayFiles, since_ms: int) -> None:
        self._reader = reader
        self._events = events_reader
        self._topics = topics
        self._files = files
        self._since_ms = since_ms
        self.gone = 0

    async def tallies(self, partition: int, *, events: bool) -> None:
        """One partition of usage.tallies; with `events` the events that its tallies cover instead of their rows."""
        place = PartitionPlace(self._topics.tallies.name, partition)
        stored = self._files.place(partition)
        self._files.begin(partition, stored)
        found = await tallies_since(self._reader, place, self._since_ms) if stored is None else tallies_at(stored)
        start, end = await self._reader.bounds(*place)
        check_kept(place, found.begin, start, end)
        fold, rows = found.fold.tallies, list[ExportedRow]()
        begun, last_ms = max(found.begin, min(found.wanted_from, end)), 0 if stored is None else stored.log_time_ms
        async with aclosing(chain_records(self._reader, place, found.begin, end, decode_tally)) as tallies:
            async for offset, log_time_ms, tally in tallies:
                if not fold.fold(offset, tally) or offset < found.wanted_from:
                    continue
                last_ms = log_time_ms
                if not events:
                    rows += rows_of_tally(partition, offset, log_time_ms, tally)
                    begun = await self._written(begun, place_of_tallies(partition, fold, last_ms), rows)
                    continue
                async with aclosing(self._covered(partition, tally)) as covered:
                    async for each in covered:
                        rows += each
                begun = await self._written(begun, place_of_tallies(partition, fold, last_ms), rows)
        fold.chain.next_offset = end
        await self._written(begun, place_of_tallies(partition, fold, last_ms), rows, at_last=True)

    async def ledger(self, partition: int) -> None:
        """One partition of usage.ledger."""
        place = PartitionPlace(self._topics.ledger.name, partition)
        stored = self._files.place(partition)
        self._files.begin(partition, stored)
        found = await ledger_from_time(self._reader, place, self._since_ms) if stored is None else await ledger_at_place(self._reader, place, stored)
        start, end = await self._reader.bounds(*place)
        wanted_from = found.begin if stored is None else stored.next_offset
        check_kept(place, wanted_from, start, end)
        fold, rows, begun = found.ledger, list[ExportedRow](), wanted_from
        last_ms = 0 if stored is None else stored.log_time_ms
        async with aclosing(chain_records(self._reader, place, found.begin, end, decode_entry)) as entries:
            async for offset, log_time_ms, entry in entries:
                made = rows_of_entry(partition, fold, offset, log_time_ms, entry)
                if offset < wanted_from:
                    continue
                last_ms = log_time_ms
                rows += made
                begun = await self._written(begun, place_of_ledger(partition, fold, last_ms), rows)
        fold.chain.next_offset = end
        await self._written(begun, place_of_ledger(partition, fold, last_ms), rows, at_last=True)

    async def _covered(self, partition: int, tally: Tally) -> AsyncGenerator[list[ExportedRow], None]:
        """The events of a tally's range, a block at a time."""
        topic = self._topics.events.name
        kept_from, _ = await self._events.bounds(topic, partition)
        first = max(tally.link.start, kept_from)
        self.gone += max(0, min(first, tally.link.end) - tally.link.start)
        if tally.acceptance is not None or tally.stepped_over is not None:
            return
        async with aclosing(self._events.records(topic, partition, first, tally.link.end)) as blocks:
            async for records in blocks:
                yield [row for record in records for row in rows_of_events(partition, record, tally)]

    async def _written(self, begun: int, place: FoldPlace, rows: list[ExportedRow], *, at_last: bool = False) -> int:
        """Write what was gathered if it is enough, and return where the next file begins."""
        if len(rows) < ROWS_A_FILE and not at_last:
            return begun
        await asyncio.to_thread(self._files.write, begun, place, rows)
        rows.clear()
        return place.next_offset
