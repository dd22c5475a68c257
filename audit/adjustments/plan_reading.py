"""Reads what plans rest on: which plans the log has, and the rows of a plan in one partition, tally by tally."""

from collections.abc import AsyncGenerator, Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final, NamedTuple

from audit.adjustments.plan_book import PlanBook
from audit.adjustments.plan_derivation import DerivedPart, PlanDerivation
from audit.recount.meter_definitions import KnownCatalogues
from audit.tracing.tally_search import TallySearch
from audit.verification.partition import LogRecords, Stream
from metering.folds.tallies import Tallies, tallies_from
from metering.kafka.chain_records import PartitionPlace, chain_records
from metering.kafka.partition_log import LogReader
from metering.kafka.topics import Topics
from metering.plans.plan_header import PlannedRange
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import HistoryLost
from metering.records.tally import decode_outline

BYTES_PER_SECOND: Final = 50_000_000
"""How fast a plan reads usage.events, in all: cold reads push out of a broker's memory what live consumers need."""


@dataclass(slots=True)
class TalliesEnd:
    """Where a partition's tallies end: `base` is the next offset, `end` that of usage.events."""

    base: int
    end: int
    chain_id: str


class ReadTally(NamedTuple):
    """One more tally is derived: the plan is done up to this offset of usage.events, and has these parts more."""

    end: int
    records: int
    parts: list[DerivedPart]


class PlanLog:
    """Reads the logs for plans. Blocks on Kafka; every method may raise LogUnavailable or FailClosed. The readers stay their owner's."""

    def __init__(self, events: LogReader, tallies: LogReader, topics: Topics) -> None:
        self._events = events
        self._tallies = tallies
        self._topics = topics

    async def book(self, partitions: Iterable[int], on_records: Callable[[int], None] = lambda _: None) -> tuple[PlanBook, dict[int, TalliesEnd]]:
        """All plans in these partitions, and where each partition ends that has tallies. Reads usage.tallies whole."""
        book, ends = PlanBook(), dict[int, TalliesEnd]()
        for partition in partitions:
            start, end = await self._tallies.bounds(self._topics.tallies.name, partition)
            if start < end:
                found = await self._read_tallies(book, partition, (start, end), on_records)
                if found is not None:
                    ends[partition] = found
        book.finish()
        return book, ends

    async def range_of(self, partition: int, ends: TalliesEnd, from_ms: int | None, to_ms: int | None) -> PlannedRange:
        """The records of whole tallies that hold what Kafka took in this time, as far as they are counted and kept."""
        topic = self._topics.events.name
        kept, _ = await self._events.bounds(topic, partition)
        first, last = kept, ends.end
        if from_ms is not None:
            found = await self._events.offset_for_time(topic, partition, from_ms)
            first = ends.end if found is None else max(kept, found)
        if to_ms is not None:
            found = await self._events.offset_for_time(topic, partition, to_ms)
            last = ends.end if found is None else min(ends.end, found)
        start = end = ends.end
        if first < last:
            start, end = await self._tallies_around(partition, ends, (first, last), kept)
        return PlannedRange(start, end, ends.base, ends.chain_id)

    async def derive(self, derivation: PlanDerivation, planned: PlannedRange, since_ms: int, begin: int) -> AsyncGenerator[ReadTally]:
        """The tallies of a range, from the one that begins at `begin` on; `since_ms` is not behind the first. The last one has what is left."""
        partition, catalogues = derivation.partition, KnownCatalogues()
        search = TallySearch(self._tallies, self._topics.tallies.name)

        def open_at(offset: int) -> AsyncGenerator[LogRecords]:
            return self._events.records(self._topics.events.name, partition, offset, planned.end)

        if begin >= planned.end:
            yield ReadTally(planned.end, 0, derivation.finish())
            return
        async with aclosing(Stream(open_at, begin)) as events, aclosing(search.accepted(partition, since_ms)) as tallies:
            async for offset, tally in tallies:
                if offset >= planned.base:
                    break
                catalogues.learn(tally)
                link = tally.link
                if link.start < begin or link.start >= planned.end:
                    continue
                records = 0
                if derivation.begin_tally(tally, catalogues.of(tally.catalogue)):
                    await events.pass_over(link.start)
                    async for record in events.before(link.end):
                        derivation.take(record)
                        records += 1
                yield ReadTally(link.end, records, derivation.end_tally())
        yield ReadTally(planned.end, 0, derivation.finish())

    async def _read_tallies(self, book: PlanBook, partition: int, bounds: tuple[int, int], on_records: Callable[[int], None]) -> TalliesEnd | None:
        start, end = bounds
        fold, topic = Tallies(), self._topics.tallies.name
        async with aclosing(chain_records(self._tallies, PartitionPlace(topic, partition), start, end, decode_outline)) as tallies:
            async for offset, _, tally in tallies:
                if offset == start and start > 0:
                    fold = tallies_from(start, tally)
                if fold.fold(offset, tally):
                    book.take(offset, tally)
                on_records(1)
        if fold.chain.head == NO_OFFSET or fold.chain_id is None:
            return None
        return TalliesEnd(end, fold.chain.end, fold.chain_id)

    async def _tallies_around(self, partition: int, ends: TalliesEnd, wanted: tuple[int, int], kept: int) -> tuple[int, int]:
        """The begin of the first tally that ends behind `wanted` begins, or that is kept whole, and the end of the last that begins in it."""
        first, last = wanted
        start: int | None = None
        end = first
        record = await self._events.record(self._topics.events.name, partition, first)
        search = TallySearch(self._tallies, self._topics.tallies.name)
        async with aclosing(search.accepted(partition, record.timestamp if record is not None else 0)) as tallies:
            async for offset, tally in tallies:
                link = tally.link
                if offset >= ends.base or link.start >= last:
                    break
                if link.end > first and link.start >= kept and link.start < link.end:
                    start = link.start if start is None else start
                    end = link.end
                    if last == ends.end:
                        end = last  # all that follow are meant, too
                        break
        if start is None:
            return ends.end, ends.end
        if end < start:
            raise HistoryLost(f"the tallies of partition {partition} end at {end}, before {start}")
        return start, end
