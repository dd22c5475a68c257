"""The chain: an append counts only if it continues what was accepted before it.

A record of a chain topic (usage.tallies; the intents of usage.ledger) covers a range `[start, end)` of offsets of the topic before it. It is
accepted if and only if its `start` is the `end` of the last accepted record. The first one in log order wins; every reader decides alike,
so writers need no lock, no transaction and no lease: everybody skips what a zombie appends.
"""

from dataclasses import dataclass

from metering.records.fail_closed import ChainBroken

NO_OFFSET = -1


@dataclass(frozen=True, slots=True)
class ChainLink:
    """A record's place in its chain: the range it covers, and the offset of the accepted record it was written after (-1: none)."""

    start: int
    end: int
    previous: int


@dataclass(slots=True)
class Chain:
    """The fold of one partition of a chain topic.

    `head` is the offset of the last accepted record (-1: none yet), `end` the end of what it covers, `next_offset` the first offset of the
    chain topic that was not read yet, `skipped` how many records did not continue the chain.
    """

    head: int = NO_OFFSET
    end: int = NO_OFFSET
    next_offset: int = 0
    skipped: int = 0

    def continues(self, link: ChainLink) -> bool:
        """Whether a record with this link, read next, would be accepted."""
        # Before the first record there is no end to compare with: the first one that claims to follow nothing founds the chain. Nobody
        # founds it twice, not even where the first range is empty and a second founder's would fit behind it.
        founds = link.previous == NO_OFFSET
        fits = founds if self.head == NO_OFFSET else not founds and link.start == self.end
        return fits and link.end >= link.start

    def offer(self, offset: int, link: ChainLink) -> bool:
        """Fold the record at `offset`; say whether it is accepted. Raises ChainBroken if records come out of order."""
        if not self.continues(link):
            self.skip(offset)
            return False
        self.pass_over(offset)
        self.head = offset
        self.end = link.end
        return True

    def skip(self, offset: int) -> None:
        """Note that the record at `offset` was read and is not accepted. Raises ChainBroken if records come out of order."""
        self.pass_over(offset)
        self.skipped += 1

    def pass_over(self, offset: int) -> None:
        """Note that the record at `offset` was read and is no link of the chain."""
        if offset < self.next_offset:
            raise ChainBroken(f"offset {offset} was folded already; next is {self.next_offset}")
        self.next_offset = offset + 1
