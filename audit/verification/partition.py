"""One partition: its three logs read in step, so that memory holds only what the next check needs."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

from aiokafka.structs import ConsumerRecord

from audit.verification.emitters import EmitterBook
from audit.verification.intent_check import IntentCheck, covered_tallies
from audit.verification.report import AcceptedLoss, Covered, Report
from audit.verification.span import Inside, TimeRange
from audit.verification.tally_check import KINDS, RangeCount, tally_problems
from metering.folds.tallies import Tallies, tallies_from
from metering.kafka.partition_log import LogReader
from metering.kafka.topics import Topics
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import FailClosed, HistoryLost, RecordCorrupt
from metering.records.ledger_records import decode_entry
from metering.records.tally import Acceptance, Tally, decode_tally

LogRecords = Sequence[ConsumerRecord[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class LogBounds:
    """First kept offset and next offset of the three logs of a partition."""

    events: tuple[int, int]
    tallies: tuple[int, int]
    ledger: tuple[int, int]


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
        return LogBounds(await self.events.bounds(topics.events.name, partition), tallies, ledger)

    async def close(self) -> None:
        """Close the connections."""
        for reader in (self.events, self.tallies, self.ledger):
            await reader.close()


class Stream:
    """A range of records, to be taken piece by piece, in order."""

    def __init__(self, batches: AsyncIterator[LogRecords]) -> None:
        self._batches = batches
        self._reversed: list[ConsumerRecord[bytes, bytes]] = []

    async def before(self, offset: int) -> AsyncIterator[ConsumerRecord[bytes, bytes]]:
        """Those before this offset that were not taken yet."""
        while True:
            while self._reversed:
                if self._reversed[-1].offset >= offset:
                    return
                yield self._reversed.pop()
            following = await anext(self._batches, None)
            if following is None:
                return
            self._reversed = list(reversed(following))


class PartitionVerification:
    """Use once: `run` adds everything to the report it was given."""

    def __init__(
        self,
        partition: int,
        *,
        readers: Readers,
        topics: Topics,
        bounds: LogBounds,
        times: TimeRange,
        emitters: EmitterBook,
        report: Report,
        on_records: Callable[[int], None],
    ) -> None:
        self._partition = partition
        self._readers = readers
        self._topics = topics
        self._bounds = bounds
        self._emitters = emitters
        self._report = report
        self._on_records = on_records
        self._times = times
        self._tallies = Tallies()
        self._inside = Inside(*bounds.tallies)
        self._first_start: int | None = None
        self._intents = IntentCheck(partition, report, self._inside)

    async def run(self) -> None:
        """Read and check. Raises LogUnavailable; what does not hold goes into the report, and ends the reading where it cannot go on."""
        self._report.partitions += 1
        try:
            await self._read()
        except FailClosed as error:
            self._report.problems.add(f"partition {self._partition}: {error}")
        self._intents.finish()
        if not self._times.is_everything:
            self._note_covered()
        if self._times.to_ms is None:
            self._finish_events()

    def _finish_events(self) -> None:
        """Events behind the end of the chain wait to be counted, if they are still there."""
        first, following = self._bounds.events
        end = self._tallies.chain.end if self._tallies.chain.end != NO_OFFSET else first
        self._report.uncounted_records += max(0, following - max(end, first))
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
        """Where to read usage.tallies and usage.events from, so that the first tally of the range is known to be accepted or not."""
        start, topic = self._inside.start, self._topics.tallies.name
        if start == 0:
            return 0, self._bounds.events[0]
        if start >= self._inside.end:
            return start, self._bounds.events[1]
        previous = (await self._tally(topic, start)).link.previous
        if previous in {0, NO_OFFSET}:
            return 0, self._bounds.events[0]
        before = await self._tally(topic, previous)
        self._tallies = tallies_from(previous, before)
        return previous, max(self._bounds.events[0], before.link.end)

    async def _tally(self, topic: str, offset: int) -> Tally:
        record = await self._readers.tallies.record(topic, self._partition, offset)
        if record is None:
            raise RecordCorrupt(f"offset {offset} of {topic}/{self._partition} holds no tally")
        return decode_tally(record.value)

    async def _read(self) -> None:
        partition, topics, bounds = self._partition, self._topics, self._bounds
        if not self._times.is_everything:
            await self._select()
        if bounds.tallies[0] > 0 or bounds.ledger[0] > 0:
            raise HistoryLost(f"tallies are kept from {bounds.tallies[0]} and the ledger from {bounds.ledger[0]}: a proof needs both from 0")
        async with aclosing(self._readers.ledger.records(topics.ledger.name, partition, *bounds.ledger)) as batches:
            async for records in batches:
                for record in records:
                    self._intents.foresee(record.offset, decode_entry(record.value))
        tallies_from_offset, events_from = await self._begin()
        async with AsyncExitStack() as open_streams:

            async def stream(reader: LogReader, topic: str, limits: tuple[int, int]) -> Stream:
                records: AsyncGenerator[LogRecords] = reader.records(topic, partition, *limits)
                return Stream(await open_streams.enter_async_context(aclosing(records)))

            events = await stream(self._readers.events, topics.events.name, (events_from, bounds.events[1]))
            tallies = await stream(self._readers.tallies, topics.tallies.name, (tallies_from_offset, self._inside.end))
            ledger = await stream(self._readers.ledger, topics.ledger.name, bounds.ledger)
            async for record in ledger.before(bounds.ledger[1]):
                entry = decode_entry(record.value)
                if self._intents.will_accept(entry):
                    await self._add_tallies(tallies, events, covered_tallies(entry, bounds.tallies[1]))
                self._intents.fold(record.offset, record.timestamp, entry)
            await self._add_tallies(tallies, events, self._inside.end)

    async def _add_tallies(self, tallies: Stream, events: Stream, end: int) -> None:
        async for record in tallies.before(end):
            tally = decode_tally(record.value)
            if not self._tallies.fold(record.offset, tally):
                self._report.tallies_skipped += 1
                continue
            if record.offset < self._inside.start:
                continue
            if self._first_start is None:
                self._first_start = tally.link.start
            await self._check(record.offset, tally, events)
            self._note(tally)
            if tally.acceptance is not None:
                self._note_loss(record.offset, tally, tally.acceptance)

    async def _check(self, offset: int, tally: Tally, events: Stream) -> None:
        start, end = tally.link.start, tally.link.end
        where = f"tally {offset} of partition {self._partition} (records {start} to {end - 1})"
        if end > self._bounds.events[1]:
            self._report.problems.add(f"{where} ends behind the log of events, at {self._bounds.events[1]}")
        found = RangeCount()
        taken = 0
        async for record in events.before(end):
            # Records below the first tally were there before the chain was founded; the aggregator's settings say to leave them.
            if record.offset >= start:
                found.take(record)
            taken += 1
        self._on_records(taken)
        if start < self._bounds.events[0] and tally.acceptance is None:
            self._report.not_recounted += min(end, self._bounds.events[0]) - start
            return
        for problem in tally_problems(where, tally, found):
            self._report.problems.add(problem)

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
            totals.counted += row.quantity
            totals.events += row.events
        self._emitters.take(tally)
        self._intents.add(tally)

    def _note_loss(self, offset: int, tally: Tally, acceptance: Acceptance) -> None:
        link, ids_from_ms = tally.link, tally.losses.ids_from_ms
        loss = AcceptedLoss(tally.partition, offset, link.start, link.end, ids_from_ms, acceptance.reason, acceptance.by, acceptance.at_ms)
        self._report.losses.append(loss)
