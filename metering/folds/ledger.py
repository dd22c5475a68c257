"""The fold of one partition of usage.ledger, the same for the reporter and the audit: what is accepted, what is open, what is settled."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from metering.folds.told_readings import ToldReadings
from metering.records.chain import NO_OFFSET, Chain
from metering.records.fail_closed import ChainBroken, LedgerClosed
from metering.records.ledger_records import (
    Correction,
    Entry,
    Handover,
    Intent,
    LedgerAdoption,
    LedgerClosing,
    LedgerPlace,
    MeterEvent,
    Note,
    Outcome,
    Planned,
    Receipt,
    Settlement,
)
from metering.records.notes.resolution import Resolution


@dataclass(slots=True)
class OpenEntry:
    """An accepted intent or correction with something that has no final outcome. `log_time_ms` is when the broker took it: no attempt is older.

    `sender`: the instance that sends it; of an intent its writer, of a correction the first that wrote behind it (None: nobody did).
    `contested`: another instance has written since, and may send it too.
    """

    entry: Planned
    log_time_ms: int
    open: set[int]
    sender: str | None
    unknown: set[int] = field(default_factory=set)
    contested: bool = False

    def judged(self, index: int, outcome: Outcome, instance: str) -> Outcome:
        """How to judge an outcome that `instance` reports. Only an instance that alone may send the meter event can know that Stripe lacks it.
        What is for nobody is sent by none.
        """
        contested = (self.contested or self.sender != instance) and not self.entry.meter_events[index].is_for_nobody
        return Outcome.PARKED if contested and outcome.says_not_taken else outcome


@dataclass(slots=True)
class Ledger:
    """The fold of one partition of usage.ledger.

    `chain` runs over offsets of usage.tallies. `open` maps the offset of an accepted intent or correction to what is still open of it, oldest
    first. `settled` counts outcomes of both. A fold may begin at a checkpoint: receipts may then speak of what was settled before it.

    The next intent takes in what the last one `carried` and what was `postponed` since, which maps the offset of an accepted intent to its
    meter events.

    `told` are the latest values that were planned, as far as they matter for older ones that are still to come.

    Behind an accepted `closing` no intent and no correction is accepted, until an adoption that names it: the ledger goes on in another cluster.
    """

    chain: Chain = field(default_factory=Chain)
    chain_id: str | None = None
    tally_head: int = NO_OFFSET
    events_end: int = NO_OFFSET
    open: dict[int, OpenEntry] = field(default_factory=dict)
    settled: dict[Outcome, int] = field(default_factory=dict)
    carried: Sequence[MeterEvent] = ()
    postponed: dict[int, list[MeterEvent]] = field(default_factory=dict)
    told: ToldReadings = field(default_factory=ToldReadings)
    closing: LedgerClosing | None = None

    @property
    def checkpoint(self) -> int:
        """From which offset of the ledger a reader must start to know all that is open, carried and postponed."""
        needed = [next(iter(self.open), self.chain.head), *self.postponed, *self.told.oldest]
        return min([*needed, self.chain.head] if self.carried else needed)

    @property
    def waiting(self) -> list[MeterEvent]:
        """What the next intent takes in, besides tallies."""
        return [*self.carried, *(event for events in self.postponed.values() for event in events)]

    @property
    def open_events(self) -> int:
        """How many meter events and corrections have no final outcome."""
        return sum(len(entry.open) for entry in self.open.values())

    def place(self, offset: int) -> LedgerPlace:
        """What an entry must name that is to be accepted at `offset`, read next."""
        return LedgerPlace(offset, self.chain.head, self.chain.end, self.tally_head, self.events_end)

    def accepts(self, offset: int, entry: Correction | Handover) -> bool:
        """Whether this entry, read next at `offset`, is accepted: it landed where its writer wanted, who knew all that was before."""
        closed_at = NO_OFFSET if self.closing is None else self.closing.place.offset
        named = entry.closing if isinstance(entry, LedgerAdoption) else NO_OFFSET
        return entry.place == self.place(offset) and named == closed_at

    def check_open(self, partition: int) -> None:
        """Raise LedgerClosed if the ledger goes on in another cluster: nothing may be planned or sent from here."""
        if self.closing is not None:
            raise LedgerClosed(
                f"the ledger of partition {partition} was closed at offset {self.closing.place.offset} by {self.closing.by}"
                f" ({self.closing.reason}): it goes on in the cluster {self.closing.successor}. In that cluster it is opened by:"
                " taximeter repair adopt"
            )

    def fold(self, offset: int, log_time_ms: int, entry: Entry) -> bool:
        """Take in the entry at `offset`; say whether it was accepted. Raises ChainBroken if it belongs to another chain."""
        if isinstance(entry, Note):
            self.chain.pass_over(offset)
            return not isinstance(entry, Resolution) or (entry.offset, entry.chain_id) == (offset, self.chain_id)
        if isinstance(entry, LedgerClosing | LedgerAdoption) and not entry.chain_id:
            return self._hand_over(offset, entry)  # its writer saw no intent
        if self.chain_id is not None and entry.chain_id != self.chain_id:
            raise ChainBroken(f"ledger entry at {offset} is of chain {entry.chain_id}, the ledger is of chain {self.chain_id}")
        if isinstance(entry, Correction):
            return self._correct(offset, log_time_ms, entry)
        if isinstance(entry, LedgerClosing | LedgerAdoption):
            return self._hand_over(offset, entry)
        for found in self.open.values():
            found.contested |= found.sender not in {None, entry.instance}
        accepted = self._settle(offset, entry) if isinstance(entry, Receipt) else self._plan(offset, log_time_ms, entry)
        # After it was settled: a refusal is not believed of one who did not say before that it would send.
        for found in self.open.values():
            found.sender = entry.instance if found.sender is None else found.sender
        return accepted

    def continues(self, intent: Intent) -> bool:
        """Whether this intent, read next, is accepted."""
        return self.closing is None and is_next(self.chain, intent)

    def news(self, receipt: Receipt) -> list[Settlement]:
        """The first final outcomes of open meter events in this receipt, which is read next, each as it must be judged."""
        found: dict[tuple[int, int], Settlement] = {}
        for settlement in receipt.settlements:
            entry = self.open.get(settlement.intent)
            # Not open any more: a second writer reports it again, or it was settled before the checkpoint.
            if entry is not None and settlement.index in entry.open and settlement.outcome.is_final:
                outcome = entry.judged(settlement.index, settlement.outcome, receipt.instance)
                judged = settlement if outcome is settlement.outcome else replace(settlement, outcome=outcome)
                found.setdefault((settlement.intent, settlement.index), judged)
        return list(found.values())

    def _correct(self, offset: int, log_time_ms: int, correction: Correction) -> bool:
        accepted = self.accepts(offset, correction)
        self.chain.pass_over(offset)
        if accepted:
            self.open[offset] = OpenEntry(correction, log_time_ms, {0}, sender=None)
        return accepted

    def _hand_over(self, offset: int, entry: Handover) -> bool:
        accepted = self.accepts(offset, entry)
        self.chain.pass_over(offset)
        if not accepted:
            return False
        self.closing = entry if isinstance(entry, LedgerClosing) else None
        if isinstance(entry, LedgerAdoption) and not entry.is_closed:
            # Behind what was copied somebody may have said that he sends these: then another's refusal is not to be believed.
            for found in self.open.values():
                found.sender = entry.instance if found.sender is None else found.sender
        return True

    def _plan(self, offset: int, log_time_ms: int, intent: Intent) -> bool:
        if not self.continues(intent):
            self.chain.skip(offset)
            return False
        self.chain.offer(offset, intent.link)
        self.chain_id = intent.chain_id
        self.tally_head = intent.tally_head
        self.events_end = intent.events_end
        self.carried = intent.carried
        self.postponed = {}
        self.told.fold(offset, intent)
        if intent.meter_events:
            self.open[offset] = OpenEntry(intent, log_time_ms, set(range(len(intent.meter_events))), sender=intent.instance)
        return True

    def _settle(self, offset: int, receipt: Receipt) -> bool:
        self.chain.pass_over(offset)
        news = self.news(receipt)
        for settlement in receipt.settlements:
            entry = self.open.get(settlement.intent)
            if entry is not None and settlement.index in entry.open and not settlement.outcome.is_final:
                entry.unknown.add(settlement.index)
        for settlement in news:
            entry = self.open[settlement.intent]
            entry.open.discard(settlement.index)
            entry.unknown.discard(settlement.index)
            self.settled[settlement.outcome] = self.settled.get(settlement.outcome, 0) + 1
            if settlement.outcome is Outcome.POSTPONED and isinstance(entry.entry, Intent):
                self.postponed.setdefault(settlement.intent, []).append(entry.entry.meter_events[settlement.index])
            if not entry.open:
                del self.open[settlement.intent]
        return True


def is_next(chain: Chain, intent: Intent) -> bool:
    """Whether this intent, read next, continues the chain. Where one covers no tallies, another fits the same range, so each must name the head."""
    return chain.continues(intent.link) and intent.link.previous == chain.head


def ledger_from(offset: int, entry: Planned) -> Ledger:
    """An empty fold placed just before the accepted intent or correction at `offset`, ready to fold it."""
    if isinstance(entry, Correction):
        chain = Chain(head=entry.chain_head, end=entry.chain_end, next_offset=offset)
        return Ledger(chain=chain, chain_id=entry.chain_id, tally_head=entry.tally_head, events_end=entry.events_end)
    if entry.link.previous == NO_OFFSET:
        return Ledger(chain=Chain(next_offset=offset))
    return Ledger(chain=Chain(head=entry.link.previous, end=entry.link.start, next_offset=offset))
