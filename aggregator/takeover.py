"""Rebuild a partition's state from the log alone, when it is assigned and after another writer was ahead."""

import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing

from aggregator.counting import CountingRules, PartitionCounter
from aggregator.deduplication import memory_ms
from aggregator.id_files import SnapshotRecord, digest_of
from aggregator.id_snapshots import IdSnapshots
from metering.chain import NO_OFFSET
from metering.errors import ChainBroken, HistoryLost, RecordCorrupt
from metering.partition_log import LogReader
from metering.tallies import Tallies, tallies_from
from metering.tally import Tally, decode_tally

CHAIN_ID_BYTES = 8


class Takeover:
    """Reads what a PartitionCounter must know. Blocks on Kafka; every method may raise LogUnavailable or FailClosed."""

    def __init__(self, reader: LogReader, rules: CountingRules, *, tallies_topic: str, found_at_log_start: bool, snapshots: IdSnapshots) -> None:
        self._snapshots = snapshots
        self._reader = reader
        self._rules = rules
        self._tallies_topic = tallies_topic
        self._found_at_log_start = found_at_log_start

    async def take_over(self, partition: int) -> PartitionCounter:
        """A counter that stands at the end of the partition's chain and knows every id inside the horizon."""
        tallies_start, tallies_end = await self._reader.bounds(self._tallies_topic, partition)
        if tallies_start == tallies_end:
            return await self._found(partition, tallies_start)
        head = await self._fold_head(partition, tallies_start, tallies_end)
        since_ms = head.log_time_ms - memory_ms(self._rules.deduplication_horizon_ms)
        await self._check_events(partition, head.chain.end)
        snapshot = await self._usable_snapshot(partition, head, tallies_start, since_ms)
        archive = self._snapshots.restored(partition, snapshot, since_ms) if snapshot is not None else None
        if archive is not None and snapshot is not None:
            remember_from = snapshot.events_end
            start = min(snapshot.tally_offset, head.checkpoint)
        else:
            archive = self._snapshots.empty(partition, known_since_ms=since_ms)
            remember_from = await self._remember_from(partition, head.chain.end, since_ms)
            start = await self._tally_covering(partition, tallies_start, tallies_end, since_ms)
        counter = PartitionCounter(partition, self._rules, await self._tallies_at(partition, start), archive)
        async for offset, tally in self._tallies(partition, start, tallies_end):
            counter.observe(offset, tally)
        await self.remember(counter, remember_from, counter.tallies.chain.end)
        return counter

    async def refresh(self, counter: PartitionCounter) -> None:
        """Bring a counter that stood still, with nothing pending, up to the end of the chain: cheap when nobody else wrote."""
        _, end = await self._reader.bounds(self._tallies_topic, counter.partition)
        if end < counter.tallies.chain.next_offset:
            raise ChainBroken(f"usage.tallies of partition {counter.partition} ends at {end}, before what was read of it: it was cut or made anew")
        await self._fold(counter, end)

    async def catch_up(self, counter: PartitionCounter, own: Tally, offset: int) -> bool:
        """Fold what is new in usage.tallies up to our own record at `offset`; re-read the events that another writer's tallies cover.

        Returns whether our own tally is accepted; if not, counting goes on at `counter.position`.
        """
        return await self._fold(counter, offset, own)

    async def _fold(self, counter: PartitionCounter, end: int, own: Tally | None = None) -> bool:
        others_start: int | None = None
        async for at, tally in self._tallies(counter.partition, counter.tallies.chain.next_offset, end):
            if counter.observe(at, tally) and others_start is None:
                others_start = tally.link.start
        accepted = own is not None and counter.observe(end, own)
        if others_start is not None:
            await self.remember(counter, others_start, counter.tallies.chain.end)
        return accepted

    async def remember(self, counter: PartitionCounter, start: int, end: int) -> None:
        """Re-read the events of [start, end), which are counted, for their ids."""
        async for records in self._reader.records(self._rules.topic, counter.partition, start, end):
            for record in records:
                counter.remember(record)
        counter.remembered()

    async def holds_no_record(self, partition: int, start: int, end: int) -> bool:
        """Whether the offsets [start, end) of usage.events really hold nothing (transaction markers do), asked of the log a second time."""
        async with aclosing(self._reader.records(self._rules.topic, partition, start, end)) as found:
            async for records in found:
                if records:
                    return False
        return True

    async def _found(self, partition: int, tallies_start: int) -> PartitionCounter:
        if tallies_start > 0:
            raise HistoryLost(f"all tallies of partition {partition} were deleted (the log starts at {tallies_start}): what was billed is not known")
        events_start, _ = await self._reader.bounds(self._rules.topic, partition)
        if events_start > 0 and not self._found_at_log_start:
            raise HistoryLost(
                f"partition {partition} has no tally and its events start at {events_start}: events before that are gone uncounted. "
                "If that is meant, set found_at_log_start"
            )
        archive = self._snapshots.empty(partition, known_since_ms=0)
        counter = PartitionCounter(partition, self._rules, Tallies(), archive)
        counter.found(events_start, secrets.token_hex(CHAIN_ID_BYTES))
        return counter

    async def _fold_head(self, partition: int, start: int, end: int) -> Tallies:
        """The fold of usage.tallies at its end, without what an aggregator keeps."""
        last = await self._tally_at(partition, end - 1)
        if last.checkpoint == NO_OFFSET and start > 0:
            raise HistoryLost(f"the tallies of partition {partition} start at {start}; the one that knows its emitters was deleted")
        begin = last.checkpoint if last.checkpoint != NO_OFFSET else start
        tallies = await self._tallies_at(partition, begin)
        async for offset, tally in self._tallies(partition, begin, end):
            tallies.fold(offset, tally)
        if tallies.chain.head == NO_OFFSET:
            raise ChainBroken(f"partition {partition} has tallies and none of them founds a chain")
        return tallies

    async def _check_events(self, partition: int, end: int) -> None:
        """What is counted next must be there. Raises FailClosed."""
        events_start, events_end = await self._reader.bounds(self._rules.topic, partition)
        if end > events_end:
            raise ChainBroken(f"the tallies of partition {partition} end at {end}, its events at {events_end}: the topic was cut or made anew")
        if end < events_start:
            raise HistoryLost(f"retention deleted events of partition {partition} that were never counted: {end} to {events_start - 1}")

    async def _usable_snapshot(self, partition: int, head: Tallies, tallies_start: int, since_ms: int) -> SnapshotRecord | None:
        """The snapshot of an earlier process, if it belongs to this chain and reaches back far enough."""
        snapshot = self._snapshots.found(partition)
        if snapshot is None or snapshot.chain_id != head.chain_id or snapshot.known_since_ms > since_ms or head.checkpoint == NO_OFFSET:
            return None
        if not tallies_start <= snapshot.tally_offset <= head.chain.head:
            return None
        record = await self._reader.record(self._tallies_topic, partition, snapshot.tally_offset)
        # The very tally that its writer saw accepted: what is accepted before it in this log is then the same, too.
        return snapshot if record is not None and digest_of(record.value or b"") == snapshot.tally_digest else None

    async def _remember_from(self, partition: int, end: int, since_ms: int) -> int:
        """The first offset of usage.events whose id may still matter."""
        found = await self._reader.offset_for_time(self._rules.topic, partition, since_ms)
        events_start, _ = await self._reader.bounds(self._rules.topic, partition)
        start = end if found is None else min(found, end)
        if start == events_start > 0:
            first = await self._reader.record(self._rules.topic, partition, events_start)
            if first is not None and first.timestamp > since_ms:
                raise HistoryLost(f"the ids of partition {partition} cannot be rebuilt: events inside the deduplication horizon were deleted")
        return start

    async def _tally_covering(self, partition: int, start: int, end: int, since_ms: int) -> int:
        """The offset of an accepted tally from which folding gives both the emitter states and all that was set aside inside the horizon."""
        found = await self._reader.offset_for_time(self._tallies_topic, partition, since_ms)
        first = end - 1 if found is None else min(found, end - 1)
        if first <= start:
            return start
        before = (await self._tally_at(partition, first)).link.previous
        candidates = (before, (await self._tally_at(partition, end - 1)).checkpoint)
        return start if NO_OFFSET in candidates else min(candidates)

    async def _tallies_at(self, partition: int, offset: int) -> Tallies:
        if offset == 0:
            return Tallies()  # what stands there need not be accepted
        return tallies_from(offset, await self._tally_at(partition, offset))

    async def _tally_at(self, partition: int, offset: int) -> Tally:
        record = await self._reader.record(self._tallies_topic, partition, offset)
        if record is None:
            raise RecordCorrupt(f"offset {offset} of {self._tallies_topic}/{partition} holds no tally")
        return decode_tally(record.value)

    async def _tallies(self, partition: int, start: int, end: int) -> AsyncIterator[tuple[int, Tally]]:
        async for records in self._reader.records(self._tallies_topic, partition, start, end):
            for record in records:
                yield record.offset, decode_tally(record.value)
