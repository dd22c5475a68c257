"""The parts that take a plan back: those that it has in the log, with the other sign."""

from collections.abc import AsyncGenerator, Sequence

from audit.adjustments.plan_book import LoggedPart
from metering.kafka.chain_records import PartitionPlace, first_chain_record
from metering.kafka.partition_log import LogReader
from metering.plans.current_period import BroughtForward, IntoCurrent
from metering.records.adjustment import AdjustedRow
from metering.records.fail_closed import RecordCorrupt
from metering.records.tally import decode_tally


async def opposite_parts(
    tallies: LogReader, place: PartitionPlace, parts: Sequence[LoggedPart], into: IntoCurrent | None, brought: BroughtForward
) -> AsyncGenerator[list[AdjustedRow]]:
    """The rows of each, in the order of the parts. What `into` brings forward is noted in `brought`.

    Blocks on Kafka; raises LogUnavailable or FailClosed.
    """
    for part in parts:
        found = await first_chain_record(tallies, place, part.offset, part.offset + 1, decode_tally)
        if found is None:
            raise RecordCorrupt(f"offset {part.offset} of {place.topic}/{place.partition} holds no tally")
        rows = []
        for customer, meter, dimensions, window_ms, quantity, events in found[1].rows:
            minute_ms = window_ms if into is None else into.minute_of(customer, window_ms)
            if minute_ms != window_ms:
                brought.note(customer, meter, -quantity)
            rows.append((customer, meter, dimensions, minute_ms, -quantity, -events))
        yield rows
