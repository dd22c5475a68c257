"""Read the cells of one partition from usage.ledger, from as far back as the scope needs and no further."""

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from aiokafka.structs import ConsumerRecord
from taximeter_emitter.wire.limits import FUTURE_TOLERANCE_MS

from audit.reconciliation.cells import Cells, CellScope, LedgerCells
from metering.folds.ledger import Ledger, ledger_from
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import HistoryLost, RecordCorrupt
from metering.records.ledger_records import Correction, Entry, Intent, Rejection, decode_entry

_NOTHING: Final[Cells] = {}

OnEntries = Callable[[int], None]
"""How many entries were read since the last call."""


@dataclass(frozen=True, slots=True)
class PartitionCells:
    """The cells of one partition, and the error reports that were written there since."""

    cells: Cells
    rejections: Sequence[Rejection]


class LedgerCellReader:
    """Reads usage.ledger. Every method may raise LogUnavailable or FailClosed; close it in the end."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._topic = kafka.topics.ledger.name
        self._reader = LogReader(kafka, "reconcile")

    async def close(self) -> None:
        """Close the connection."""
        await self._reader.close()

    async def read(self, partition: int, scope: CellScope, on_entries: OnEntries = lambda _count: None) -> PartitionCells:
        """The cells of one partition as the ledger stands now. Blocks on Kafka; reads the range of the scope twice."""
        start, end = await self._reader.bounds(self._topic, partition)
        begin, ledger = await self._begin(partition, scope.from_ms, start, end)
        if begin >= end:
            return PartitionCells(_NOTHING, ())
        cells = LedgerCells(scope, ledger)
        async with aclosing(self._entries(partition, begin, end, on_entries)) as entries:
            async for _, _, entry in entries:
                cells.foresee(entry)
        async with aclosing(self._entries(partition, begin, end, on_entries)) as entries:
            async for offset, log_time_ms, entry in entries:
                cells.fold(offset, log_time_ms, entry)
        return PartitionCells(cells.finish(), cells.rejections)

    async def _begin(self, partition: int, from_ms: int, start: int, end: int) -> tuple[int, Ledger]:
        """Where to begin: nothing with a time of the scope was planned before its own time, but for clocks that differ.

        The first entry behind that time names the checkpoint from which everything that was open then is known.
        """
        found = await self._reader.offset_for_time(self._topic, partition, from_ms - FUTURE_TOLERANCE_MS)
        if found is None or found >= end:
            return end, Ledger()
        checkpoint = await self._first_checkpoint(partition, found, end)
        if checkpoint is None:
            return end, Ledger()  # error reports only
        if checkpoint == NO_OFFSET:
            if start > 0:
                raise HistoryLost(f"the ledger of partition {partition} is kept from {start}: what was sent before is not known")
            return start, Ledger()
        if checkpoint < start:
            raise HistoryLost(f"the ledger of partition {partition} is kept from {start}, and entry {checkpoint} is needed: ask for a later --from")
        record = await self._reader.record(self._topic, partition, checkpoint)
        entry = None if record is None else decode_entry(record.value)
        if not isinstance(entry, Intent | Correction):
            raise RecordCorrupt(f"checkpoint {checkpoint} of the ledger of partition {partition} is no intent and no correction")
        return checkpoint, ledger_from(checkpoint, entry)

    async def _first_checkpoint(self, partition: int, begin: int, end: int) -> int | None:
        async with aclosing(self._entries(partition, begin, end, lambda _count: None)) as entries:
            async for _, _, entry in entries:
                if not isinstance(entry, Rejection):
                    return entry.checkpoint
        return None

    async def _entries(self, partition: int, begin: int, end: int, on_entries: OnEntries) -> AsyncGenerator[tuple[int, int, Entry], None]:
        async with aclosing(self._reader.records(self._topic, partition, begin, end)) as batches:
            async for records in batches:
                for record in records:
                    yield _read(record)
                on_entries(len(records))


def _read(record: ConsumerRecord[bytes, bytes]) -> tuple[int, int, Entry]:
    return record.offset, record.timestamp, decode_entry(record.value)
