"""Where to begin to read a partition of usage.ledger, so that all that is open is known."""

from contextlib import aclosing
from typing import Final

from metering.folds.ledger import Ledger, ledger_from
from metering.kafka.partition_log import LogReader
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import HistoryLost, RecordCorrupt
from metering.records.ledger_records import Correction, Intent, Note, decode_entry

BLOCK_RECORDS_MAX: Final = 1_024


async def ledger_start(reader: LogReader, topic: str, partition: int, start: int, end: int) -> tuple[int, Ledger]:
    """The offset to fold from, and an empty fold placed there: at the checkpoint that the last entry names, which its writer knew to be accepted.

    The ledger is in [start, end). Raises HistoryLost if entries that are needed were deleted, RecordCorrupt if there is something else at
    the checkpoint, LogUnavailable when Kafka does not answer. Blocks on Kafka.
    """
    last = await _last_with_checkpoint(reader, topic, partition, start, end)
    if last is None:
        if start > 0:
            raise HistoryLost(f"the whole ledger of partition {partition} was deleted (the log starts at {start}): what was billed is not known")
        return start, Ledger()
    if last == NO_OFFSET:
        if start > 0:
            raise HistoryLost(f"the ledger of partition {partition} starts at {start}; the entries that are still open were deleted")
        return start, Ledger()
    return last, await _ledger_at(reader, topic, partition, last)


async def ledger_since(reader: LogReader, topic: str, partition: int, since_ms: int, *, start: int, end: int) -> tuple[int, Ledger]:
    """The offset to fold from, and an empty fold placed there, so that all that was open at this log time (Unix ms) is known, and all since.

    It is the checkpoint that the first entry behind that time names; `end` if there is none. The ledger is in [start, end). Raises as
    `ledger_start` does.
    """
    found = await reader.offset_for_time(topic, partition, since_ms)
    checkpoint = None if found is None else await _first_checkpoint(reader, topic, partition, found, end)
    if checkpoint is None:
        return end, Ledger()
    if checkpoint == NO_OFFSET and start == 0:
        return start, Ledger()
    if checkpoint < start:
        raise HistoryLost(f"the ledger of partition {partition} is kept from {start}, and older entries are needed: ask for a later time")
    return checkpoint, await _ledger_at(reader, topic, partition, checkpoint)


async def _first_checkpoint(reader: LogReader, topic: str, partition: int, begin: int, end: int) -> int | None:
    """The checkpoint of the first entry that has one; notes have none."""
    async with aclosing(reader.records(topic, partition, begin, end)) as blocks:
        async for records in blocks:
            for record in records:
                entry = decode_entry(record.value)
                if not isinstance(entry, Note):
                    return entry.checkpoint
    return None


async def _ledger_at(reader: LogReader, topic: str, partition: int, offset: int) -> Ledger:
    """The fold just before the intent or correction at a checkpoint."""
    record = await reader.record(topic, partition, offset)
    if record is None:
        raise RecordCorrupt(f"offset {offset} of {topic}/{partition} holds no entry")
    entry = decode_entry(record.value)
    if not isinstance(entry, Intent | Correction) or (isinstance(entry, Correction) and entry.offset != offset):
        raise RecordCorrupt(f"checkpoint {offset} of the ledger of partition {partition} is no intent, and no correction that was accepted")
    return ledger_from(offset, entry)


async def _last_with_checkpoint(reader: LogReader, topic: str, partition: int, start: int, end: int) -> int | None:
    """The checkpoint of the last entry that has one; None if there is no such entry. Notes have none, so it looks back, in growing steps."""
    size = 1
    while start < end:
        begin = max(start, end - size)
        found: int | None = None
        async with aclosing(reader.records(topic, partition, begin, end)) as blocks:
            async for records in blocks:
                for record in records:
                    entry = decode_entry(record.value)
                    if not isinstance(entry, Note):
                        found = entry.checkpoint
        if found is not None:
            return found
        end, size = begin, min(2 * size, BLOCK_RECORDS_MAX)
    return None
