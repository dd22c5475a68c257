"""The fold of one partition of usage.tallies, the same for the aggregator, the reporter and the audit."""

from dataclasses import dataclass, field, replace

from metering.records.chain import NO_OFFSET, Chain
from metering.records.fail_closed import ChainBroken
from metering.records.tally import NO_LOSSES, Losses, Tally


@dataclass(slots=True)
class Tallies:
    """Which tallies are accepted, and what a writer must know to continue the chain.

    `chain` runs over offsets of usage.events. `checkpoint` is the offset of the last accepted tally that carries the emitter states whole.
    `losses` are all that were accepted up to here. `catalogue` is the version that the last accepted tally names.
    """

    chain: Chain = field(default_factory=Chain)
    chain_id: str | None = None
    checkpoint: int = NO_OFFSET
    log_time_ms: int = 0
    losses: Losses = NO_LOSSES
    catalogue: str = ""

    def accepts(self, offset: int, tally: Tally) -> bool:
        """Whether this tally, read next at `offset`, is accepted: it continues the chain, and if it adjusts, landed where its writer wanted it."""
        adjustment = tally.adjustment
        if adjustment is None:
            return self.chain.continues(tally.link)
        place = (tally.chain_id, tally.link.start, tally.link.end)
        return adjustment.offset == offset and self.chain.head != NO_OFFSET and place == (self.chain_id, self.chain.end, self.chain.end)

    def fold(self, offset: int, tally: Tally) -> bool:
        """Take in the tally at `offset`; say whether it is accepted. Raises ChainBroken if an accepted one belongs to another chain."""
        if not self.accepts(offset, tally):
            self.chain.skip(offset)
            return False
        self.chain.offer(offset, tally.link)
        if self.chain_id is not None and tally.chain_id != self.chain_id:
            raise ChainBroken(f"the tally at {offset} is of chain {tally.chain_id}, the tallies before it are of chain {self.chain_id}")
        self.chain_id = tally.chain_id
        self.log_time_ms = tally.log_time_ms
        self.catalogue = tally.catalogue
        if tally.emitter_states is not None:
            self.checkpoint = offset
        # A writer that was frozen meanwhile does not know of an acceptance that covers no offsets, and its tally fits behind it.
        losses, said = self.losses, tally.losses
        self.losses = Losses(max(losses.records, said.records), max(losses.ids_from_ms, said.ids_from_ms), max(losses.last, said.last))
        if tally.acceptance is not None:
            self.losses = replace(self.losses, records=self.losses.records + tally.records.lost, last=offset)
        return True


def tallies_from(offset: int, tally: Tally) -> Tallies:
    """An empty fold placed just before the accepted tally at `offset`, ready to fold it."""
    if tally.link.previous == NO_OFFSET:
        return Tallies(chain=Chain(next_offset=offset))
    chain = Chain(head=tally.link.previous, end=tally.link.start, next_offset=offset)
    return Tallies(chain=chain, chain_id=tally.chain_id, checkpoint=tally.checkpoint)


def tallies_after(*, head: int, end: int, next_offset: int, chain_id: str | None) -> Tallies:
    """A fold that has read up to `next_offset` and knows the last accepted tally there: `head` its offset, `end` the end of its range."""
    return Tallies(chain=Chain(head=head, end=end, next_offset=next_offset), chain_id=chain_id)
