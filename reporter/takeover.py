"""Rebuild a partition's state from the log alone: what the ledger says, and where the tallies go on."""

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from typing import Final

from metering.kafka.chain_records import PartitionPlace, chain_records, check_unread, decisions_in, first_chain_record, passed_batch_at, taken_in
from metering.kafka.ledger_log import ledger_start
from metering.kafka.partition_log import LogReader, LogUnavailable
from metering.kafka.topics import Topics
from metering.records.fail_closed import ChainBroken, HistoryLost, RecordUnreadable
from metering.records.ledger_records import Entry, Intent, Receipt, decode_entry
from metering.records.notes.foreign_records import PassedBatch, is_foreign, passes_batch_before
from metering.records.record import LogRecord
from metering.records.tally import Tally, decode_tally
from reporter.planning.billing_periods import BillingPeriods
from reporter.planning.planner import PartitionReporter

WRITER_BYTES: Final = 4


class ReportingTakeover:
    """Blocks on Kafka; every method may raise LogUnavailable or FailClosed."""

    def __init__(
        self,
        reader: LogReader,
        topics: Topics,
        *,
        instance: str,
        rows_max: int,
        periods: BillingPeriods,
        on_foreign: Callable[[int], None] = lambda _partition: None,
    ) -> None:
        """`on_foreign` gets the partition of each foreign record that comes into usage.ledger."""
        self._reader = reader
        self._topics = topics
        self._instance = instance
        self._rows_max = rows_max
        self._periods = periods
        self._on_foreign = on_foreign

    async def take_over(self, partition: int) -> PartitionReporter:
        """A reporter that knows every open meter event and is where the last accepted intent ends."""
        start, end = await self._reader.bounds(self._topics.ledger.name, partition)
        begin, ledger = await ledger_start(self._reader, self._topics.ledger.name, partition, start, end)
        # Each takeover has its own name: an entry that this same process wrote before may still be on its way to the log.
        writer = f"{self._instance}-{secrets.token_hex(WRITER_BYTES)}"
        reporter = PartitionReporter(partition, writer, ledger, self._rows_max, self._periods)
        async for offset, log_time_ms, entry in self._entries(partition, begin, end):
            reporter.observe(offset, log_time_ms, entry)
        reporter.read_to(end)
        reporter.ledger.check_open(partition)
        reporter.begin()
        await self._check_tallies(reporter)
        return reporter

    async def catch_up(self, reporter: PartitionReporter, own: Intent | Receipt, offset: int, log_time_ms: int) -> bool:
        """Fold what is new in usage.ledger up to our own entry at `offset`. Returns whether our own entry is accepted."""
        async for at, at_ms, entry in self._new_entries(reporter.partition, reporter.ledger.chain.next_offset, offset):
            reporter.observe(at, at_ms, entry)
        reporter.ledger.check_open(reporter.partition)
        return reporter.observe(offset, log_time_ms, own, mine=True)

    async def follow(self, reporter: PartitionReporter) -> None:
        """Fold what others have written to usage.ledger since."""
        _, end = await self._reader.bounds(self._topics.ledger.name, reporter.partition)
        async for at, at_ms, entry in self._new_entries(reporter.partition, reporter.ledger.chain.next_offset, end):
            reporter.observe(at, at_ms, entry)
        reporter.read_to(end)
        reporter.ledger.check_open(reporter.partition)

    async def holds_no_record(self, partition: int, start: int, end: int) -> bool:
        """Whether the offsets [start, end) of usage.tallies never held a record, as transaction markers do. Proved, or HistoryLost."""
        return await self._reader.holds_no_record(self._topics.tallies.name, partition, start, end)

    async def tally_in(self, partition: int, record: LogRecord) -> Tally | None:
        """The tally in this record of usage.tallies; None if it is foreign, or a person passed it over. Raises RecordCorrupt."""
        return await taken_in(self._reader, PartitionPlace(self._topics.tallies.name, partition), record, decode_tally)

    async def passed_to(self, partition: int, offset: int) -> int | None:
        """The end of the batch of usage.tallies that holds this offset and cannot be read, if a person passed it over."""
        decision = await passed_batch_at(self._reader, PartitionPlace(self._topics.tallies.name, partition), offset)
        return None if decision is None else decision.end

    async def check_unread(self, partition: int, decision: PassedBatch) -> None:
        """Raise ChainBroken where a batch of usage.tallies can be read that others passed over."""
        await check_unread(self._reader, PartitionPlace(self._topics.tallies.name, partition), decision)

    async def ends(self, partition: int) -> tuple[int, int]:
        """The next offsets of usage.tallies and usage.ledger."""
        found = [await self._reader.bounds(topic.name, partition) for topic in (self._topics.tallies, self._topics.ledger)]
        return found[0][1], found[1][1]

    async def mended(self, partition: int, seen: tuple[int, int]) -> tuple[bool, tuple[int, int]]:
        """Whether a person decided since to pass over a record of usage.tallies or usage.ledger; and where to look next time."""
        ends = await self.ends(partition)
        for topic, start, end in zip((self._topics.tallies, self._topics.ledger), seen, ends, strict=True):
            async with aclosing(decisions_in(self._reader, PartitionPlace(topic.name, partition), start, end)) as decisions:
                async for _ in decisions:
                    return True, ends
        return False, ends

    async def _check_tallies(self, reporter: PartitionReporter) -> None:
        start, end = await self._reader.bounds(self._topics.tallies.name, reporter.partition)
        position = reporter.tally_position
        if position < start:
            raise HistoryLost(f"tallies {position} to {start - 1} of partition {reporter.partition} were deleted before they were reported")
        if position > end:
            raise ChainBroken(
                f"the ledger of partition {reporter.partition} covers tallies up to {position}, the topic ends at {end}: it was cut or created again"
            )
        head = reporter.ledger.tally_head
        if head >= start:
            place = PartitionPlace(self._topics.tallies.name, reporter.partition)
            try:
                found = await first_chain_record(self._reader, place, head, head + 1, decode_tally)
            except RecordUnreadable:
                return  # all that it said is reported, and the ledger knows where it ended
            if found is None or found[1].link.end != reporter.ledger.events_end:
                raise ChainBroken(
                    f"tally {head} of partition {reporter.partition} is not the one reported: the topic was cut and went on, or created again"
                )

    async def _entries(self, partition: int, start: int, end: int) -> AsyncIterator[tuple[int, int, Entry]]:
        """Offset, log time in milliseconds, content."""
        async for entry in chain_records(self._reader, PartitionPlace(self._topics.ledger.name, partition), start, end, decode_entry):
            yield entry

    async def _new_entries(self, partition: int, start: int, end: int) -> AsyncIterator[tuple[int, int, Entry]]:
        """The same, of what was not read before: foreign records are counted."""
        place, batch_passed = PartitionPlace(self._topics.ledger.name, partition), False

        def note(record: LogRecord) -> None:
            nonlocal batch_passed
            batch_passed |= passes_batch_before(start, record)
            if is_foreign(record.value):
                self._on_foreign(partition)

        async for entry in chain_records(self._reader, place, start, end, decode_entry, on_other=note):
            yield entry
        if batch_passed:
            raise LogUnavailable(f"a batch of the ledger of partition {partition} was passed over: what is before it is read again")
