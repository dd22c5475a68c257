"""Up to where a partition of a topic is folded, and what a fold needs to go on from there."""

from typing import Final, NamedTuple

from metering.folds.ledger import Ledger
from metering.folds.tallies import Tallies
from metering.records.chain import NO_OFFSET

TALLIES: Final = "tallies"
LEDGER: Final = "ledger"
LETTERS: Final = "deadletters"


class FoldPlace(NamedTuple):
    """`next_offset` is the first that was not folded, `log_time_ms` that of the last which was. The rest is of the chain, as its fold has it;
    `checkpoint` is where a fold of the ledger begins that knows all that is open. `open` and `unknown` count meter events.
    """

    topic: str
    partition: int
    next_offset: int
    log_time_ms: int = 0
    head: int = NO_OFFSET
    chain_end: int = NO_OFFSET
    chain_id: str | None = None
    checkpoint: int = NO_OFFSET
    open: int = 0
    unknown: int = 0


def place_of_tallies(partition: int, tallies: Tallies, log_time_ms: int) -> FoldPlace:
    """Where a fold of tallies stands."""
    chain = tallies.chain
    return FoldPlace(TALLIES, partition, chain.next_offset, log_time_ms, chain.head, chain.end, tallies.chain_id)


def place_of_ledger(partition: int, ledger: Ledger, log_time_ms: int) -> FoldPlace:
    """Where a fold of the ledger stands."""
    chain, open_events = ledger.chain, ledger.open_events
    unknown = sum(len(entry.unknown) for entry in ledger.open.values())
    place = FoldPlace(LEDGER, partition, chain.next_offset, log_time_ms, chain.head, chain.end, ledger.chain_id)
    return place._replace(checkpoint=ledger.checkpoint, open=open_events, unknown=unknown)
