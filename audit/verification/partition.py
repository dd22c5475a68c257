"""One partition: its three logs read in step, so that memory holds only what the next check needs."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass
from functools import partial

from audit.adjustments.plan_book import PlanBook
from audit.dead_letter_check import DeadLetterCheck
from audit.decoder.home_partition import home_of
from audit.recount.published_versions import PublishedVersions
from audit.recount.seen_identities import SeenIdentities, remembered_ms
from audit.recount.taken_numbers import TakenNumbers
from audit.recount.tally_recount import KINDS, RecountHistory, TallyRecount
from audit.recount.written_links import WrittenLinks
from audit.verification.emitters import EmitterBook
from audit.verification.intent_check import IntentCheck, covered_tallies
from audit.verification.report import AcceptedLoss, AcceptedStep, Covered, OpenTransaction, PassedBatchLine, PassedRecord, Report, latest_name
from audit.verification.span import Inside, TimeRange
from metering.folds.tallies import Tallies, tallies_from
from metering.kafka.chain_records import PartitionPlace, chain_records, first_chain_record, kept_records, taken_in
from metering.kafka.partition_log import LogEnds, LogReader, LogUnavailable
from metering.kafka.topics import Topics
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import FailClosed, HistoryLost, RecordCorrupt, RecordUnreadable
from metering.records.ledger_records import decode_entry
from metering.records.notes.foreign_records import PassedBatch, decision_in, is_decision, is_foreign
from metering.records.record import LogRecord
from metering.records.tally import Acceptance, Tally, decode_tally

LogRecords = Sequence[LogRecord]


@dataclass(frozen=True, slots=True)
class LogBounds:
    """First kept offset and end of what can be read of the three logs of a partition. `events_ends` also says what an open transaction hides."""

    events: tuple[int, int]
    events_ends: LogEnds
    tallies: tuple[int, int]
    ledger: tuple[int, int]


@dataclass(frozen=True, slots=True)
class VerificationScope:
    """What is verified: the topics, in a time range. `partitions` is how many the settings say.

    `versions` are those of the catalogue, `links` who may be billed for whom.
    """

    topics: Topics
    partitions: int
    times: TimeRange
    versions: PublishedVersions
    links: WrittenLinks


@dataclass(frozen=True, slots=True)
class Readers:
    """One reader a topic, since each reads one range at a time."""

    events: LogReader
    tallies: LogReader
    ledger: LogReader

    async def bounds(self, topics: Topics, partition: int) -> LogBounds:
        """Of one partition. The ledger is asked first: what it covers is then surely inside the bounds of the others."""
        ledger = await self.ledger.bounds(topics.ledger.name, partition)
        tallies = await self.tallies.bounds(topics.tallies.name, partition)
        start, _ = await self.events.bounds(topics.events.name, partition)
        ends = await self.events.ends(topics.events.name, partition)
        return LogBounds((start, ends.stable_end), ends, tallies, ledger)

    async def close(self) -> None:
        """Close the connections."""
        for reader in (self.events, self.tallies, self.ledger):
            await reader.close()


class Stream:
    """A range of records, to be taken piece by piece, in order. `open_at` opens it at an offset. Close it in the end."""

    def __init__(self, open_at: Callable[[int], AsyncGenerator[LogRecords]], start: int) -> None:
        self._open_at = open_at
        self._batches = open_at(start)
        self._reversed: list[LogRecord] = []
        self._following = start

    async def aclose(self) -> None:
        """No more is wanted."""
        await self._batches.aclose()

    async def pass_over(self, offset: int) -> None:
        """Go on at this offset, without looking at what is before it."""
        self._reversed = [record for record in self._reversed if record.offset >= offset]
        if not self._reversed and offset > self._following:
            await self._batches.aclose()
            self._batches = self._open_at(offset)
        self._following = max(offset, self._following)

    async def before(self, offset: int) -> AsyncIterator[LogRecord]:
        """Those before this offset that were not taken yet. What is behind them is not asked for: it may be damaged."""
        while self._following < offset or self._reversed:
            while self._reversed:
                if self._reversed[-1].offset >= offset:
                    return
                record = self._reversed.pop()
                self._following = record.offset + 1
                yield record
            if self._following >= offset:
                return
            try:
                following = await anext(self._batches, None)
            except RecordUnreadable as error:
                if error.offset is None or error.offset < offset:
                    raise
                # Only markers were left before it. The next call finds the damage again, if more is wanted.
                self._batches = self._open_at(error.offset)
                self._following = error.offset
                return
            if following is None:
                return
            self._reversed = list(reversed(following))


class PartitionVerification:
    """Use once: `run` adds everything to the report it was given. `history.forwarded` is then what must be in other partitions,
    and `book` has the partition's plans."""

    def __init__(
        self,
        partition: int,
        *,
        readers: Readers,
        scope: VerificationScope,
        bounds: LogBounds,
        emitters: EmitterBook,
        report: Report,
        on_records: Callable[[int], None],
    ) -> None:
        self._partition = partition
        self._readers = readers
        self._topics = scope.topics
        self._bounds = bounds
        self._emitters = emitters
        self._report = report
        self._on_records = on_records
        self._times = scope.times
        self._tallies = Tallies()
        self._inside = Inside(*bounds.tallies, scope.times)
        self._first_start: int | None = None
        self._intents = IntentCheck(partition, report, self._inside, scope.links)
        self._place = "nothing"
        self._gone: list[tuple[str, bool]] = []  # tallies that have no proof, and whether their records are gone
        self.book = PlanBook()
        self.history = RecountHistory(partition, lambda customer: home_of(customer, scope.partitions), versions=scope.versions)

    async def run(self) -> None:
        """Read and check. What does not hold goes into the report, and ends the reading of this partition where it cannot go on."""
        self._report.partitions += 1
        where = f"partition {self._partition}"
        try:
            await self._read()
        except FailClosed as error:
            self._report.problems.add(f"{where}: {error}")
        except LogUnavailable as error:
            self._report.problems.add(f"{where} cannot be read: {error}")
        except Exception as error:  # one partition's fault must not keep the others from being verified
            self._report.problems.add(f"{where}, {self._place}: this check itself failed, so that nothing more is known: {error!r}")
        for problem, is_gone in self._gone:
            if not (is_gone and self._tallies.losses.ids_from_ms):
                self._report.problems.add(problem)
        self._intents.finish()
        self._report.identity_share = max(self._report.identity_share, self.history.identities.share)
        for reason, totals in self.history.aside.totals.items():
            self._report.aside[reason] = totals
        if not self._times.is_everything:
            self._note_covered()
        if self._times.to_ms is None:
            try:
                await self._finish_events()
            except (FailClosed, LogUnavailable) as error:
                self._report.problems.add(f"{where}: {error}")

    async def _finish_events(self) -> None:
        """Events behind the end of the chain wait to be counted, if they are still there."""
        first, readable = self._bounds.events
        end = self._tallies.chain.end if self._tallies.chain.end != NO_OFFSET else first
        waiting = readable - max(end, first)
        # Transaction markers at the end of the log wait for nothing.
        if waiting > 0 and not await self._readers.events.holds_no_record(self._topics.events.name, self._partition, max(end, first), readable):
            self._report.uncounted_records += waiting
        ends = self._bounds.events_ends
        if ends.end > ends.stable_end:
            self._report.open_transactions.append(OpenTransaction(self._partition, ends.stable_end, ends.end - ends.stable_end))
        if end < first:
            self._report.problems.add(
                f"partition {self._partition}: records {end} to {first - 1} were deleted before they were counted;"
                f" see taximeter repair accept-loss {self._partition}"
            )

    def _note_covered(self) -> None:
        inside, intents = self._inside, self._inside.intents
        start = self._first_start if self._first_start is not None else max(0, self._tallies.chain.end)
        covered = (inside.start, inside.end), (start, max(start, self._tallies.chain.end)), (min(intents), max(intents)) if intents else None
        self._report.covered.append(Covered(self._partition, *covered))

    async def _select(self) -> None:
        """Find the tallies of the time range."""
        first, following = self._bounds.tallies
        offsets = [first, following]
        for index, log_time_ms in enumerate((self._times.from_ms, self._times.to_ms)):
            if log_time_ms is not None:
                found = await self._readers.tallies.offset_for_time(self._topics.tallies.name, self._partition, log_time_ms)
                offsets[index] = following if found is None else min(found, following)
        self._inside.select(offsets[0], max(offsets))

    async def _begin(self) -> tuple[int, int]:
        """Where to read usage.tallies and usage.events from: from a checkpoint on it is known which tallies are accepted, and what they rest on."""
        start = self._inside.start
        if start == 0:
            return 0, self._bounds.events[0]
        if start >= self._inside.end:
            return start, self._bounds.events[1]
        place = PartitionPlace(self._topics.tallies.name, self._partition)
        first = await first_chain_record(self._readers.tallies, place, start, self._inside.end, decode_tally)
        if first is None:
            return start, self._bounds.events[1]
        previous = first[1].link.previous
        if previous in {0, NO_OFFSET}:
            return 0, self._bounds.events[0]
        before = await self._tally(previous)
        checkpoint = previous if before.emitter_states is not None else before.checkpoint
        if checkpoint in {0, NO_OFFSET}:
            return 0, max(self._bounds.events[0], before.link.end)
        self._tallies = tallies_from(checkpoint, await self._tally(checkpoint))
        return checkpoint, max(self._bounds.events[0], before.link.end)

    async def _tally(self, offset: int) -> Tally:
        topic = self._topics.tallies.name
        found = await first_chain_record(self._readers.tallies, PartitionPlace(topic, self._partition), offset, offset + 1, decode_tally)
        if found is None:
            raise RecordCorrupt(f"offset {offset} of {topic}/{self._partition} holds no tally")
        return found[1]

    async def _read(self) -> None:
        partition, topics, bounds = self._partition, self._topics, self._bounds
        if not self._times.is_everything:
            await self._select()
        if bounds.tallies[0] > 0 or bounds.ledger[0] > 0:
            raise HistoryLost(f"tallies are kept from {bounds.tallies[0]} and the ledger from {bounds.ledger[0]}: a proof needs both from 0")
        ledger_place = PartitionPlace(topics.ledger.name, partition)
        ledger_end = await self._foresee(ledger_place)
        await self._read_dead_letters()
        tallies_from_offset, events_from = await self._begin()
        async with AsyncExitStack() as open_streams:

            async def stream(reader: LogReader, topic: str, limits: tuple[int, int]) -> Stream:
                start, end = limits

                def open_at(offset: int) -> AsyncGenerator[LogRecords]:
                    if topic == topics.events.name:
                        return reader.records(topic, partition, offset, end)
                    return kept_records(reader, PartitionPlace(topic, partition), offset, end)

                return await open_streams.enter_async_context(aclosing(Stream(open_at, start)))

            events = await stream(self._readers.events, topics.events.name, (events_from, bounds.events[1]))
            tallies = await stream(self._readers.tallies, topics.tallies.name, (tallies_from_offset, self._inside.end))
            ledger = await stream(self._readers.ledger, topics.ledger.name, bounds.ledger)
            async for record in ledger.before(ledger_end):
                self._at(topics.ledger.name, record.offset)
                taken = await taken_in(self._readers.events, ledger_place, record, decode_entry)
                if taken is None:
                    continue
                if self._intents.will_accept(taken):
                    await self._add_tallies(tallies, events, covered_tallies(taken, bounds.tallies[1]))
                self._intents.fold(record.offset, record.timestamp, taken)
            await self._add_tallies(tallies, events, self._inside.end)

    async def _foresee(self, place: PartitionPlace) -> int:
        """Look through the ledger once. Returns up to where it can be read; what cannot be read is a problem."""
        start, end = self._bounds.ledger
        entries = chain_records(self._readers.ledger, place, start, end, decode_entry, on_other=partial(self._note_other, "ledger"))
        try:
            async with aclosing(entries) as found:
                async for offset, _, entry in found:
                    self._at(place.topic, offset)
                    self._intents.foresee(offset, entry)
        except (RecordCorrupt, RecordUnreadable) as error:
            if error.offset is None:
                raise
            self._report.problems.add(f"partition {self._partition}: {error}")
            return error.offset
        return end

    def _note_other(self, topic: str, record: LogRecord) -> None:
        """A record of usage.tallies or usage.ledger of which nothing is taken in."""
        decision = decision_in(record)
        if isinstance(decision, PassedBatch):
            self._report.passed_batches.append(
                PassedBatchLine(topic, self._partition, decision.offset, decision.end, decision.why, decision.reason, decision.by, decision.at_ms)
            )
        elif decision is not None:
            self._report.passed_over.append(PassedRecord(topic, self._partition, decision.offset, decision.reason, decision.by, decision.at_ms))
        elif is_decision(record.value) or is_foreign(record.value):
            self._report.foreign_records[topic] += 1

    async def _read_dead_letters(self) -> None:
        check = DeadLetterCheck(self._topics.deadletters.name, self._partition, self._report, self.history)
        await check.read(self._readers.ledger)
        if self._times.is_everything:
            self._report.redrives += check.redrives.values()

    async def _add_tallies(self, tallies: Stream, events: Stream, end: int) -> None:
        async for record in tallies.before(end):
            self._at(self._topics.tallies.name, record.offset)
            tally = await taken_in(self._readers.events, PartitionPlace(self._topics.tallies.name, self._partition), record, decode_tally)
            if tally is None:
                if record.offset >= self._inside.start:
                    self._note_other("tallies", record)
                continue
            if not self._tallies.fold(record.offset, tally):
                # What is before the range was read only to know what it rests on.
                self._report.tallies_skipped += record.offset >= self._inside.start
                continue
            if record.offset < self._inside.start:
                self._learn(tally)
                continue
            self.book.take(record.offset, tally)
            if self._first_start is None:
                self._first_start = tally.link.start
                if self._times.from_ms is not None or tally.link.start < self._bounds.events[0]:
                    self.history.identities = SeenIdentities(strict_from_ms=tally.log_time_ms + remembered_ms(tally.horizon_ms or 0))
            await self._check(record.offset, tally, events)
            self._note(tally)
            if tally.acceptance is not None:
                self._note_loss(record.offset, tally, tally.acceptance)
            if tally.stepped_over is not None:
                step = tally.stepped_over
                self._report.steps.append(
                    AcceptedStep(self._partition, record.offset, tally.link.start, tally.link.end, step.events, step.reason, step.by, step.at_ms)
                )

    def _learn(self, tally: Tally) -> None:
        """Take over what an accepted tally before the range says, without looking at its records."""
        self.history.catalogues.learn(tally)
        self.history.learn_time(tally)
        if tally.emitter_states is not None:
            self.history.numbers = TakenNumbers(tally.emitter_states)
        else:
            self.history.learn_numbers(tally)

    async def _check(self, offset: int, tally: Tally, events: Stream) -> None:
        start, end = tally.link.start, tally.link.end
        where = f"tally {offset} of partition {self._partition} (records {start} to {end - 1})"
        if end > self._bounds.events[1]:
            self._report.problems.add(f"{where} ends behind the log of events, at {self._bounds.events[1]}")
        recount = TallyRecount(tally, self.history)
        if tally.stepped_over is not None:
            await events.pass_over(end)
        try:
            await self._recount(recount, tally, events)
        except (HistoryLost, RecordUnreadable) as error:
            # It costs this tally its proof, and no other. That records are gone may be accepted further on.
            self._gone.append((f"{where} cannot be counted again: {error}", isinstance(error, HistoryLost)))
            await events.pass_over(end)
            self._take_as_it_is(tally)
            self.history.learn_numbers(tally)
            return
        was_deleted = start < self._bounds.events[0] and tally.acceptance is None
        if was_deleted or not recount.is_derived:
            self._take_as_it_is(tally)
        if was_deleted:
            self._report.not_recounted += min(end, self._bounds.events[0]) - start
            self.history.learn_numbers(tally)
            return
        for phrase in recount.phrases():
            self._report.problems.add(f"{where} {phrase}")

    async def _recount(self, recount: TallyRecount, tally: Tally, events: Stream) -> None:
        taken = 0
        async for record in events.before(tally.link.end):
            # Records below the first tally were there before the chain was founded; the aggregator's settings say to leave them.
            if record.offset >= tally.link.start:
                self._at(self._topics.events.name, record.offset)
                self._take(recount, record)
            taken += 1
        self._on_records(taken)

    def _take_as_it_is(self, tally: Tally) -> None:
        self._report.underived.tallies += 1
        for row in tally.rows:
            self._report.underived.units[row.meter] += row.quantity
        for value in tally.latest:
            self._report.underived.units[latest_name(value.meter)] += 1
        self.history.identities.is_unsure_until(tally.log_time_ms + remembered_ms(tally.horizon_ms or 0))

    def _take(self, recount: TallyRecount, record: LogRecord) -> None:
        try:
            recount.take(record)
        except Exception as error:  # the records after this one must be verified
            self._report.problems.add(f"partition {self._partition}, {self._place}: this check itself failed over it: {error!r}")

    def _at(self, topic: str, offset: int) -> None:
        self._place = f"offset {offset} of {topic}"

    def _note(self, tally: Tally) -> None:
        report = self._report
        report.tallies += 1
        for kind in KINDS:
            report.records[kind] += getattr(tally.records, kind)
        report.events["counted"] += tally.events.counted
        report.events["duplicates"] += tally.events.duplicates
        report.events["forwarded"] += tally.events.forwarded
        report.events["dead_lettered"] += sum(tally.events.dead_lettered.values())
        report.dead_lettered.update(tally.events.dead_lettered)
        report.unknown_usage.update({name: units for name, _, units in tally.unknown_usage})
        for row in tally.rows:
            totals = report.meter(row.meter)
            if tally.adjustment is None:
                totals.counted += row.quantity
                totals.events += row.events
            else:
                totals.adjusted += row.quantity
        for value in tally.latest:
            totals = report.meter(latest_name(value.meter))
            totals.counted += 1
            totals.events += value.events
        self._emitters.take(tally)
        self._intents.add(tally)

    def _note_loss(self, offset: int, tally: Tally, acceptance: Acceptance) -> None:
        link, ids_from_ms = tally.link, tally.losses.ids_from_ms
        loss = AcceptedLoss(tally.partition, offset, link.start, link.end, ids_from_ms, acceptance.reason, acceptance.by, acceptance.at_ms)
        self._report.losses.append(loss)
