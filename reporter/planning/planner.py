"""The reporter's core: one partition's tallies in, intents and receipts out. Synchronous, without I/O and without a clock.

Life of a PartitionReporter:

    observe(entry)...   fold usage.ledger from a checkpoint to its end
    begin()             from here on tallies may be added, starting at `tally_position`
    add(tally)...       fold the tallies that no intent covers yet
    hold(meters)        usage of these meters, and of customers without a link, is carried from intent to intent, and not planned
    plan()              an intent for all of them, to append
    observe(own)        it was accepted: its meter events may be sent
    observe(other)      somebody else's was: what was folded is forgotten, and adding goes on from where that intent ends
    receipt()           outcomes, to append; also an empty one, which says that we send what is open before it (see `must_claim`)
    take_corrections()  what was accepted of corrections, to send
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

from taximeter_emitter.wire.limits import HOUR_MS

from metering.folds.customer_links import shares_its_link
from metering.folds.ledger import Ledger, OpenEntry
from metering.folds.tallies import Tallies, tallies_after
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.fail_closed import ChainBroken
from metering.records.ledger_records import BILLED_TO_NOBODY, Correction, CorrectionKind, Entry, Intent, MeterEvent, Planned, Receipt, Settlement
from metering.records.service_limits import EVENT_AGE_MAX_MS
from metering.records.tally import Tally, TallyRow
from reporter.planning.billing_periods import BillingPeriods
from reporter.planning.unplanned import LARGEST_MS, UnplannedUsage

# A meter event waits its turn after it was planned; what would pass Stripe's limit meanwhile is not started.
PLANNING_MARGIN_MS: Final = HOUR_MS
CARRIED_SUMS_MAX: Final = 60_000
"""How many sums of held meters and of customers without a link a partition carries, whatever else waits: an intent lists them, with some 30 bytes
each and their customers.
"""
SURPLUS_SUMS_MAX: Final = 20_000
"""How many more sums may be read. Those of customers without a link are then rejected, so that they hold up nobody."""


class PartitionReporter:
    """Reports one partition of usage.tallies. Every method may raise FailClosed: the partition must then stop, and this object be dropped."""

    def __init__(self, partition: int, instance: str, ledger: Ledger, rows_max: int, periods: BillingPeriods) -> None:
        self.partition = partition
        self.ledger = ledger
        self.tallies = Tallies()
        self.unplanned = UnplannedUsage(rows_max, periods)
        self.unplanned_since_ms: int | None = None
        # Of held meters, and of customers without a link.
        self.carried = UnplannedUsage(rows_max, periods, carried_max=CARRIED_SUMS_MAX, surplus_max=SURPLUS_SUMS_MAX)
        self.carries_more = False  # whether usage was counted that no intent carries yet
        self.held: frozenset[str] = frozenset()
        self._periods = periods
        self._links = periods.links
        self._links_seen = self._links.changes
        self._instance = instance
        self._written = NO_OFFSET  # the last entry of our own
        self._corrections: list[int] = []

    @property
    def tally_position(self) -> int:
        """The next offset of usage.tallies to add."""
        return self.tallies.chain.next_offset

    @property
    def is_full(self) -> bool:
        """Whether there is no place for more usage: stop reading tallies."""
        return self.unplanned.is_full or self.carried.is_full

    @property
    def must_plan(self) -> bool:
        """Whether only an intent makes place again."""
        return self.unplanned.is_full or (self.carries_more and self.carried.is_full)

    def begin(self) -> None:
        """The ledger is folded to its end: place the fold of tallies where its last accepted intent ends."""
        self.unplanned.clear()
        self.carried.clear()
        self.carries_more = False
        self.unplanned_since_ms = None
        self._take_in(self.ledger.waiting)
        if self.ledger.chain_id is None:
            self.tallies = Tallies()
            return
        self.tallies = tallies_after(
            head=self.ledger.tally_head,
            end=self.ledger.events_end,
            next_offset=self.ledger.chain.end,
            chain_id=self.ledger.chain_id,
        )

    def pass_over(self, end: int) -> None:
        """The offsets of usage.tallies before `end` hold no record, as is proved."""
        self.tallies.chain.next_offset = end

    def add(self, offset: int, tally: Tally) -> None:
        """Fold the tally at `offset`; a tally that is not accepted is passed over. Raises ChainBroken if offsets are missing."""
        if offset != self.tally_position:
            raise ChainBroken(f"tally {offset} of partition {self.partition} follows {self.tally_position - 1}: records between them are missing")
        if self.tallies.fold(offset, tally):
            held: list[TallyRow] = []
            rows: list[TallyRow] = []
            for row in tally.rows:
                (held if self._is_held(row.customer, row.meter) else rows).append(row)
            self.unplanned.add(rows)
            if rows:
                self._note_since(tally.log_time_ms)
            if held:
                self.carried.add(held)
                self.carries_more = True
            if tally.latest:
                self._add_latest(tally)

    def hold(self, meters: frozenset[str]) -> None:
        """Stripe refuses these meters, and takes all others: from now on the usage of these, and of customers that have no link now, is carried, and
        that of the others planned.
        """
        if meters == self.held and self._links.changes == self._links_seen:
            return
        self.held, self._links_seen = meters, self._links.changes
        if self.unplanned.move_to(self.carried, self._is_held, self._is_reading_held) is not None:
            self.carries_more = True
        if not len(self.unplanned):
            self.unplanned_since_ms = None
        oldest = self.carried.move_to(
            self.unplanned,
            lambda customer, meter: not self._is_held(customer, meter),
            lambda customer, meter: not self._is_reading_held(customer, meter),
        )
        if oldest is not None:
            self._note_since(oldest)

    def held_usage(self) -> dict[str, tuple[int, int]]:
        """Units, and the time in ms of the oldest, of each held meter."""
        return self.carried.by_meter(lambda _, meter: meter in self.held)

    def unlinked(self) -> dict[str, tuple[int, int]]:
        """Units that wait for a link, or for one that is not shared, and the time in ms of the oldest, of each meter that is not held itself."""
        return self.carried.by_meter(lambda _, meter: meter not in self.held)

    def _is_held(self, customer: str, meter: str) -> bool:
        return meter in self.held or self._links.of(customer) is None

    def _is_reading_held(self, customer: str, meter: str) -> bool:
        """Also where several customers are billed to one: what came last of one would take the place of another's, in any order."""
        return self._is_held(customer, meter) or shares_its_link(self._links, customer)

    def _add_latest(self, tally: Tally) -> None:
        held = [value for value in tally.latest if self._is_reading_held(value.customer, value.meter)]
        left = [value for value in tally.latest if not self._is_reading_held(value.customer, value.meter)] if held else tally.latest
        self.unplanned.add_latest(left)
        self.carried.add_latest(held)
        self.carries_more |= bool(held)
        if left:
            self._note_since(tally.log_time_ms)

    def open_usage(self) -> Iterator[tuple[str, int]]:
        """Customer and time in ms of every meter event that has no final outcome."""
        for entry in self.ledger.open.values():
            meter_events = entry.entry.meter_events
            for index in entry.open:
                event = meter_events[index]
                yield event.customer, event.time_ms

    def unreported_units(self) -> dict[str, int]:
        """Units of each meter that were read from the tallies and have no final outcome, signed; those of held meters and those carried included."""
        found = Counter(self.unplanned.units())
        found.update(self.carried.units())
        for entry in self.ledger.open.values():
            if isinstance(entry.entry, Intent):
                meter_events = entry.entry.meter_events
                for index in entry.open:
                    found[meter_events[index].meter] += meter_events[index].units
        return found

    @property
    def sendable_events(self) -> int:
        """How many meter events and corrections have no final outcome, without those that wait for a held meter."""
        return sum(self._sendable(entry) for entry in self.ledger.open.values())

    @property
    def open_since_ms(self) -> int | None:
        """When the oldest intent was accepted that has something open, and not only of held meters. A correction holds up no usage."""
        intents = (entry for entry in self.ledger.open.values() if isinstance(entry.entry, Intent))
        return next((entry.log_time_ms for entry in intents if self._sendable(entry)), None)

    def _sendable(self, entry: OpenEntry) -> int:
        if not self.held:
            return len(entry.open)
        return sum(entry.entry.meter_events[index].meter not in self.held for index in entry.open)

    @property
    def uncovered(self) -> int:
        """How many records of usage.tallies were folded and are in no intent."""
        return self.tally_position - max(0, self.ledger.chain.end)

    def plan(self, now_ms: int, rows_wanted: int, hourly_max: int) -> Intent | None:
        """An intent that covers all that was added; None if nothing accepted was added and nothing is left of an earlier intent.

        Windows are merged up to an hour until there are at most `rows_wanted` sums, and beyond an hour only if there are more than `hourly_max`.
        """
        if self.tallies.chain_id is None or (self.tallies.chain.head == self.ledger.tally_head and not len(self.unplanned)):
            return None
        self.hold(self.held)  # what is planned has a link at this moment
        for sums in (self.unplanned, self.carried):
            sums.merge_to(rows_wanted, HOUR_MS)
            sums.merge_to(max(rows_wanted, hourly_max), LARGEST_MS)
        oldest = now_ms - EVENT_AGE_MAX_MS + PLANNING_MARGIN_MS
        events: list[MeterEvent] = []
        superseded: list[MeterEvent] = []
        for event in self.unplanned.meter_events():
            (superseded if self._is_superseded(event) else events).append(event)
        carried, rejected = self._with_place(self.carried.meter_events())
        again = self.ledger.told.say_again(self.ledger.chain.next_offset, now_ms)
        return Intent(
            chain_id=self.tallies.chain_id,
            partition=self.partition,
            link=ChainLink(max(0, self.ledger.chain.end), self.tally_position, self.ledger.chain.head),
            checkpoint=self.ledger.checkpoint,
            instance=self._instance,
            tally_head=self.tallies.chain.head,
            events_end=self.tallies.chain.end,
            meter_events=sorted([*(self._linked(event) for event in events if event.time_ms >= oldest), *rejected], key=_tells_a_reading),
            unbillable=sorted([event for event in (*events, *carried) if event.time_ms < oldest], key=_tells_a_reading),
            carried=[event for event in carried if event.time_ms >= oldest],
            superseded=tuple(superseded),
            told_again=again.readings,
            told_from=again.told_from,
        )

    def _with_place(self, carried: Sequence[MeterEvent]) -> tuple[list[MeterEvent], list[MeterEvent]]:
        """What is carried on, and for nobody what there is no place for: the newest usage of customers without a link."""
        surplus = min(len(carried) - CARRIED_SUMS_MAX, SURPLUS_SUMS_MAX)
        if surplus <= 0:
            return list(carried), []
        kept: list[MeterEvent] = []
        rejected: list[MeterEvent] = []
        for event in reversed(carried):
            if len(rejected) < surplus and self._links.of(event.customer) is None:
                rejected.append(replace(event, linked=BILLED_TO_NOBODY))
            else:
                kept.append(event)
        return kept[::-1], rejected

    def _is_superseded(self, event: MeterEvent) -> bool:
        """Whether it is a latest value no more: a later one of its billing period was planned before."""
        if event.reading is None:
            return False
        since = partial(self._periods.since_s, event.customer)
        return self.ledger.told.has_later(event.customer, event.meter, event.reading.happened_ms, since)

    def _linked(self, event: MeterEvent) -> MeterEvent:
        billed = self._links.of(event.customer)
        assert billed is not None, "a customer without a link is carried"
        return event if billed == event.customer else replace(event, linked=billed)

    def receipt(self, settlements: Sequence[Settlement]) -> Receipt:
        """The record of these outcomes."""
        if self.ledger.chain_id is None:
            raise ChainBroken(f"partition {self.partition} has outcomes and no ledger")
        return Receipt(
            chain_id=self.ledger.chain_id,
            partition=self.partition,
            previous=self.ledger.chain.head,
            checkpoint=self.ledger.checkpoint,
            instance=self._instance,
            settlements=settlements,
        )

    @property
    def must_claim(self) -> bool:
        """Whether something is open behind our last entry: an entry, an empty receipt at least, must be written before that is sent."""
        return any(offset > self._written for offset in self.ledger.open)

    def take_corrections(self) -> list[int]:
        """Offsets of open corrections accepted since the last call that one of our entries follows. Send each once."""
        taken = [offset for offset in self._corrections if offset < self._written]
        self._corrections = [offset for offset in self._corrections if offset > self._written]
        return [offset for offset in taken if offset in self.ledger.open]

    def is_doubtful(self, offset: int) -> bool:
        """Whether another than us may have sent what is open at this offset."""
        entry = self.ledger.open[offset]
        return entry.contested or entry.sender != self._instance

    def observe(self, offset: int, log_time_ms: int, entry: Entry, *, mine: bool = False) -> bool:
        """Fold a record of usage.ledger, in log order. Returns whether it is accepted; what an accepted intent or correction plans is then open."""
        postponed = {intent: len(events) for intent, events in self.ledger.postponed.items()}
        accepted = self.ledger.fold(offset, log_time_ms, entry)
        if isinstance(entry, Receipt):
            self._take_in(event for intent, events in self.ledger.postponed.items() for event in events[postponed.get(intent, 0) :])
        if mine:
            self._written = offset
        if accepted and isinstance(entry, Correction):
            self._corrections.append(offset)
        if not accepted or not isinstance(entry, Intent):
            return accepted
        if mine:
            self.unplanned.clear()
            self.carried.clear()
            self.carries_more = False
            self.unplanned_since_ms = None
            self._take_in(entry.carried)
        else:
            self.begin()
        return True

    def read_to(self, end: int) -> None:
        """All of usage.ledger before `end` was observed: what is left there are foreign records and transaction markers."""
        self.ledger.chain.next_offset = max(self.ledger.chain.next_offset, end)

    def _take_in(self, events: Iterable[MeterEvent]) -> None:
        """Usage that was in an intent before, and must be in the next one."""
        for event in events:
            is_held = self._is_held if event.reading is None else self._is_reading_held
            if is_held(event.customer, event.meter):
                self.carried.add_event(event)
            else:
                self.unplanned.add_event(event)
                self._note_since(event.time_ms)

    def _note_since(self, time_ms: int) -> None:
        self.unplanned_since_ms = time_ms if self.unplanned_since_ms is None else min(self.unplanned_since_ms, time_ms)


def _tells_a_reading(event: MeterEvent) -> bool:
    return event.reading is not None


def open_meter_events(ledger: Ledger, intent_offset: int) -> list[tuple[int, MeterEvent]]:
    """Index and content of what is still open of an intent or correction, in order."""
    entry = ledger.open.get(intent_offset)
    if entry is None:
        return []
    return [(index, entry.entry.meter_events[index]) for index in sorted(entry.open)]


def cancelled_by(planned: Planned) -> str | None:
    """The identifier of the meter event that is to be cancelled; None if a meter event is to be sent."""
    return planned.target_identifier if isinstance(planned, Correction) and planned.kind is CorrectionKind.CANCEL else None
