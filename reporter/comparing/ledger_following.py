"""Reads usage.ledger for the comparison, with reading and connections of its own. Every method blocks on Kafka and may raise LogUnavailable
or FailClosed."""

import time
from collections.abc import AsyncGenerator, Collection, Sequence
from contextlib import aclosing
from typing import Final

from taximeter_emitter.clock import Clock
from taximeter_emitter.wire.limits import HOUR_MS

from metering.folds.ledger import Ledger
from metering.kafka.chain_records import PartitionPlace, chain_records
from metering.kafka.clients import KafkaSettings
from metering.kafka.ledger_log import ledger_since, ledger_start
from metering.kafka.partition_log import Appender, LogReader
from metering.reconciliation.cells import CellKey, CellScope
from metering.reconciliation.ledger_cells import ENTRIES_TILL_PAUSE, LedgerCellReader, PartitionCells
from metering.records.ledger_records import Entry, Rejection, decode_entry, encode_entry
from metering.records.notes.evidence import Evidence
from metering.records.service_limits import EVENT_AGE_MAX_MS
from reporter.comparing.doubt_book import CellPlace, DoubtBook, ReportWindow
from reporter.comparing.report_suspects import TOLD_BEFORE_MS, ReportSuspects

IDLE_PART: Final = 3.0
TOLD_WITHIN_MS: Final = HOUR_MS  # what Stripe validated in a window is in a receipt by then


class LedgerFollowing:
    """Keeps books up to date, reads cells, and notes evidence. It does nothing for three times as long as it reads, so that others go first.

    The appender stays its owner's.
    """

    def __init__(self, kafka: KafkaSettings, *, client: str, appender: Appender, clock: Clock) -> None:
        self._topic = kafka.topics.ledger.name
        self._reader = LogReader(kafka, client)
        self._cells = LedgerCellReader(kafka, pause=self._pause)
        self._appender = appender
        self._clock = clock

    async def close(self) -> None:
        """Close the connections."""
        await self._reader.close()
        await self._cells.close()

    async def begin(self, partition: int, now_ms: int) -> DoubtBook:
        """An empty book, placed so that what Stripe still takes corrections of will be in it."""
        _, ledger = await self._from(partition, now_ms - EVENT_AGE_MAX_MS)
        return DoubtBook(ledger)

    async def follow(self, partition: int, book: DoubtBook) -> None:
        """Fold what is new up to the end of the log as it is now."""
        _, end = await self._reader.bounds(self._topic, partition)
        async with aclosing(self._entries(partition, book.ledger.chain.next_offset, end)) as entries:
            async for offset, log_time_ms, entry in entries:
                book.fold(offset, log_time_ms, entry)

    async def reports(self, now_ms: int) -> Sequence[Rejection]:
        """The error reports that count more than they name, from as far back as a book begins."""
        return await self._cells.counted_reports(now_ms - EVENT_AGE_MAX_MS)

    async def suspects(self, partition: int, report: ReportWindow) -> set[CellPlace]:
        """The cells of what was settled in the window of a report."""
        begin, ledger = await self._from(partition, report.start_ms - TOLD_BEFORE_MS)
        end = await self._reader.offset_for_time(self._topic, partition, report.end_ms + TOLD_WITHIN_MS)
        if end is None:
            _, end = await self._reader.bounds(self._topic, partition)
        found = ReportSuspects(report, ledger)
        async with aclosing(self._entries(partition, begin, end)) as entries:
            async for offset, log_time_ms, entry in entries:
                found.fold(offset, log_time_ms, entry)
        return found.places

    async def cells(self, partition: int, scope: CellScope, sought: Collection[CellKey]) -> PartitionCells:
        """What the ledger says of these cells now."""
        return await self._cells.read(partition, scope, sought=sought)

    async def note(self, partition: int, evidence: Evidence) -> None:
        """Append it. What is not acknowledged may be there or not: the next read says the same again."""
        await self._appender.append(self._topic, partition, encode_entry(evidence))

    async def _pause(self, seconds: float) -> None:
        await self._clock.sleep(seconds * IDLE_PART)

    async def _from(self, partition: int, since_ms: int) -> tuple[int, Ledger]:
        start, end = await self._reader.bounds(self._topic, partition)
        begin, ledger = await ledger_since(self._reader, self._topic, partition, max(0, since_ms), start=start, end=end)
        if begin >= end > start:
            # Nothing is so young: what is open, and where the chain goes on, is all that is needed.
            return await ledger_start(self._reader, self._topic, partition, start, end)
        return begin, ledger

    async def _entries(self, partition: int, begin: int, end: int) -> AsyncGenerator[tuple[int, int, Entry], None]:
        count, began = 0, time.thread_time()
        async with aclosing(chain_records(self._reader, PartitionPlace(self._topic, partition), begin, end, decode_entry)) as entries:
            async for entry in entries:
                yield entry
                count += 1
                if count % ENTRIES_TILL_PAUSE == 0:
                    await self._pause(time.thread_time() - began)
                    began = time.thread_time()
