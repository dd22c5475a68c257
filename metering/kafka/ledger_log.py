"""Where to begin to read a partition of usage.ledger, so that all that is open is known."""

from metering.folds.ledger import Ledger, ledger_from
from metering.kafka.chain_records import PartitionPlace, first_chain_record, last_chain_record
from metering.kafka.partition_log import LogReader
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import HistoryLost, RecordCorrupt
from metering.records.ledger_records import Correction, Intent, Note, decode_entry


async def ledger_start(reader: LogReader, topic: str, partition: int, start: int, end: int) -> tuple[int, Ledger]:
    """The offset to fold from, and an empty fold placed there: at the checkpoint that the last entry names, which its writer knew to be accepted.

    The ledger is in [start, end). Raises HistoryLost if entries that are needed were deleted, RecordCorrupt if there is something else at
    the checkpoint, LogUnavailable when Kafka does not answer. Blocks on Kafka.
    """
    found = await last_chain_record(reader, PartitionPlace(topic, partition), start, end, _checkpoint_in)
    if found is None:
        if start > 0:
            raise HistoryLost(f"the whole ledger of partition {partition} was deleted (the log starts at {start}): what was billed is not known")
        return start, Ledger()
    last = found[1]
    assert last is not None
    if last == NO_OFFSET:
        if start > 0:
            raise HistoryLost(f"the ledger of partition {partition} starts at {start}; the entries that are still open were deleted")
        return start, Ledger()
    return last, await ledger_at(reader, topic, partition, last)


async def ledger_since(reader: LogReader, topic: str, partition: int, since_ms: int, *, start: int, end: int) -> tuple[int, Ledger]:
    """The offset to fold from, and an empty fold placed there, so that all that was open at this log time (Unix ms) is known, and all since.

    It is the checkpoint that the first entry behind that time names; `end` if there is none. The ledger is in [start, end). Raises as
    `ledger_start` does.
    """
    found = await reader.offset_for_time(topic, partition, since_ms)
    first = None if found is None else await first_chain_record(reader, PartitionPlace(topic, partition), found, end, _checkpoint_in)
    if first is None:
        return end, Ledger()
    checkpoint = first[1]
    assert checkpoint is not None
    if checkpoint == NO_OFFSET and start == 0:
        return start, Ledger()
    if checkpoint < start:
        raise HistoryLost(f"the ledger of partition {partition} is kept from {start}, and older entries are needed: ask for a later time")
    return checkpoint, await ledger_at(reader, topic, partition, checkpoint)


def _checkpoint_in(value: bytes | None) -> int | None:
    """The checkpoint that an entry names; None of a note, which names none."""
    entry = decode_entry(value)
    return None if isinstance(entry, Note) else entry.checkpoint


async def ledger_at(reader: LogReader, topic: str, partition: int, offset: int) -> Ledger:
    """The fold just before the intent or correction at a checkpoint. Raises as `ledger_start` does."""
    found = await first_chain_record(reader, PartitionPlace(topic, partition), offset, offset + 1, decode_entry)
    if found is None:
        raise RecordCorrupt(f"offset {offset} of {topic}/{partition} holds no entry")
    entry = found[1]
    if not isinstance(entry, Intent | Correction) or (isinstance(entry, Correction) and entry.offset != offset):
        raise RecordCorrupt(f"checkpoint {offset} of the ledger of partition {partition} is no intent, and no correction that was accepted")
    return ledger_from(offset, entry)
