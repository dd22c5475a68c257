"""One owned partition at run time: takes over, folds tallies, writes intents and receipts, and stops rather than guess."""

import math
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from metering.folds.corrections import TAKEN
from metering.kafka.chain_records import PartitionPlace, what_to_type
from metering.kafka.partition_log import Appended, LogUnavailable
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import FailClosed, RecordUnreadable
from metering.records.ledger_records import NO_LINK_CODE, Correction, Intent, Outcome, Planned, Receipt, Settlement, encode_intent, encode_receipt
from metering.records.notes.foreign_records import PassedBatch, decision_in, is_foreign
from metering.records.record import LogRecord
from metering.records.service_limits import CHAIN_RECORD_BYTES_MAX
from metering.workers.partition_worker import MARKER_SECONDS, MENDED_SECONDS, PartitionWorker, WorkerKit
from reporter.dispatch import Dispatcher
from reporter.mailbox import Mailbox
from reporter.metrics import ReporterMetrics
from reporter.planning.billing_periods import BillingPeriods
from reporter.planning.ended_periods import EndedPeriods
from reporter.planning.planner import PartitionReporter, cancelled_by, open_meter_events
from reporter.planning.usage_forms import FormDiffers, check_meter_event, check_tally
from reporter.sending.lanes import MeterSend
from reporter.settings import ReporterSettings
from reporter.takeover import ReportingTakeover

RECORDS_PER_TURN: Final = 50
SETTLEMENTS_PER_RECEIPT: Final = 5_000
INBOX_BYTES_MAX: Final = 32 * 1024 * 1024
OPEN_SECONDS: Final = 2.0  # the next intent is written when what is open would be sent in this time
# An intent without meter events is written after this many tallies, so that a takeover need not read them all.
EMPTY_INTENT_TALLIES: Final = 500
CARRIED_PER_SECOND: Final = 200  # each intent writes all carried sums again, so it comes the later the more they are
NO_LINK: Final = f"{NO_LINK_CODE}: the customer has no link, and too many others waited for one (taximeter customers link, then taximeter correct)"
FOLLOW_SECONDS: Final = 5.0  # how often the ledger is looked at for corrections, which others write


class MeterMissing(FailClosed):
    """Usage was counted for a meter that is in no published version of the catalogue: its payload keys are not known."""

    def __init__(self, meter: str) -> None:
        super().__init__(f"meter {meter} has usage to report and is in no version of the catalogue that was read: see taximeter meters list")
        self.meter = meter


class ReportingWorker(PartitionWorker):
    """Reports one partition. When it is dropped, what is in flight to Stripe goes on; the next owner finds its outcome again, because it
    sends the same identifier.
    """

    def __init__(
        self,
        partition: int,
        kit: WorkerKit,
        *,
        settings: ReporterSettings,
        takeover: ReportingTakeover,
        dispatcher: Dispatcher,
        periods: BillingPeriods,
        partition_rate: Callable[[], float],
        metrics: ReporterMetrics,
    ) -> None:
        super().__init__(partition, kit)
        self.reporter: PartitionReporter | None = None
        self._settings = settings
        self._takeover = takeover
        self._dispatcher = dispatcher
        self._ended_periods = EndedPeriods(periods)
        self._partition_rate = partition_rate
        self._metrics = metrics
        self._unsent: deque[MeterSend] = deque()
        self._mailbox = Mailbox(self._news.tell)
        self._planned_at = 0.0
        self._settled_at = 0.0
        self._followed_at = 0.0
        self._waiting_at = 0  # the position in usage.tallies at which nothing came, since then
        self._waiting_since = 0.0
        self._tallies = PartitionPlace(self._topics.tallies.name, partition)
        self._passed_from: set[int] = set()  # since the partition was taken over: where batches begin that were passed over
        self._decided_to = (NO_OFFSET, NO_OFFSET)  # the ends of usage.tallies and usage.ledger that may hold what mends the partition

    # For the poll loop

    @property
    def wants_records(self) -> bool:
        """Whether the poll loop may hand in more tallies."""
        reporter = self.reporter
        return reporter is not None and self.stopped is None and not self._draining and not reporter.is_full and self._inbox.bytes < INBOX_BYTES_MAX

    @property
    def may_resume(self) -> bool:
        """Whether half of the byte bound is free again."""
        return self._inbox.bytes <= INBOX_BYTES_MAX // 2

    @property
    def chain_end(self) -> int | None:
        """The end of the accepted intents, in tallies."""
        return self.reporter.ledger.chain.end if self.reporter is not None else None

    @property
    def settled_to(self) -> int | None:
        """The end of the accepted intents; or of what was folded, if it has no usage to report: such tallies wait for nothing."""
        reporter = self.reporter
        if reporter is None:
            return None
        return reporter.ledger.chain.end if len(reporter.unplanned) else reporter.tally_position

    @property
    def position(self) -> int | None:
        """The offset of the next tally that is not folded yet."""
        return self.reporter.tally_position if self.reporter is not None else None

    # The task

    async def run(self) -> None:
        """As long as the partition is owned; then its sends leave the lanes, and what becomes of those in flight goes nowhere."""
        try:
            await super().run()
        finally:
            self._dispatcher.unregister(self.partition, self._mailbox)
            self._dispatcher.lanes.forget(self.partition)

    async def _own(self) -> None:
        began = self._clock.monotonic()
        if NO_OFFSET in self._decided_to:
            self._decided_to = await self._takeover.ends(self.partition)
        reporter = await self._takeover.take_over(self.partition)
        if reporter.ledger.open:
            # From this entry on a former owner's refusals count for nothing: it is no longer the only one who may send what is open.
            await self._append_receipt(reporter, [])
        self._send_what_is_open(reporter, again=False)
        self.reporter = reporter
        self._dispatcher.register(self.partition, self._mailbox)
        self._group_metrics.takeover_seconds.observe(self._clock.monotonic() - began)
        self._log.info("took over", position=reporter.tally_position, open_meter_events=reporter.ledger.open_events)
        self._planned_at = self._settled_at = self._followed_at = self._clock.monotonic()
        while True:
            seconds = self._settings.receipt_seconds if self._mailbox else min(1.0, self._settings.report_seconds)
            # While it is full the inbox must wait for Stripe, and this loop with it.
            await self._wait(seconds, work=bool(self._inbox) and not reporter.is_full)
            reporter.hold(self._dispatcher.lanes.held.names)
            await self._fold_inbox(reporter)
            await self._pass_markers(reporter)
            unreadable = self._unreadable()
            if unreadable is not None:
                await self._pass_batch(reporter, unreadable)
            if self._unsent:
                self._fill_lanes()
            if self._receipt_is_due():
                await self._write_receipt(reporter)
            if self._draining and not self._mailbox:
                return
            if not self._draining:
                await self._follow_ledger(reporter)
                if self._intent_is_due(reporter):
                    await self._write_intent(reporter)
            self._observe(reporter)

    async def _fold_inbox(self, reporter: PartitionReporter) -> None:
        for _ in range(RECORDS_PER_TURN):
            if not self._inbox or reporter.is_full:
                return
            offset, position = self._inbox.first.offset, reporter.tally_position
            if offset > position:
                if not await self._takeover.holds_no_record(self.partition, position, offset):
                    self._read_again(position, offset)
                    return
                reporter.pass_over(offset)
            record = self._inbox.take()
            if offset >= position:
                tally = await self._takeover.tally_in(self.partition, record)
                if tally is not None:
                    check_tally(offset, tally, self._dispatcher.sent_meters)
                    reporter.add(offset, tally)
                    continue
                await self._check_decision(reporter, record)
                reporter.pass_over(offset + 1)
                if is_foreign(record.value):
                    self._metrics.foreign_records.labels("tallies").inc()
                    self._log.warning("a record that Taximeter did not write is passed over", topic=self._topics.tallies.name, offset=offset)

    async def _check_decision(self, reporter: PartitionReporter, record: LogRecord) -> None:
        """Raise ChainBroken at a decision about a batch that was folded here, or even reported: the partition is read again without it."""
        decision = decision_in(record)
        if not isinstance(decision, PassedBatch):
            return
        ledger = reporter.ledger
        is_folded = max(0, ledger.chain.end) <= decision.offset and decision.offset not in self._passed_from
        if is_folded or decision.offset <= ledger.tally_head < decision.end:
            await self._takeover.check_unread(self.partition, decision)

    async def _pass_batch(self, reporter: PartitionReporter, unreadable: RecordUnreadable) -> None:
        """Go on behind a batch that a person passed over. Raises what stops the partition at any other."""
        position = reporter.tally_position
        end = await self._takeover.passed_to(self.partition, position)
        if end is None:
            raise RecordUnreadable(f"{unreadable}. {what_to_type(self._tallies, position)}", offset=position)
        self._passed_from.add(position)
        self._log.warning("a batch that a person passed over as damaged is left out", start=position, end=end)
        reporter.pass_over(end)
        self._continue_at(end)

    async def _pass_markers(self, reporter: PartitionReporter) -> None:
        """Pass over offsets at the end of usage.tallies that hold no record, as the marker of another producer's transaction does."""
        now, position = self._clock.monotonic(), reporter.tally_position
        if self._inbox or self.readable_end <= position or position != self._waiting_at:
            self._waiting_at, self._waiting_since = position, now
        elif now >= self._waiting_since + MARKER_SECONDS:
            self._waiting_since, end = now, self.readable_end
            if await self._takeover.holds_no_record(self.partition, position, end):
                reporter.pass_over(end)

    # Intents

    def _intent_is_due(self, reporter: PartitionReporter) -> bool:
        waited = self._clock.monotonic() - self._planned_at
        if not len(reporter.unplanned) and not reporter.carries_more:
            return reporter.uncovered >= EMPTY_INTENT_TALLIES
        wait = max(self._ended_periods.report_seconds(self._settings.report_seconds), len(reporter.carried) / CARRIED_PER_SECOND)
        if waited < wait and not reporter.must_plan:
            return False
        lanes = self._dispatcher.lanes
        few_open = reporter.sendable_events <= self._partition_rate() * OPEN_SECONDS
        return few_open and not self._unsent and lanes.has_room_for(2 * len(reporter.unplanned)) and lanes.stopped is None

    async def _write_intent(self, reporter: PartitionReporter) -> None:
        """Append an intent for all that was folded. Its meter events are sent once it is accepted, and not before."""
        rate = self._partition_rate()
        rows_wanted = max(1, int(rate * self._settings.drain_target_seconds))
        intent = reporter.plan(self._clock.now_ms(), rows_wanted, int(rate * self._settings.hourly_drain_seconds))
        if intent is None:
            return
        value = encode_intent(intent)
        if len(value) > CHAIN_RECORD_BYTES_MAX:
            raise FailClosed(f"an intent of {len(value)} bytes cannot be written; lower rows_max")
        landed = await self._append(value)
        accepted = await self._observed(reporter, intent, landed)
        self._planned_at = self._clock.monotonic()
        if accepted:
            self._metrics.intents.labels("accepted").inc()
            self._metrics.meter_events.labels(Outcome.UNBILLABLE.value).inc(len(intent.unbillable))
            self._enqueue(reporter, landed.offset, doubtful=False)
        else:
            self._metrics.intents.labels("lost").inc()
            self._log.warning("another writer's intent came first", position=reporter.tally_position, start=intent.link.start)
            self._send_what_is_open(reporter, again=True)

    def _send_what_is_open(self, reporter: PartitionReporter, *, again: bool) -> None:
        """Start from what the ledger says: send everything open, no matter who planned it, and read on where the last intent ends.

        One of our own entries must be behind it. `again`: we may have sent some of it ourselves.
        """
        assert not reporter.must_claim
        self._drop_sends()
        reporter.take_corrections()
        for offset in list(reporter.ledger.open):
            self._enqueue(reporter, offset, doubtful=again or reporter.is_doubtful(offset))
        self._continue_at(reporter.tally_position)

    def _enqueue(self, reporter: PartitionReporter, offset: int, *, doubtful: bool) -> None:
        entry = reporter.ledger.open.get(offset)
        if entry is None:
            return
        planned = entry.entry
        meters = self._dispatcher.sent_meters
        rejected: list[Settlement] = []
        for index, event in open_meter_events(reporter.ledger, offset):
            if event.is_for_nobody:
                rejected.append(Settlement(offset, index, Outcome.REJECTED, self._clock.now_ms(), NO_LINK))
                continue
            if event.meter not in meters:
                raise MeterMissing(event.meter)
            check_meter_event(offset, event, meters)
            self._unsent.append(
                MeterSend(
                    partition=self.partition,
                    intent=offset,
                    index=index,
                    identifier=planned.identifier(index),
                    event=event,
                    log_time_ms=entry.log_time_ms,
                    doubtful=doubtful,
                    cancels=cancelled_by(planned),
                    is_correction=isinstance(planned, Correction),
                )
            )
        if rejected:
            self._log.warning("customers without a link are more than can wait, so the newest usage of some is rejected", meter_events=len(rejected))
            self._mailbox.put(rejected)
        self._fill_lanes()

    def _fill_lanes(self) -> None:
        """Hand over what the lanes have room for. After a takeover of many partitions the rest waits here, in order."""
        lanes = self._dispatcher.lanes
        while self._unsent and lanes.room:
            lanes.add(self._unsent.popleft())
        self._dispatcher.wake()

    def _drop_sends(self) -> None:
        self._dispatcher.lanes.forget(self.partition)
        self._unsent.clear()
        self._mailbox.clear()

    # Corrections

    async def _follow_ledger(self, reporter: PartitionReporter) -> None:
        """Look now and then for corrections, and send the accepted ones once one of our own entries is behind them."""
        if self._clock.monotonic() - self._followed_at >= FOLLOW_SECONDS:
            head = reporter.ledger.chain.head
            await self._takeover.follow(reporter)
            self._followed_at = self._clock.monotonic()
            if reporter.must_claim:
                await self._append_receipt(reporter, [])
            if reporter.ledger.chain.head != head:
                self._log.warning("another writer reports this partition, too", position=reporter.tally_position)
                self._send_what_is_open(reporter, again=True)
        for offset in reporter.take_corrections():
            self._enqueue(reporter, offset, doubtful=reporter.is_doubtful(offset))

    # Receipts

    def _receipt_is_due(self) -> bool:
        if not self._mailbox:
            self._settled_at = self._clock.monotonic()
            return False
        waited = self._clock.monotonic() - self._settled_at
        return self._draining or waited >= self._settings.receipt_seconds or len(self._mailbox) >= SETTLEMENTS_PER_RECEIPT

    async def _write_receipt(self, reporter: PartitionReporter) -> None:
        settlements = self._mailbox.first(SETTLEMENTS_PER_RECEIPT)
        planned = {offset: entry.entry for offset, entry in reporter.ledger.open.items()}
        head = reporter.ledger.chain.head
        await self._append_receipt(reporter, settlements)
        self._mailbox.drop(len(settlements))
        self._settled_at = self._clock.monotonic()
        self._backoff.reset(self._settled_at)
        self._metrics.receipts.inc()
        self._count(settlements, planned)
        if reporter.ledger.chain.head != head:
            self._log.warning("another writer reports this partition, too", position=reporter.tally_position)
            self._send_what_is_open(reporter, again=True)

    def _count(self, settlements: Sequence[Settlement], planned: Mapping[int, Planned]) -> None:
        # Summed up before: a metric costs as much as all else that is done for a settlement here.
        outcomes, quantities = Counter[Outcome](), Counter[tuple[str, bool]]()
        for settlement in settlements:
            entry = planned.get(settlement.intent)
            if isinstance(entry, Correction):
                self._metrics.corrections.labels(entry.kind.value, settlement.outcome.value).inc()
                continue
            outcomes[settlement.outcome] += 1
            if entry is not None and settlement.outcome in TAKEN:
                event = entry.meter_events[settlement.index]
                quantities[event.meter, event.value > 0] += abs(event.units)
        for outcome, count in outcomes.items():
            self._metrics.meter_events.labels(outcome.value).inc(count)
        for (meter, is_told), quantity in quantities.items():
            (self._metrics.quantity if is_told else self._metrics.quantity_back).labels(meter).inc(quantity)

    async def _append_receipt(self, reporter: PartitionReporter, settlements: Sequence[Settlement]) -> None:
        receipt = reporter.receipt(settlements)
        landed = await self._append(encode_receipt(receipt))
        await self._observed(reporter, receipt, landed)

    async def _append(self, value: bytes) -> Appended:
        landed = await self._appender.append(self._topics.ledger.name, self.partition, value)
        self._dispatcher.note_log_time(landed.log_time_ms)
        return landed

    async def _observed(self, reporter: PartitionReporter, entry: Intent | Receipt, landed: Appended) -> bool:
        if landed.offset == reporter.ledger.chain.next_offset:
            return reporter.observe(landed.offset, landed.log_time_ms, entry, mine=True)  # nobody came between
        return await self._takeover.catch_up(reporter, entry, landed.offset, landed.log_time_ms)

    async def _mended(self) -> bool:
        """Wait until a person decides to pass over a record (`taximeter repair skip`), then read again whether that is all; or until the meter is
        published that was missing, or had another form.
        """
        while not self._draining:
            await self._wait(MENDED_SECONDS, work=False)
            meters = self._dispatcher.sent_meters
            if isinstance(self.stopped, MeterMissing) and self.stopped.meter in meters:
                return not self._draining
            if isinstance(self.stopped, FormDiffers) and self.stopped.is_mended(meters):
                return not self._draining
            try:
                mended, self._decided_to = await self._takeover.mended(self.partition, self._decided_to)
            except (LogUnavailable, FailClosed):
                continue  # it is stopped already; what is wrong shows again when it goes on
            if mended:
                return not self._draining
        return False

    # Keeping house

    def _forget(self) -> None:
        self.reporter = None
        self._passed_from.clear()
        self._dispatcher.unregister(self.partition, self._mailbox)
        self._drop_sends()

    def _observe(self, reporter: PartitionReporter) -> None:
        since_ms = reporter.open_since_ms
        times = [since_ms] if since_ms is not None else []
        if reporter.unplanned_since_ms is not None:
            times.append(reporter.unplanned_since_ms)
        now_ms = self._clock.now_ms()
        self._metrics.reported_log_time.labels(str(self.partition)).set(min(times, default=now_ms) / 1000)
        self._ended_periods.look(reporter, now_ms // 1000, self._clock.monotonic())
        end = self._ended_periods.oldest_s
        self._metrics.unreported_period_end.labels(str(self.partition)).set(math.nan if end is None else end)
