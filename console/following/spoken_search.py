"""A meter event that was settled and forgotten, found again in the ledger because something speaks of it now."""

from contextlib import aclosing

from console.folding.spoken_events import SpokenEvent
from console.folding.usage_changes import SpokenPlace
from metering.folds.corrections import CorrectionHistory, MeterEventPlace
from metering.folds.ledger import ledger_from
from metering.kafka.chain_records import PartitionPlace, chain_records
from metering.kafka.partition_log import LogReader
from metering.records.ledger_records import Intent, decode_entry


async def settled_event(reader: LogReader, place: PartitionPlace, intent: int, name: MeterEventPlace, end: int) -> SpokenEvent | None:
    """The meter event of the accepted intent at this offset as the ledger before `end` settled it; None if it has no such meter event.

    Reads on from the intent until the outcome comes. Blocks on Kafka; raises as `chain_records` does.
    """
    history = CorrectionHistory()
    history.watch([name])
    async with aclosing(chain_records(reader, place, intent, end, decode_entry)) as entries:
        async for offset, log_time_ms, entry in entries:
            if offset == intent:
                if not isinstance(entry, Intent):
                    return None
                history.ledger = ledger_from(offset, entry)
            history.fold(offset, log_time_ms, entry)
            target = history.target(name)
            if target is None:
                return None
            if target.fate.outcome is not None:
                break
    target = history.target(name)
    if target is None:
        return None
    target.fate.reported, target.fate.resolution = False, None  # these are the store's own
    found = SpokenEvent(target.event, target.event.units, identifier=target.identifier, fate=target.fate)
    found.shown = found.amounts(None)
    return found


def at_place(intent: int, name: MeterEventPlace) -> SpokenPlace:
    """Where it is kept."""
    return SpokenPlace(intent, name.index)
