"""One partition: its three logs read in step, so that nothing has to be held but what the next check needs."""

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, aclosing
from dataclasses import dataclass

from aiokafka.structs import ConsumerRecord

from metering.chain import NO_OFFSET
from metering.errors import FailClosed, HistoryLost
from metering.ledger import decode_entry
from metering.partition_log import LogReader
from metering.tallies import Tallies
from metering.tally import Tally, decode_tally
from metering.topics import Topics
from taximeter.verification.emitters import EmitterBook
from taximeter.verification.intent_check import IntentCheck, covered_tallies
from taximeter.verification.report import Report
from taximeter.verification.tally_check import KINDS, RangeCount, tally_problems

LogRecords = Sequence[ConsumerRecord[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class Bounds:
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

    async def bounds(self, topics: Topics, partition: int) -> Bounds:
        """Of one partition. The ledger is asked first: what it covers is then surely inside the bounds of the others."""
        ledger = await self.ledger.bounds(topics.ledger.name, partition)
        tallies = await self.tallies.bounds(topics.tallies.name, partition)
        return Bounds(await self.events.bounds(topics.events.name, partition), tallies, ledger)

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
        """Those not taken yet that lie before this offset."""
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
        bounds: Bounds,
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
        self._tallies = Tallies()
        self._intents = IntentCheck(partition, report)

    async def run(self) -> None:
        """Read and check. Raises LogUnavailable; what does not hold goes into the report, and ends the reading where it cannot go on."""
        self._report.partitions += 1
        try:
            await self._read()
        except FailClosed as error:
            self._report.problems.add(f"partition {self._partition}: {error}")
        self._intents.finish()
        end = self._tallies.chain.end
        self._report.uncounted_records += self._bounds.events[1] - (end if end != NO_OFFSET else self._bounds.events[0])

    async def _read(self) -> None:
        partition, topics, bounds = self._partition, self._topics, self._bounds
        if bounds.tallies[0] > 0 or bounds.ledger[0] > 0:
            raise HistoryLost(f"tallies are kept from {bounds.tallies[0]} and the ledger from {bounds.ledger[0]}: a proof needs both from 0")
        async with aclosing(self._readers.ledger.records(topics.ledger.name, partition, *bounds.ledger)) as batches:
            async for records in batches:
                for record in records:
                    self._intents.foresee(decode_entry(record.value))
        async with AsyncExitStack() as open_streams:

            async def stream(reader: LogReader, topic: str, limits: tuple[int, int]) -> Stream:
                records: AsyncGenerator[LogRecords] = reader.records(topic, partition, *limits)
                return Stream(await open_streams.enter_async_context(aclosing(records)))

            events = await stream(self._readers.events, topics.events.name, bounds.events)
            tallies = await stream(self._readers.tallies, topics.tallies.name, bounds.tallies)
            ledger = await stream(self._readers.ledger, topics.ledger.name, bounds.ledger)
            async for record in ledger.before(bounds.ledger[1]):
                entry = decode_entry(record.value)
                if self._intents.will_accept(entry):
                    await self._add_tallies(tallies, events, covered_tallies(entry, bounds.tallies[1]))
                self._intents.fold(record.offset, record.timestamp, entry)
            await self._add_tallies(tallies, events, bounds.tallies[1])

    async def _add_tallies(self, tallies: Stream, events: Stream, end: int) -> None:
        async for record in tallies.before(end):
            tally = decode_tally(record.value)
            if not self._tallies.fold(record.offset, tally):
                self._report.tallies_skipped += 1
                continue
            await self._check(record.offset, tally, events)
            self._note(tally)

    async def _check(self, offset: int, tally: Tally, events: Stream) -> None:
        start, end = tally.link.start, tally.link.end
        where = f"tally {offset} of partition {self._partition} (records {start} to {end - 1})"
        if end > self._bounds.events[1]:
            self._report.problems.add(f"{where} ends behind the log of events, at {self._bounds.events[1]}")
        found = RangeCount()
        taken = 0
        async for record in events.before(end):
            # Records below the first tally were there before the chain was founded; the aggregator was told to leave them.
            if record.offset >= start:
                found.take(record)
            taken += 1
        self._on_records(taken)
        if start < self._bounds.events[0]:
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
        for row in tally.rows:
            totals = report.meter(row.meter)
            totals.counted += row.quantity
            totals.events += row.events
        self._emitters.take(tally)
        self._intents.add(tally)
