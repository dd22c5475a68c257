"""A verification of a time range: which tallies and which intents it covers. Pure."""

from dataclasses import dataclass, field
from typing import Final

from metering.folds.ledger import is_next
from metering.records.chain import NO_OFFSET, Chain, ChainLink
from metering.records.ledger_records import Entry, Handover, Intent, LedgerAdoption, LedgerClosing
from metering.records.tally import Range


@dataclass(frozen=True, slots=True)
class TimeRange:
    """Log times (Unix ms) from `from_ms` on and before `to_ms`; None: without that bound."""

    from_ms: int | None = None
    to_ms: int | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing is left out."""
        return self.from_ms is None and self.to_ms is None

    def holds(self, log_time_ms: int) -> bool:
        """Whether this time is inside."""
        return (self.from_ms is None or log_time_ms >= self.from_ms) and (self.to_ms is None or log_time_ms < self.to_ms)

    def meets(self, start_ms: int, end_ms: int) -> bool:
        """Whether some of [start_ms, end_ms) is inside."""
        return (self.from_ms is None or end_ms > self.from_ms) and (self.to_ms is None or start_ms < self.to_ms)


EVERYTHING: Final = TimeRange()


@dataclass(slots=True)
class Inside:
    """The tallies at [start, end) of usage.tallies, widened to those that share an intent with one of them: an intent is checked whole or not
    at all. `intents` are the offsets in usage.ledger of those that report them.

    Take the whole ledger, in order.
    """

    start: int
    end: int
    times: TimeRange = EVERYTHING
    intents: set[int] = field(default_factory=set)
    _chain: Chain = field(default_factory=Chain)
    _closed_at: int = NO_OFFSET
    _wanted: Range | None = None

    def select(self, start: int, end: int) -> None:
        """Take only these tallies, and what shares an intent with them. Call this before the ledger is taken."""
        self.start, self.end = self._wanted = start, end

    def take(self, offset: int, entry: Entry) -> None:
        """The next entry of the ledger."""
        if not isinstance(entry, Intent):
            if isinstance(entry, LedgerClosing | LedgerAdoption):
                self._hand_over(offset, entry)
            self._chain.pass_over(offset)
        elif self._closed_at != NO_OFFSET or not is_next(self._chain, entry):
            self._chain.skip(offset)
        else:
            self._chain.offer(offset, entry.link)
            self._take(offset, entry.link)

    def _hand_over(self, offset: int, entry: Handover) -> None:
        """As `Ledger.accepts` decides it: what else the place names follows from the head of the chain."""
        place, named = entry.place, entry.closing if isinstance(entry, LedgerAdoption) else NO_OFFSET
        if (place.offset, place.chain_head, place.chain_end, named) == (offset, self._chain.head, self._chain.end, self._closed_at):
            self._closed_at = offset if isinstance(entry, LedgerClosing) else NO_OFFSET

    def _take(self, offset: int, link: ChainLink) -> None:
        if self._wanted is None:
            self.intents.add(offset)
            return
        start, end = self._wanted
        if start < end and link.start < end and link.end > start:
            self.intents.add(offset)
            self.start, self.end = min(self.start, link.start), max(self.end, link.end)
