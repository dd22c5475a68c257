"""One owned partition at run time: takes over, counts what the poll loop hands in, writes tallies, and stops rather than guess."""

from collections import Counter
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Final

import orjson
from taximeter_emitter.wire.event import UsageEvent, encode_event

from aggregator.core.counting import PartitionCounter
from aggregator.core.pending_tally import Ahead, Cut
from aggregator.metrics import AggregatorMetrics
from aggregator.record_spans import RecordSpans
from aggregator.settings import AggregatorSettings
from aggregator.snapshots import IdSnapshots
from aggregator.suspects import Suspects
from aggregator.takeover import CountingTakeover
from metering.following.catalogue_following import CatalogueFollowing
from metering.kafka.partition_log import Appended, LogUnavailable
from metering.process.logs import RateLimited
from metering.records.dead_letter import DeadLetter, encode_dead_letter
from metering.records.fail_closed import ChainBroken, FailClosed, HistoryLost
from metering.records.service_limits import CHAIN_RECORD_BYTES_MAX
from metering.records.tally import Tally
from metering.workers.partition_worker import MARKER_SECONDS, MENDED_SECONDS, PartitionWorker, WorkerKit

# What is counted before other partitions get the event loop.
TURN_RECORDS: Final = 4_000
TURN_BYTES: Final = 1024 * 1024
SENDS_AT_ONCE: Final = 500
CLOCK_AHEAD_MS: Final = 60_000  # of an emitter, so that somebody should set it
FIELDS_LOGGED_MAX: Final = 10
SET_ASIDE_SECONDS: Final = 60.0  # how often a partition logs that events were set aside


class CountingWorker(PartitionWorker):
    """Counts one partition. `kept` is the counter that `release` gave when it was last let go: it spares the re-reading of the log."""

    def __init__(
        self,
        partition: int,
        kit: WorkerKit,
        *,
        settings: AggregatorSettings,
        takeover: CountingTakeover,
        catalogue: CatalogueFollowing,
        metrics: AggregatorMetrics,
        snapshots: IdSnapshots,
        kept: PartitionCounter | None,
    ) -> None:
        super().__init__(partition, kit)
        self.counter: PartitionCounter | None = None
        self._kept = kept
        self._settings = settings
        self._takeover = takeover
        self._snapshots = snapshots
        self._suspects = Suspects()
        self._head = b""  # the record of our last accepted tally
        self._tallies_seen = 0  # the first offset of usage.tallies that may hold what mends the partition
        self._waiting_at = 0  # the position at which nothing came, since then
        self._waiting_since = 0.0
        self._catalogue = catalogue
        self._is_counting = False
        self._metrics = metrics
        self._spans = None if kit.span_maker is None else RecordSpans(kit.span_maker, topic=kit.topics.events.name, partition=partition)
        self._warnings = RateLimited(self._clock, interval_seconds=SET_ASIDE_SECONDS)

    # For the poll loop

    @property
    def wants_records(self) -> bool:
        """Whether the poll loop may hand in more: the partition is counting and below its byte bound."""
        return self.counter is not None and self.stopped is None and not self._draining and self.unflushed_bytes < self._settings.unflushed_bytes_max

    @property
    def unflushed_bytes(self) -> int:
        """Bytes of events that are read and not in an accepted tally."""
        return self._inbox.bytes + (self.counter.pending_input_bytes if self.counter is not None else 0)

    @property
    def may_resume(self) -> bool:
        """Whether half of the byte bound is free again."""
        return self.unflushed_bytes <= self._settings.unflushed_bytes_max // 2

    @property
    def chain_end(self) -> int | None:
        """The end of the accepted tallies."""
        return self.counter.tallies.chain.end if self.counter is not None else None

    @property
    def position(self) -> int | None:
        """The offset of the next record that is not counted yet."""
        return self.counter.position if self.counter is not None else None

    @property
    def remembered_ids(self) -> int:
        """Ids in memory for deduplication."""
        return len(self.counter.ids) if self.counter is not None else 0

    def release(self) -> PartitionCounter | None:
        """After `run` has returned: the counter, if it is exactly at an accepted tally and can continue from there later."""
        counter = self.counter
        return counter if counter is not None and self.stopped is None and not counter.pending_records else None

    # The task

    async def _own(self) -> None:
        began = self._clock.monotonic()
        counter, self._kept = self._kept, None
        self._takeover.follow(await self._catalogue.look())
        if counter is None:
            self._tallies_seen = await self._takeover.tallies_end(self.partition)
            counter = await self._takeover.take_over(self.partition)
        else:
            await self._takeover.refresh(counter)
        self._continue_at(counter.position)
        self.counter = counter
        seconds = self._clock.monotonic() - began
        self._group_metrics.takeover_seconds.observe(seconds)
        self._note_emitters(counter)
        self._log.info("took over", position=counter.position, remembered_ids=len(counter.ids), seconds=round(seconds, 3))
        flushed = self._clock.monotonic()
        while True:
            pause = self._settings.flush_seconds if counter.pending_records or self._inbox else self._settings.idle_tally_seconds
            due = flushed + pause
            if not self._inbox and self.readable_end > counter.position:
                due = min(due, self._clock.monotonic() + MARKER_SECONDS)
            await self._wait(due - self._clock.monotonic(), work=self._is_time_to_count(flushed))
            self._follow(counter)
            if self._is_time_to_count(flushed):
                await self._count_inbox(counter)
                self._is_counting = bool(self._inbox)
            unreadable = self._unreadable()
            if unreadable is not None and not counter.pending_records:
                raise unreadable
            await self._pass_markers(counter)
            if self._draining:
                if counter.pending_records:
                    await self._flush(counter)
                if self._head and not counter.pending_records:
                    self._snapshots.save_all(counter, self._head)
                return
            if unreadable is not None or counter.pending_bytes >= self._settings.flush_bytes or self._is_due(counter, flushed):
                await self._flush(counter)
                flushed = self._clock.monotonic()

    def _is_due(self, counter: PartitionCounter, flushed: float) -> bool:
        if not counter.pending_records:
            return self._clock.monotonic() >= flushed + self._settings.idle_tally_seconds
        full = self.unflushed_bytes >= self._settings.unflushed_bytes_max
        return full or self._clock.monotonic() >= flushed + self._settings.flush_seconds

    @property
    def _may_gather(self) -> bool:
        """See PartitionWorker."""
        return not self._inbox.is_worth_a_turn

    def _is_time_to_count(self, flushed: float) -> bool:
        """Whether to count what came. Little waits for more until a tally is due; once counting has begun, it goes on until the inbox is empty."""
        if not self._inbox:
            return False
        urgent = self._is_counting or self._inbox.is_worth_a_turn or not self.wants_records
        return urgent or self._clock.monotonic() >= flushed + self._settings.flush_seconds

    async def _count_inbox(self, counter: PartitionCounter) -> None:
        """Count records of the inbox until the tally is large enough or others must have a turn."""
        self._inbox.drop_before(counter.position)
        if not self._inbox or counter.pending_bytes >= self._settings.flush_bytes:
            return
        offset = self._inbox.first_offset
        if self._inbox.holes.end_from(counter.position) < offset and not await self._is_hole(counter, offset):
            self._read_again(counter.position, offset)
            return
        # Taken only when they are counted: a cancelled check above leaves nothing half done.
        run = self._suspects.narrowed(self._inbox.run(TURN_RECORDS, TURN_BYTES, partial(self._takeover.is_proved_empty, self.partition)))
        if counter.pending_records and offset in self._suspects:
            await self._flush(counter)  # so that the chain ends at the record over which code fails
            return
        if not counter.is_known(run[0].timestamp):
            await self._catalogue.look(max(run[0].timestamp, counter.log_time_ms))
            return
        try:
            taken = counter.count_many(run, self._settings.flush_bytes)
        except Exception:
            self._record_at = self._suspects.failed(run)
            raise
        if taken:
            if self._spans is not None:
                self._spans.look(run[:taken])
            self._inbox.drop(taken)
        else:
            await self._flush(counter)  # the next record is of another version of the catalogue

    def _follow(self, counter: PartitionCounter) -> None:
        if self._catalogue.timeline is not counter.timeline and not counter.follow(self._catalogue.timeline):
            raise LogUnavailable("a version of the catalogue holds already for what was counted and not written: it is counted again")

    async def _pass_markers(self, counter: PartitionCounter) -> None:
        """Count offsets at the end of the log as skipped if they hold no record, as the marker of a last transaction does: none will come of them.

        Looked at only when nothing came for a while, because usually a record is on its way.
        """
        now, known_end = self._clock.monotonic(), self._inbox.holes.end_from(counter.position)
        if not self._inbox and known_end > counter.position:
            counter.skip_to(known_end)  # it came with the last records
        if self._inbox or self.readable_end <= counter.position or counter.position != self._waiting_at:
            self._waiting_at, self._waiting_since = counter.position, now
        elif now >= self._waiting_since + MARKER_SECONDS:
            self._waiting_since, end = now, self.readable_end
            if await self._is_hole(counter, end):
                counter.skip_to(end)

    async def _is_hole(self, counter: PartitionCounter, end: int) -> bool:
        """Whether there is nothing to count up to `end`. Raises HistoryLost, once the chain ends where records are missing."""
        try:
            return await self._takeover.holds_no_record(self.partition, counter.position, end)
        except HistoryLost:
            if counter.pending_records:
                await self._flush(counter)
            raise

    async def _flush(self, counter: PartitionCounter) -> None:
        """Write what was counted as a tally. Raises LogUnavailable (it may have been written: start over) or FailClosed."""
        began = self._clock.monotonic()
        if not counter.is_known(0):
            await self._catalogue.look(counter.log_time_ms)
            self._follow(counter)
        cut = counter.cut()
        if len(cut.value) > CHAIN_RECORD_BYTES_MAX:
            raise ChainBroken(f"a tally of {len(cut.value)} bytes cannot be written; its events need fewer meters or dimensions")
        await self._set_aside(cut)
        landed = await self._appender.append(self._topics.tallies.name, self.partition, cut.value)
        self._catalogue.note(landed.log_time_ms)
        accepted = await self._settle(counter, cut, landed)
        self._metrics.flush_seconds.observe(self._clock.monotonic() - began)
        if accepted:
            self._head = cut.value
            self._snapshots.save(counter, cut.value)
            self._note(cut)
            self._note_emitters(counter)
            if self._spans is not None:
                self._spans.tallied(landed.offset)
        else:
            self._head = b""
            if self._spans is not None:
                self._spans.forget()
            self._metrics.tallies.labels("lost").inc()
            self._log.warning("another writer's tally came first", position=counter.position, start=cut.tally.link.start)
            self._continue_at(counter.position)

    async def _settle(self, counter: PartitionCounter, cut: Cut, landed: Appended) -> bool:
        if landed.offset == counter.tallies.chain.next_offset:
            accepted = counter.observe(landed.offset, cut.tally)  # nobody came between: accepted, and nothing to read
            self._backoff.reset(self._clock.monotonic())
            return accepted
        return await self._takeover.catch_up(counter, cut.tally, landed.offset)

    async def _set_aside(self, cut: Cut) -> None:
        """Make dead letters and forwarded events durable before the tally that accounts for them."""
        for start in range(0, len(cut.dead_letters), SENDS_AT_ONCE):
            await self._turns.together(self._dead_letter(letter) for letter in cut.dead_letters[start : start + SENDS_AT_ONCE])
        for start in range(0, len(cut.forwards), SENDS_AT_ONCE):
            await self._turns.together(self._forward(event) for event in cut.forwards[start : start + SENDS_AT_ONCE])

    async def _dead_letter(self, letter: DeadLetter) -> Appended:
        value, headers = encode_dead_letter(letter)
        return await self._appender.append(self._topics.deadletters.name, self.partition, value, key=letter.written_key, headers=headers)

    async def _forward(self, event: UsageEvent) -> Appended:
        home = self._takeover.home_of(event.customer)
        return await self._appender.append(self._topics.events.name, home, orjson.dumps(encode_event(event)), key=event.customer.encode())

    def _forget(self) -> None:
        if self._spans is not None:
            self._spans.forget()
        if self.counter is not None:
            self._tallies_seen = max(self._tallies_seen, self.counter.tallies.chain.next_offset)
        self.counter = None

    async def _mended(self) -> bool:
        """Wait until somebody accepts what is lost, or steps over a record (`taximeter repair`), then read again whether that is all."""
        while not self._draining:
            await self._wait(MENDED_SECONDS, work=False)
            try:
                mended, self._tallies_seen = await self._takeover.mended(self.partition, self._tallies_seen)
            except (LogUnavailable, FailClosed):
                continue  # it is stopped already; what is wrong shows again when it goes on
            if mended:
                return not self._draining
        return False

    def _note(self, cut: Cut) -> None:
        tally, metrics = cut.tally, self._metrics
        metrics.tallies.labels("accepted").inc()
        for kind, number in (
            ("heartbeat", tally.records.heartbeats),
            ("batch", tally.records.batches),
            ("single", tally.records.singles),
            ("skipped", tally.records.skipped),
        ):
            metrics.records.labels(kind).inc(number)
        for way, number in cut.ways._asdict().items():
            metrics.events_read.labels(way).inc(number)
        metrics.events.labels("counted").inc(tally.events.counted)
        metrics.events.labels("duplicate").inc(tally.events.duplicates)
        metrics.events.labels("forwarded").inc(tally.events.forwarded)
        for reason, number in tally.events.dead_lettered.items():
            metrics.events.labels("dead_lettered").inc(number)
            metrics.dead_letters.labels(reason).inc(number)
        if cut.dead_letters:
            self._note_set_aside(cut.dead_letters)
        quantities: Counter[str] = Counter()
        for row in tally.rows:
            quantities[row.meter] += row.quantity
        for meter, quantity in quantities.items():
            metrics.quantity.labels(meter).inc(quantity)
        self._note_clocks(cut.ahead)
        self._note_unknown_usage(tally)
        if tally.log_time_ms:
            metrics.tallied_log_time.labels(str(self.partition)).set(tally.log_time_ms / 1000)

    def _note_unknown_usage(self, tally: Tally) -> None:
        if tally.unknown_usage:
            self._metrics.unknown_usage.inc(sum(units for _, _, units in tally.unknown_usage))
            fields = [name for name, _, _ in sorted(tally.unknown_usage, key=lambda entry: -entry[2])[:FIELDS_LOGGED_MAX]]
            self._warnings.warning(self._log, "events have usage fields that the catalogue does not know; these are not billed", fields=fields)

    def _note_emitters(self, counter: PartitionCounter) -> None:
        partition = str(self.partition)
        self._metrics.emitters.labels(partition).set(len(counter.sequences))
        self._metrics.emitter_gaps.labels(partition).set(counter.sequences.gaps)

    def _note_clocks(self, ahead: Mapping[str, Ahead]) -> None:
        self._metrics.capped_times.inc(sum(found.events for found in ahead.values()))
        emitter = max(ahead, key=lambda name: ahead[name].most_ms, default="")
        most_ms = ahead[emitter].most_ms if emitter else 0
        self._metrics.clock_ahead.labels(str(self.partition)).set(most_ms / 1000)
        if most_ms >= CLOCK_AHEAD_MS:
            self._warnings.warning(self._log, "the clock of an emitter is ahead of Kafka's", emitter=emitter, seconds=most_ms // 1000)

    def _note_set_aside(self, letters: Sequence[DeadLetter]) -> None:
        """Say who sends what cannot be counted, once a minute at most; `/status` has the sums."""
        self._metrics.set_aside.add(letters)
        first, origin = letters[0], letters[0].origin
        self._warnings.warning(
            self._log,
            "events were set aside and are not billed",
            events=sum(letter.events for letter in letters),
            first_reason=first.reason.value,
            first_detail=first.detail,
            first_offset=first.offset,
            first_source=origin.source or origin.emitter,
            first_customer=next((customer for customer, _ in origin.customers), ""),
        )
