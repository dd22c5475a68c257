"""Where to begin to fold a partition whose older records are not wanted, or were folded before."""

from typing import NamedTuple

from console.folding.counted_usage import CountedUsage
from console.store.fold_places import FoldPlace
from metering.folds.ledger import Ledger
from metering.folds.tallies import Tallies, tallies_after, tallies_from
from metering.kafka.chain_records import PartitionPlace, first_chain_record, last_chain_record
from metering.kafka.ledger_log import ledger_at, ledger_since, ledger_start
from metering.kafka.partition_log import LogReader
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import ChainBroken, HistoryLost
from metering.records.tally import decode_outline


class TallyBeginning(NamedTuple):
    """A fold, where it stands, and the offset from which rows are wanted."""

    fold: CountedUsage
    begin: int
    wanted_from: int


class LedgerBeginning(NamedTuple):
    """A fold, and where it stands."""

    ledger: Ledger
    begin: int


async def tallies_since(reader: LogReader, place: PartitionPlace, since_ms: int) -> TallyBeginning:
    """An accepted tally that is not behind the first which was logged at `since_ms` or later.

    Blocks on Kafka; raises LogUnavailable or FailClosed.
    """
    start, end = await reader.bounds(*place)
    found = await reader.offset_for_time(*place, since_ms)
    first = None if found is None else await first_chain_record(reader, place, found, end, decode_outline)
    wanted_from = end if first is None else first[0]
    if first is None:
        first = await last_chain_record(reader, place, start, end, decode_outline)
    begin = start if first is None else max(first[1].link.previous, start)  # what a tally follows was accepted
    if begin == 0:
        return TallyBeginning(CountedUsage(Tallies()), 0, wanted_from)
    at_begin = await first_chain_record(reader, place, begin, end, decode_outline)
    if at_begin is None:
        raise HistoryLost(f"{place.topic}/{place.partition} begins at {start} and holds no tally: where its chain stands is not known")
    return TallyBeginning(CountedUsage(tallies_from(*at_begin)), at_begin[0], wanted_from)


def tallies_at(place: FoldPlace) -> TallyBeginning:
    """Where the store left off."""
    fold = tallies_after(head=place.head, end=place.chain_end, next_offset=place.next_offset, chain_id=place.chain_id)
    return TallyBeginning(CountedUsage(fold), place.next_offset, place.next_offset)


async def ledger_from_time(reader: LogReader, place: PartitionPlace, since_ms: int) -> LedgerBeginning:
    """A fold that knows all that was open then, or, where nothing was logged since, what is open now. Blocks on Kafka; raises as `ledger_start`."""
    start, end = await reader.bounds(*place)
    begin, ledger = await ledger_since(reader, *place, since_ms, start=start, end=end)
    if begin >= end:
        begin, ledger = await ledger_start(reader, *place, start, end)
    return LedgerBeginning(ledger, begin)


async def ledger_at_place(reader: LogReader, place: PartitionPlace, stored: FoldPlace) -> LedgerBeginning:
    """The fold that is to be brought to where the store left off, by the entries before it. Blocks on Kafka; raises as `ledger_start` does."""
    if stored.checkpoint == NO_OFFSET:
        start, _ = await reader.bounds(*place)
        if start > 0:
            raise HistoryLost(f"{place.topic}/{place.partition} begins at {start}: entries that are still open were deleted")
        return LedgerBeginning(Ledger(), 0)
    return LedgerBeginning(await ledger_at(reader, *place, stored.checkpoint), stored.checkpoint)


def check_kept(place: PartitionPlace, position: int, start: int, end: int) -> None:
    """Raise HistoryLost or ChainBroken if the log, which holds [start, end), does not go on where it was folded to."""
    if start <= position <= end:
        return
    where = f"{place.topic}/{place.partition} holds offsets {start} to {end}, and was folded to {position}"
    problem = f"{where}: stop the console, then taximeter console --rebuild"
    raise ChainBroken(problem) if position > end else HistoryLost(problem)
