"""Several reporters on one ledger, against plain lists: each accepted tally is covered once, whatever they do to each other."""

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from taximeter_emitter.wire.limits import DAY_MS, MINUTE_MS

from metering.folds.ledger import Ledger, ledger_from
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.ledger_records import Intent, Note, Outcome, Receipt, Settlement, decode_entry, encode_intent, encode_receipt
from metering.records.tally import EventCounts, RecordCounts, Tally, TallyRow
from reporter.planning.billing_periods import BillingPeriods
from reporter.planning.planner import PLANNING_MARGIN_MS, PartitionReporter, open_meter_events
from reporter.planning.unplanned import LARGEST_MS
from tests.support.metering_tallies import an_adjustment

NOW_MS = 1_780_000_000_000 // LARGEST_MS * LARGEST_MS
REPORTERS = 3
# Only a sole sender postpones, and these copies share a name.
OUTCOMES = [outcome for outcome in Outcome if outcome is not Outcome.POSTPONED]
ROWS_MAX = 4
OLDEST_MS = NOW_MS - 35 * DAY_MS + PLANNING_MARGIN_MS


@dataclass
class Copy:
    """One copy of the service: its state, and an append of which it has not heard yet (the entry and where it landed, if it did)."""

    reporter: PartitionReporter | None = None
    unconfirmed: tuple[Intent | Receipt, int | None] | None = None
    told: list[Settlement] = field(default_factory=list)


class ReporterMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.tallies: list[Tally] = []
        self.accepted: list[int] = []  # offsets of accepted tallies
        self.ledger: list[bytes] = []
        self.copies = [Copy() for _ in range(REPORTERS)]

    # The aggregator's side

    @rule(
        minutes=st.lists(st.sampled_from([0, 1, 59, 60, 61, 125, 359, 361]), max_size=4),
        old=st.sampled_from([0, 0, 0, 36 * DAY_MS]),
        lost=st.booleans(),
        quantity=st.integers(1, 5),
    )
    def a_tally_is_written(self, minutes: list[int], old: int, lost: bool, quantity: int) -> None:
        previous = self.accepted[-1] if self.accepted else NO_OFFSET
        start = self.tallies[previous].link.end if self.accepted else 0
        link = ChainLink(start + 7, start + 9, previous) if lost and self.accepted else ChainLink(start, start + 2, previous)
        rows = [TallyRow("c", "tokens", (), NOW_MS - old - minute * MINUTE_MS, quantity, 1) for minute in minutes]
        if link.start == start:
            self.accepted.append(len(self.tallies))
        self.tallies.append(Tally("chain", 0, link, NO_OFFSET, "a", "k", NOW_MS, RecordCounts(singles=2), EventCounts(counted=2), rows))

    @precondition(lambda self: self.accepted)
    @rule(minutes=st.lists(st.integers(0, 4), min_size=1, max_size=4), copies=st.integers(1, 2), quantity=st.integers(-9, -1))
    def usage_is_taken_out(self, minutes: list[int], copies: int, quantity: int) -> None:
        offset, head = len(self.tallies), self.accepted[-1]
        end = self.tallies[head].link.end
        rows = [TallyRow("c", "tokens", (), NOW_MS - minute * MINUTE_MS, quantity, -1) for minute in minutes]
        found = an_adjustment(rows, offset=offset, end=end, link=ChainLink(end, end, head), chain_id="chain", log_time_ms=NOW_MS)
        self.tallies += [found] * copies
        self.accepted.append(offset)

    # The reporters

    def take_over(self, copy: Copy) -> PartitionReporter:
        """From the checkpoint that the last entry names, as a new owner does."""
        begin, ledger = 0, Ledger()
        if self.ledger:
            last = decode_entry(self.ledger[-1])
            assert not isinstance(last, Note)
            if last.checkpoint != NO_OFFSET:
                begin = last.checkpoint
                intent = decode_entry(self.ledger[begin])
                assert isinstance(intent, Intent)
                ledger = ledger_from(begin, intent)
        reporter = PartitionReporter(0, "r", ledger, ROWS_MAX, BillingPeriods())
        for offset in range(begin, len(self.ledger)):
            reporter.observe(offset, offset, decode_entry(self.ledger[offset]))
        reporter.begin()
        copy.reporter, copy.unconfirmed = reporter, None
        copy.told.clear()
        return reporter

    def working(self, number: int) -> tuple[Copy, PartitionReporter]:
        """The copy, ready to act: one that waits for an acknowledgement gives up waiting and starts over."""
        copy = self.copies[number]
        if copy.reporter is None or copy.unconfirmed is not None:
            return copy, self.take_over(copy)
        return copy, copy.reporter

    numbers = st.integers(0, REPORTERS - 1)

    @rule(number=numbers)
    def it_dies(self, number: int) -> None:
        self.copies[number] = Copy()

    @rule(number=numbers, records=st.integers(1, 5))
    def it_reads_tallies(self, number: int, records: int) -> None:
        _, reporter = self.working(number)
        for offset in range(reporter.tally_position, min(len(self.tallies), reporter.tally_position + records)):
            reporter.add(offset, self.tallies[offset])

    @rule(number=numbers, rows=st.integers(1, 6), hourly_max=st.integers(1, 6), landings=st.integers(0, 2))
    def it_writes_an_intent(self, number: int, rows: int, hourly_max: int, landings: int) -> None:
        copy, reporter = self.working(number)
        intent = reporter.plan(NOW_MS, rows, hourly_max)
        if intent is not None:
            self.append(copy, intent, encode_intent(intent), landings)

    @rule(number=numbers, outcome=st.sampled_from(OUTCOMES), landings=st.integers(0, 2))
    def it_writes_a_receipt(self, number: int, outcome: Outcome, landings: int) -> None:
        copy, reporter = self.working(number)
        for offset in reporter.ledger.open:
            found = open_meter_events(reporter.ledger, offset)
            assert [index for index, _ in found] == sorted(reporter.ledger.open[offset].open)
            copy.told.append(Settlement(offset, found[0][0], outcome, NOW_MS))
        if copy.told:
            receipt = reporter.receipt(tuple(copy.told))
            copy.told.clear()
            self.append(copy, receipt, encode_receipt(receipt), landings)

    def append(self, copy: Copy, entry: Intent | Receipt, value: bytes, landings: int) -> None:
        landed = None
        for _ in range(landings):
            landed = len(self.ledger)
            self.ledger.append(value)
        copy.unconfirmed = (entry, landed)

    @rule(number=numbers)
    @precondition(lambda self: any(copy.unconfirmed is not None for copy in self.copies))
    def an_acknowledgement_comes(self, number: int) -> None:
        copy = self.copies[number]
        if copy.reporter is None or copy.unconfirmed is None or copy.unconfirmed[1] is None:
            return
        entry, offset = copy.unconfirmed
        assert offset is not None
        copy.unconfirmed = None
        nobody_between = offset == copy.reporter.ledger.chain.next_offset
        for at in range(copy.reporter.ledger.chain.next_offset, offset):
            copy.reporter.observe(at, at, decode_entry(self.ledger[at]))
        accepted = copy.reporter.observe(offset, offset, entry, mine=True)
        assert accepted or not nobody_between
        assert accepted == (isinstance(entry, Receipt) or offset in self.accepted_intents())
        if accepted and isinstance(entry, Intent) and nobody_between:
            assert not len(copy.reporter.unplanned)

    # What must be true of the log

    def accepted_intents(self) -> dict[int, Intent]:
        found: dict[int, Intent] = {}
        end, head = 0, NO_OFFSET
        for offset, value in enumerate(self.ledger):
            entry = decode_entry(value)
            if isinstance(entry, Intent) and (entry.link.start, entry.link.previous) == (end, head):
                found[offset] = entry
                end, head = entry.link.end, offset
        return found

    @invariant()
    def each_accepted_tally_is_reported_by_exactly_one_intent(self) -> None:
        for intent in self.accepted_intents().values():
            covered = [self.tallies[offset] for offset in range(intent.link.start, intent.link.end) if offset in self.accepted]
            wanted: Counter[tuple[str, int]] = Counter()
            for tally in covered:
                for row in tally.rows:
                    wanted[row.customer, row.window_start_ms // LARGEST_MS] += row.quantity
            told: Counter[tuple[str, int]] = Counter()
            for event in (*intent.meter_events, *intent.unbillable):
                told[event.customer, event.time_ms // LARGEST_MS] += event.value
            assert told == wanted
            assert all(event.time_ms >= OLDEST_MS for event in intent.meter_events)
            assert all(event.time_ms < OLDEST_MS for event in intent.unbillable)
            assert intent.tally_head == max(offset for offset in self.accepted if offset < intent.link.end)
            assert intent.events_end == self.tallies[intent.tally_head].link.end

    @invariant()
    def identifiers_of_accepted_intents_are_unique(self) -> None:
        identifiers = [intent.identifier(index) for intent in self.accepted_intents().values() for index in range(len(intent.meter_events))]
        assert len(set(identifiers)) == len(identifiers)

    @invariant()
    def a_new_owner_knows_exactly_what_is_open(self) -> None:
        still_open = {(offset, index): event for offset, intent in self.accepted_intents().items() for index, event in enumerate(intent.meter_events)}
        for value in self.ledger:
            entry = decode_entry(value)
            if isinstance(entry, Receipt):
                for settlement in entry.settlements:
                    if settlement.outcome is not Outcome.UNKNOWN:
                        still_open.pop((settlement.intent, settlement.index), None)
        reporter = self.take_over(Copy())
        found = {(offset, index): event for offset in reporter.ledger.open for index, event in open_meter_events(reporter.ledger, offset)}
        assert found == still_open
        intents = self.accepted_intents()
        assert reporter.tally_position == max((intent.link.end for intent in intents.values()), default=0)


ReporterMachine.TestCase.settings = settings(max_examples=120, stateful_step_count=40, deadline=None)
TestReporter = ReporterMachine.TestCase
