"""Rebuild a partition's state from the log alone, when it is assigned and after another writer was ahead."""

from dataclasses import replace
from operator import attrgetter

from aggregator.core.counting import PartitionCounter
from aggregator.core.counting_rules import CountingRules
from aggregator.ids.id_files import SnapshotRecord, digest_of
from aggregator.ids.id_index import memory_ms
from aggregator.snapshots import IdSnapshots
from aggregator.tally_log import GoneIds, TallyLog, first_kept_ms, new_chain_id
from metering.folds.catalogue_timeline import CatalogueTimeline
from metering.folds.tallies import Tallies
from metering.kafka.partition_log import LogReader, LogUnavailable
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import ChainBroken, HistoryLost, RecordUnreadable
from metering.records.notes.foreign_records import passes_batch_before
from metering.records.record import LogRecord
from metering.records.tally import Tally


class CountingTakeover:
    """Reads what a PartitionCounter must know. Blocks on Kafka; every method may raise LogUnavailable or FailClosed."""

    def __init__(self, reader: LogReader, rules: CountingRules, *, tallies_topic: str, found_at_log_start: bool, snapshots: IdSnapshots) -> None:
        self._snapshots = snapshots
        self._reader = reader
        self._rules = rules
        self._tallies_topic = tallies_topic
        self._tallies = TallyLog(reader, tallies_topic)
        self._found_at_log_start = found_at_log_start
        self._holes: dict[int, list[range]] = {}  # by partition: where counted events are gone, as somebody accepted

    def home_of(self, customer: str) -> int:
        """The partition of a customer."""
        return self._rules.partition_of(customer)

    def follow(self, timeline: CatalogueTimeline) -> None:
        """Counters that are made from now on know these versions of the catalogue."""
        self._rules = replace(self._rules, timeline=timeline)

    async def take_over(self, partition: int) -> PartitionCounter:
        """A counter that is at the end of the partition's chain and knows every id inside the horizon."""
        tallies_start, tallies_end = await self._tallies.bounds(partition)
        if not await self._tallies.holds_any(partition, tallies_start, tallies_end):
            return await self._found(partition, tallies_start)
        head = await self._tallies.head(partition, tallies_start, tallies_end)
        since_ms = head.log_time_ms - memory_ms(self._rules.deduplication_horizon_ms)
        events_start = await self._check_events(partition, head.chain.end)
        snapshot = await self._usable_snapshot(partition, head, tallies_start, since_ms)
        archive = self._snapshots.restored(partition, snapshot, since_ms) if snapshot is not None else None
        known_to = NO_OFFSET
        if archive is not None and snapshot is not None:
            known_to = snapshot.tally_offset
            remember_from = snapshot.events_end
            start = min(snapshot.tally_offset, head.checkpoint)
        else:
            archive = self._snapshots.empty(partition, known_since_ms=since_ms)
            found = await self._reader.offset_for_time(self._rules.topic, partition, since_ms)
            remember_from = head.chain.end if found is None else min(found, head.chain.end)
            start = await self._tallies.covering(partition, tallies_start, tallies_end, since_ms)
        counter = PartitionCounter(partition, self._rules, await self._tallies.fold_at(partition, start), archive)
        gone = GoneIds(events_start)
        async for offset, tally in self._tallies.between(partition, start, tallies_end):
            if counter.observe(offset, tally) and offset > known_to:
                gone.take(tally)
                if tally.log_time_ms >= since_ms and tally.link.end > tally.link.start and tally.acceptance is None:
                    # Its last record is as young as this. If Kafka finds none so young before, it is gone.
                    remember_from = min(remember_from, tally.link.end - 1)
        await self._check_ids(counter, gone)
        remember_from = max(remember_from, events_start)
        try:
            await self.remember(counter, remember_from, counter.tallies.chain.end)
        except HistoryLost:
            await self._check_still_kept(partition, events_start)
            self._holes[partition] = await self._accepted_holes(counter, remember_from, start, tallies_end)
            raise LogUnavailable(f"what is left of the events of partition {partition} is read again, around what is gone") from None
        await self._check_still_kept(partition, events_start)
        return counter

    async def refresh(self, counter: PartitionCounter) -> None:
        """Bring a counter that stood still, with nothing pending, up to the end of the chain: cheap when nobody else wrote."""
        _, end = await self._tallies.bounds(counter.partition)
        if end < counter.tallies.chain.next_offset:
            raise ChainBroken(f"usage.tallies of partition {counter.partition} ends at {end}, before what was read: it was cut or created again")
        await self._fold(counter, end)

    async def catch_up(self, counter: PartitionCounter, own: Tally, offset: int) -> bool:
        """Fold what is new in usage.tallies up to our own record at `offset`; re-read the events that another writer's tallies cover.

        Returns whether our own tally is accepted; if not, counting goes on at `counter.position`.
        """
        return await self._fold(counter, offset, own)

    async def _fold(self, counter: PartitionCounter, end: int, own: Tally | None = None) -> bool:
        others_start: int | None = None
        loss_accepted = batch_passed = False
        start = counter.tallies.chain.next_offset

        def note(record: LogRecord) -> None:
            nonlocal batch_passed
            batch_passed |= passes_batch_before(start, record)

        async for at, tally in self._tallies.between(counter.partition, start, end, on_other=note):
            if counter.observe(at, tally) and tally.adjustment is None:
                others_start = tally.link.start if others_start is None else others_start
                loss_accepted |= tally.acceptance is not None
        if loss_accepted:
            raise LogUnavailable(f"a loss in partition {counter.partition} was accepted: what can still be known of it is read again")
        if batch_passed:
            raise LogUnavailable(f"a batch of tallies of partition {counter.partition} was passed over: what is before it is read again")
        accepted = own is not None and counter.observe(end, own)
        if others_start is not None:
            await self.remember(counter, others_start, counter.tallies.chain.end)
        return accepted

    async def remember(self, counter: PartitionCounter, start: int, end: int) -> None:
        """Re-read the events of [start, end), which are counted, for their ids."""
        holes = self._holes.get(counter.partition, ())
        for offsets in sorted((*counter.stepped_over, *holes), key=attrgetter("start")):  # there may be damage, or nothing
            if start <= offsets.start and offsets.stop <= end:
                await self._remember(counter, start, offsets.start)
                start = offsets.stop
        await self._remember(counter, start, end)
        counter.remembered()

    async def _remember(self, counter: PartitionCounter, start: int, end: int) -> None:
        async for records in self._reader.records(self._rules.topic, counter.partition, start, end):
            counter.remember(records)

    async def tallies_end(self, partition: int) -> int:
        """The next offset of usage.tallies."""
        return (await self._tallies.bounds(partition))[1]

    async def mended(self, partition: int, start: int) -> tuple[bool, int]:
        """Whether somebody accepted a loss, or stepped over a record, in usage.tallies from offset `start` on; and where to ask next time."""
        kept, end = await self._tallies.bounds(partition)
        return await self._tallies.mended(partition, max(kept, start), end), max(start, end)

    async def holds_no_record(self, partition: int, start: int, end: int) -> bool:
        """Whether the offsets [start, end) of usage.events never held anything to count, as transaction markers do. Proved, or HistoryLost."""
        return await self._reader.holds_no_record(self._rules.topic, partition, start, end)

    def is_proved_empty(self, partition: int, start: int, end: int) -> bool:
        """The same, as far as it is known without asking."""
        return self._reader.is_proved_empty(self._rules.topic, partition, start, end)

    async def _found(self, partition: int, tallies_start: int) -> PartitionCounter:
        if tallies_start > 0:
            raise HistoryLost(f"all tallies of partition {partition} were deleted (the log starts at {tallies_start}): what was billed is not known")
        events_start, _ = await self._reader.bounds(self._rules.topic, partition)
        if events_start > 0 and not self._found_at_log_start:
            raise HistoryLost(
                f"partition {partition} has no tally and its events start at {events_start}: events before that are gone uncounted. "
                f"If that is meant, set found_at_log_start, or name them as lost: taximeter repair accept-loss {partition}"
            )
        archive = self._snapshots.empty(partition, known_since_ms=0)
        counter = PartitionCounter(partition, self._rules, Tallies(), archive)
        counter.found(events_start, new_chain_id())
        return counter

    async def _check_events(self, partition: int, end: int) -> int:
        """What is counted next must be there. Returns the first offset of the events that is kept. Raises FailClosed."""
        events_start, events_end = await self._reader.bounds(self._rules.topic, partition)
        if end > events_end:
            raise ChainBroken(f"the tallies of partition {partition} end at {end}, its events at {events_end}: the topic was cut or created again")
        if end < events_start:
            raise HistoryLost(
                f"retention deleted events of partition {partition} that were never counted: {end} to {events_start - 1}."
                f" See what is lost with: taximeter repair accept-loss {partition}"
            )
        return events_start

    async def _check_still_kept(self, partition: int, start: int) -> None:
        """Raise LogUnavailable if retention deleted events from `start` on while they were read for their ids: another takeover finds what is gone.

        Retention deletes every few minutes at most, so that this does not go on forever.
        """
        kept, _ = await self._reader.bounds(self._rules.topic, partition)
        if kept > start:
            raise LogUnavailable(f"events of partition {partition} were deleted while they were read for their ids")

    async def _usable_snapshot(self, partition: int, head: Tallies, tallies_start: int, since_ms: int) -> SnapshotRecord | None:
        """The snapshot of an earlier process, if it belongs to this chain and reaches back far enough."""
        snapshot = self._snapshots.found(partition)
        if snapshot is None or snapshot.chain_id != head.chain_id or snapshot.known_since_ms > since_ms or head.checkpoint == NO_OFFSET:
            return None
        if not tallies_start <= snapshot.tally_offset <= head.chain.head:
            return None
        try:
            record = await self._reader.record(self._tallies_topic, partition, snapshot.tally_offset)
        except RecordUnreadable:
            return None  # the log has everything
        # The very tally that its writer saw accepted: what is accepted before it in this log is then the same, too.
        return snapshot if record is not None and digest_of(record.value or b"") == snapshot.tally_digest else None

    async def _accepted_holes(self, counter: PartitionCounter, events_from: int, tallies_from: int, tallies_end: int) -> list[range]:
        """Where counted events are gone whose ids would have to be known, if somebody accepted that they are not. Raises HistoryLost."""
        partition, tallies = counter.partition, counter.tallies
        holes = await self._reader.lost_in(self._rules.topic, partition, events_from, tallies.chain.end)
        gone, fold = GoneIds(0, holes), await self._tallies.fold_at(partition, tallies_from)
        async for offset, tally in self._tallies.between(partition, tallies_from, tallies_end):
            if fold.fold(offset, tally):
                gone.take(tally)
        if not holes or gone.ids_from_ms > tallies.losses.ids_from_ms or self._holes.get(partition) == holes:
            at = f"offsets {holes[0].start} to {holes[0].stop - 1}" if holes else f"something between {events_from} and {tallies.chain.end}"
            raise HistoryLost(
                f"the ids of partition {partition} cannot be rebuilt: counted events hold neither a record nor a transaction marker any more, {at}."
                f" See what is not known with: taximeter repair accept-loss {partition} --ids"
            )
        return holes

    async def _check_ids(self, counter: PartitionCounter, gone: GoneIds) -> None:
        """Check that every id that may still matter is known, or that somebody accepted that it is not. Raises HistoryLost."""
        partition, horizon_ms, tallies = counter.partition, self._rules.deduplication_horizon_ms, counter.tallies
        if not gone.matter(tallies.log_time_ms, horizon_ms):
            return
        gone.narrow(await first_kept_ms(self._reader, self._rules.topic, partition))
        if gone.matter(tallies.log_time_ms, horizon_ms) and gone.ids_from_ms > tallies.losses.ids_from_ms:
            raise HistoryLost(
                f"the ids of partition {partition} cannot be rebuilt: events inside the deduplication horizon were deleted"
                f" (the log starts at {gone.events_start}). See what is not known with: taximeter repair accept-loss {partition} --ids"
            )
