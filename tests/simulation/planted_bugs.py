"""Bugs put in on purpose, one at a time: a simulation that does not catch these would not catch others either."""

from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import replace
from itertools import count
from typing import Any
from unittest.mock import patch

import numpy as np
from taximeter_emitter.wire import event as wire_event
from taximeter_emitter.wire.batch import NO_ID
from taximeter_emitter.wire.limits import DAY_MS

from aggregator.core.counting import PartitionCounter
from aggregator.core.pending_tally import Cut
from aggregator.core.sequences import SequenceIndex
from aggregator.core.uncounted_places import UncountedPlaces
from aggregator.ids.fingerprints import Fingerprints, Mask, Words
from aggregator.ids.id_index import IdIndex, Seen
from aggregator.ids.identities import Identities
from aggregator.reading import plain_reader
from aggregator.reading.events import Events
from aggregator.sums.rows import Rows
from aggregator.worker import CountingWorker
from metering.folds.corrections import Target, objection
from metering.folds.ledger import Ledger
from metering.kafka.partition_log import Appended
from metering.records.chain import NO_OFFSET, Chain, ChainLink
from metering.records.ledger_records import Correction, CorrectionKind, Intent, Outcome, Receipt, Settlement, decode_entry
from reporter import correcting
from reporter.dispatch import Dispatcher
from reporter.planning import planner, unplanned
from reporter.planning.billing_periods import ALWAYS, BillingPeriods, Side
from reporter.planning.planner import PartitionReporter
from reporter.planning.unplanned import LARGEST_MS, UnplannedUsage
from reporter.sending import lanes
from reporter.sending.lanes import Attempt, Lanes, MeterSend
from reporter.sending.verdicts import Verdict
from reporter.worker import ReportingWorker
from tests.simulation.world import START_MS


def _method(owner: type, name: str, replacement: Callable[..., Any]) -> AbstractContextManager[Any]:
    return patch.object(owner, name, replacement)


@contextmanager
def ids_are_not_looked_up() -> Iterator[None]:
    """Deduplication by id is off."""

    def look_up(_self: IdIndex, _fingerprint: bytes, _content: int) -> Seen:
        return Seen.NEVER

    def claim(_self: IdIndex, _fingerprints: Fingerprints, contents: Words) -> Mask:
        return np.ones(len(contents), np.bool_)

    with _method(IdIndex, "look_up", look_up), _method(IdIndex, "claim", claim):
        yield


@contextmanager
def identities_have_no_customer() -> Iterator[None]:
    """The same source and id of two customers is one event."""

    def number(_self: Identities, _customer: str) -> bytes:
        return NO_ID

    with _method(Identities, "number", number):
        yield


@contextmanager
def fingerprints_have_no_source() -> Iterator[None]:
    """The same id of two sources is one event."""
    prefix = wire_event.source_prefix

    def without(_source: str) -> bytes:
        return prefix("")

    with patch.object(wire_event, "source_prefix", without), patch.object(plain_reader, "source_prefix", without):
        yield


@contextmanager
def numbers_are_not_looked_up() -> Iterator[None]:
    """Deduplication by an emitter's numbers is off."""

    def claim(_self: SequenceIndex, _emitter: str, first: int, last: int, *_: object) -> Sequence[tuple[int, int]]:
        return [(first, last)]

    with _method(SequenceIndex, "_claim", claim):
        yield


@contextmanager
def batches_mix_up_their_series() -> Iterator[None]:
    """Batches that are counted together forget where the series of each begin."""
    real = plain_reader._events_of_batches

    def events_of(columns: plain_reader._BatchColumns, known: frozenset[str]) -> Iterator[Events]:
        return real(columns._replace(firsts=[0] * len(columns.firsts)), known)

    with patch.object(plain_reader, "_events_of_batches", events_of):
        yield


@contextmanager
def ids_are_forgotten_on_takeover() -> Iterator[None]:
    """A new owner does not read the log again."""

    def remember(_self: PartitionCounter, _records: object) -> None:
        return

    with _method(PartitionCounter, "remember", remember):
        yield


@contextmanager
def ids_set_aside_are_learnt_on_takeover() -> Iterator[None]:
    """A new owner takes dead-lettered events for counted ones."""
    real = PartitionCounter.observe

    def observe(self: PartitionCounter, offset: int, tally: Any) -> bool:
        accepted = real(self, offset, tally)
        self._not_counted = UncountedPlaces()
        return accepted

    with _method(PartitionCounter, "observe", observe):
        yield


@contextmanager
def every_append_is_accepted() -> Iterator[None]:
    """Readers do not check that a record continues the chain."""

    with _method(Chain, "continues", lambda _self, _link: True):
        yield


@contextmanager
def a_writer_assumes_its_intent_accepted() -> Iterator[None]:
    """The reporter sends as soon as its intent is in the log, even if another writer came in between."""
    real = ReportingWorker._observed

    async def observed(self: ReportingWorker, reporter: PartitionReporter, entry: Intent | Receipt, landed: Appended) -> bool:
        if isinstance(entry, Intent):
            reporter.ledger.chain.next_offset = landed.offset
            return reporter.observe(landed.offset, landed.log_time_ms, entry, mine=True)
        return await real(self, reporter, entry, landed)

    with _method(ReportingWorker, "_observed", observed):
        yield


@contextmanager
def a_writer_assumes_its_receipt_accepted() -> Iterator[None]:
    """The reporter does not read what another writer put into the ledger before its receipt."""
    real = ReportingWorker._observed

    async def observed(self: ReportingWorker, reporter: PartitionReporter, entry: Intent | Receipt, landed: Appended) -> bool:
        if isinstance(entry, Receipt):
            reporter.ledger.chain.next_offset = landed.offset
            return reporter.observe(landed.offset, landed.log_time_ms, entry, mine=True)
        return await real(self, reporter, entry, landed)

    with _method(ReportingWorker, "_observed", observed):
        yield


@contextmanager
def a_writer_assumes_its_tally_accepted() -> Iterator[None]:
    """The aggregator goes on as soon as its tally is in the log, even if another writer came in between."""

    async def settle(_self: CountingWorker, counter: PartitionCounter, cut: Cut, landed: Appended) -> bool:
        counter.tallies.chain.next_offset = landed.offset
        return counter.observe(landed.offset, cut.tally)

    with _method(CountingWorker, "_settle", settle):
        yield


@contextmanager
def receipts_come_before_sends() -> Iterator[None]:
    """What is about to be sent is settled as accepted."""
    real = Dispatcher._attempt

    def attempt_(self: Dispatcher, attempt: Attempt) -> Awaitable[Verdict]:
        send = attempt.send
        self._mailboxes[send.partition].put([Settlement(send.intent, send.index, Outcome.ACCEPTED, self._now_ms())])
        return real(self, attempt)

    with _method(Dispatcher, "_attempt", attempt_):
        yield


@contextmanager
def sends_come_before_the_intent() -> Iterator[None]:
    """The reporter sends what it planned, and writes the intent afterwards."""
    real = ReportingWorker._append

    async def append(self: ReportingWorker, value: bytes) -> Appended:
        entry = decode_entry(value)
        for index, planned in enumerate(entry.meter_events) if isinstance(entry, Intent) else ():
            assert isinstance(entry, Intent)
            send = MeterSend(self.partition, 0, index, entry.identifier(index), planned, 0, doubtful=False)
            self._dispatcher._calls.start(self._dispatcher._attempt(Attempt(send, 1, send.identifier)), lambda _: None, lambda _: None)
        return await real(self, value)

    with _method(ReportingWorker, "_append", append):
        yield


@contextmanager
def every_retry_has_a_new_identifier() -> Iterator[None]:
    """The identifier is drawn for each attempt."""
    numbers = count()
    real = Dispatcher._attempt

    def attempt_(self: Dispatcher, attempt: Attempt) -> Awaitable[Verdict]:
        if attempt.number == 1:
            return real(self, attempt)
        fresh = f"{attempt.send.identifier}.{next(numbers)}"
        return real(self, Attempt(replace(attempt.send, identifier=fresh), attempt.number, fresh))

    with _method(Dispatcher, "_attempt", attempt_):
        yield


@contextmanager
def unknown_outcomes_are_resent_for_ever() -> Iterator[None]:
    """After 24 hours Stripe has forgotten the identifier, and it is sent all the same."""
    with patch.object(lanes, "RETRY_SAME_IDENTIFIER_MS", 10**15):
        yield


@contextmanager
def late_events_are_dropped() -> Iterator[None]:
    """Rows for windows that are over are not counted."""
    real = Rows.add

    def add(self: Rows, events: Events) -> None:
        real(self, events.chosen(events.times > START_MS - 600_000))

    with _method(Rows, "add", add):
        yield


@contextmanager
def dead_letters_are_not_written() -> Iterator[None]:
    """Tallies account for events that lie nowhere."""

    async def set_aside(_self: CountingWorker, _cut: Cut) -> None:
        return

    with _method(CountingWorker, "_set_aside", set_aside):
        yield


@contextmanager
def dead_letters_and_forwards_are_written_after_the_tally() -> Iterator[None]:
    """Who dies in between leaves a tally that accounts for events which lie nowhere."""
    real_set_aside, real_settle = CountingWorker._set_aside, CountingWorker._settle

    async def set_aside(_self: CountingWorker, _cut: Cut) -> None:
        return

    async def settle(self: CountingWorker, counter: PartitionCounter, cut: Cut, landed: Appended) -> bool:
        await real_set_aside(self, cut)
        return await real_settle(self, counter, cut, landed)

    with _method(CountingWorker, "_set_aside", set_aside), _method(CountingWorker, "_settle", settle):
        yield


@contextmanager
def a_refusal_is_believed_after_an_unknown_outcome() -> Iterator[None]:
    """Stripe says that the event is too old: nobody asks what became of the attempt before."""

    def settle_refused(self: Lanes, lane: Any, outcome: Outcome, now_ms: int, detail: str) -> None:
        self._settle(lane, outcome, now_ms, detail)

    with _method(Lanes, "_settle_refused", settle_refused):
        yield


@contextmanager
def anybody_may_found_the_chain_again() -> Iterator[None]:
    """A second founder whose range follows on is accepted."""

    def continues(self: Chain, link: ChainLink) -> bool:
        return link.start == self.end if self.head != NO_OFFSET else link.previous == NO_OFFSET

    with _method(Chain, "continues", continues):
        yield


@contextmanager
def a_receipt_does_not_look_at_other_intents() -> Iterator[None]:
    """A worker that meets another writer's intent while it writes a receipt goes on as if nothing had happened."""
    real = ReportingWorker._send_what_is_open

    def send_what_is_open(self: ReportingWorker, reporter: PartitionReporter, *, again: bool) -> None:
        if again:
            self._mailbox.clear()
        else:
            real(self, reporter, again=False)

    with _method(ReportingWorker, "_send_what_is_open", send_what_is_open):
        yield


@contextmanager
def a_new_owner_does_not_say_that_it_sends() -> Iterator[None]:
    """No receipt is written on taking over: a frozen owner's refusal is believed although the new one has delivered."""

    def receipt(self: PartitionReporter, settlements: Sequence[Settlement]) -> Receipt:
        found = real(self, settlements)
        return found if settlements else replace(found, instance=next(iter(self.ledger.open.values())).entry.instance)

    real = PartitionReporter.receipt
    with _method(PartitionReporter, "receipt", receipt):
        yield


@contextmanager
def windows_merge_across_the_end_of_a_billing_period() -> Iterator[None]:
    """Merging knows only the clock."""

    def side(_self: BillingPeriods, _customer: str, _minute_ms: int) -> Side:
        return ALWAYS

    with _method(BillingPeriods, "side", side):
        yield


@contextmanager
def windows_grow_beyond_an_hour_where_hours_would_do() -> Iterator[None]:
    """A merge up to an hour does not stop there."""
    real = UnplannedUsage.merge_to

    def merge_to(self: UnplannedUsage, rows: int, _largest_ms: int) -> None:
        real(self, rows, LARGEST_MS)

    with _method(UnplannedUsage, "merge_to", merge_to):
        yield


@contextmanager
def windows_grow_to_a_day() -> Iterator[None]:
    """The largest windows are four times as large."""
    with patch.object(unplanned, "LARGEST_MS", DAY_MS), patch.object(planner, "LARGEST_MS", DAY_MS):
        yield


@contextmanager
def a_period_is_told_with_its_very_first_second() -> Iterator[None]:
    """A meter event's time is always the begin of its earliest minute."""

    def event_time_ms(_self: BillingPeriods, _customer: str, minute_ms: int) -> int:
        return minute_ms

    with _method(BillingPeriods, "event_time_ms", event_time_ms):
        yield


@contextmanager
def a_correction_has_a_new_identifier_at_each_attempt() -> Iterator[None]:
    """What a correction sends again is another meter event to Stripe."""
    real = Dispatcher._attempt

    def attempt_(self: Dispatcher, attempt: Attempt) -> Awaitable[Verdict]:
        send = attempt.send
        if attempt.number == 1 or send.cancels is not None or not send.identifier.rpartition("-")[2].startswith("c"):
            return real(self, attempt)
        fresh = f"{send.identifier}.{attempt.number}"
        return real(self, Attempt(replace(send, identifier=fresh), attempt.number, fresh))

    with _method(Dispatcher, "_attempt", attempt_):
        yield


@contextmanager
def a_target_may_be_corrected_a_second_time() -> Iterator[None]:
    """The writer of a correction does not look for an existing one."""

    def objected(target: Target, kind: CorrectionKind) -> str | None:
        return objection(replace(target, corrections=[]), kind)

    with patch.object(correcting, "objection", objected):
        yield


@contextmanager
def a_correction_is_accepted_wherever_it_lands() -> Iterator[None]:
    """Two operators who know nothing of each other are both right."""

    def accepts(_self: Ledger, _offset: int, _correction: Correction) -> bool:
        return True

    with _method(Ledger, "accepts", accepts):
        yield


@contextmanager
def a_meter_event_that_may_be_on_its_way_is_cancelled() -> Iterator[None]:
    """Stripe frees the identifier, and takes the attempt that comes late."""

    def undoing(target: Target, now_ms: int) -> CorrectionKind:
        return real(replace(target, fate=replace(target.fate, repeated=False)), now_ms)

    real = correcting._undoing
    with patch.object(correcting, "_undoing", undoing):
        yield


@contextmanager
def an_error_report_is_believed_of_an_event_that_was_sent_twice() -> Iterator[None]:
    """One attempt was not recorded: that another one was is forgotten."""

    def objected(target: Target, kind: CorrectionKind) -> str | None:
        return objection(replace(target, fate=replace(target.fate, repeated=False)), kind)

    with patch.object(correcting, "objection", objected):
        yield


PLANTED: Mapping[str, Callable[[], AbstractContextManager[None]]] = {
    bug.__name__: bug
    for bug in (
        ids_are_not_looked_up,
        identities_have_no_customer,
        fingerprints_have_no_source,
        numbers_are_not_looked_up,
        batches_mix_up_their_series,
        ids_are_forgotten_on_takeover,
        ids_set_aside_are_learnt_on_takeover,
        every_append_is_accepted,
        a_writer_assumes_its_intent_accepted,
        a_writer_assumes_its_receipt_accepted,
        a_writer_assumes_its_tally_accepted,
        receipts_come_before_sends,
        sends_come_before_the_intent,
        every_retry_has_a_new_identifier,
        unknown_outcomes_are_resent_for_ever,
        late_events_are_dropped,
        dead_letters_are_not_written,
        dead_letters_and_forwards_are_written_after_the_tally,
        a_refusal_is_believed_after_an_unknown_outcome,
        anybody_may_found_the_chain_again,
        a_receipt_does_not_look_at_other_intents,
        a_new_owner_does_not_say_that_it_sends,
        windows_merge_across_the_end_of_a_billing_period,
        windows_grow_beyond_an_hour_where_hours_would_do,
        windows_grow_to_a_day,
        a_period_is_told_with_its_very_first_second,
        a_correction_has_a_new_identifier_at_each_attempt,
        a_target_may_be_corrected_a_second_time,
        a_correction_is_accepted_wherever_it_lands,
        a_meter_event_that_may_be_on_its_way_is_cancelled,
        an_error_report_is_believed_of_an_event_that_was_sent_twice,
    )
}
