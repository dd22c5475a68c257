"""What the log still has of a partition's past: read at a takeover, and to accept a loss."""

import secrets
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from taximeter_emitter.wire.limits import CLOCK_AHEAD_MAX_MS

from aggregator.ids.id_index import DISORDER_MS, memory_ms
from metering.folds.tallies import Tallies, tallies_from
from metering.kafka.chain_records import OnOther, PartitionPlace, chain_records, decisions_in, first_chain_record, last_chain_record
from metering.kafka.partition_log import LogReader
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import ChainBroken, HistoryLost, RecordCorrupt
from metering.records.tally import Tally, decode_tally


def new_chain_id() -> str:
    """The name of a chain that is founded now."""
    return secrets.token_hex(8)


class TallyLog:
    """usage.tallies, as its writers read it. Blocks on Kafka; every method may raise LogUnavailable or FailClosed."""

    def __init__(self, reader: LogReader, topic: str) -> None:
        self._reader = reader
        self._topic = topic

    def _place(self, partition: int) -> PartitionPlace:
        return PartitionPlace(self._topic, partition)

    async def bounds(self, partition: int) -> tuple[int, int]:
        """The first offset that is kept, and the next one."""
        return await self._reader.bounds(self._topic, partition)

    async def at(self, partition: int, offset: int) -> Tally:
        """The tally at this offset."""
        found = await first_chain_record(self._reader, self._place(partition), offset, offset + 1, decode_tally)
        if found is None:
            raise RecordCorrupt(f"offset {offset} of {self._topic}/{partition} holds no tally")
        return found[1]

    async def between(self, partition: int, start: int, end: int, *, on_other: OnOther = lambda _record: None) -> AsyncIterator[tuple[int, Tally]]:
        """The tallies of [start, end), accepted or not, with their offsets; `on_other` gets all other records. Read it to the end."""
        async for offset, _, tally in chain_records(self._reader, self._place(partition), start, end, decode_tally, on_other=on_other):
            yield offset, tally

    async def holds_any(self, partition: int, start: int, end: int) -> bool:
        """Whether there is a tally in [start, end). There may be transaction markers and foreign records alone."""
        return await last_chain_record(self._reader, self._place(partition), start, end, decode_tally) is not None

    async def mended(self, partition: int, start: int, end: int) -> bool:
        """Whether somebody decided in [start, end) what lets a stopped partition go on."""
        async with aclosing(decisions_in(self._reader, self._place(partition), start, end)) as decisions:
            async for _ in decisions:
                return True
        found = False
        async for _, tally in self.between(partition, start, end):
            found |= tally.acceptance is not None or tally.stepped_over is not None
        return found

    async def fold_at(self, partition: int, offset: int) -> Tallies:
        """An empty fold placed just before the accepted tally at `offset`."""
        if offset == 0:
            return Tallies()  # what is there need not be accepted
        return tallies_from(offset, await self.at(partition, offset))

    async def head(self, partition: int, start: int, end: int) -> Tallies:
        """The fold at the end of the topic, which has at least one tally, without what an aggregator keeps."""
        _, last = await self._last(partition, start, end)
        if last.checkpoint == NO_OFFSET and start > 0:
            raise HistoryLost(f"the tallies of partition {partition} start at {start}; the one that knows its emitters was deleted")
        begin = last.checkpoint if last.checkpoint != NO_OFFSET else start
        tallies = await self.fold_at(partition, begin)
        async for offset, tally in self.between(partition, begin, end):
            tallies.fold(offset, tally)
        if tallies.chain.head == NO_OFFSET:
            raise ChainBroken(f"partition {partition} has tallies and none of them founds a chain")
        return tallies

    async def _last(self, partition: int, start: int, end: int) -> tuple[int, Tally]:
        found = await last_chain_record(self._reader, self._place(partition), start, end, decode_tally)
        if found is None:
            raise ChainBroken(f"{self._topic}/{partition} has records from {start} to {end - 1} and no tally")
        return found

    async def covering(self, partition: int, start: int, end: int, since_ms: int) -> int:
        """The offset of an accepted tally from which folding gives both the emitter states and all that was set aside since then (log time)."""
        found = await self._reader.offset_for_time(self._topic, partition, since_ms)
        if found is not None and found <= start:
            return start
        last_offset, last = await self._last(partition, start, end)
        first = None if found is None else await first_chain_record(self._reader, self._place(partition), found, end, decode_tally)
        first_offset, first_tally = (last_offset, last) if first is None else first
        if first_offset <= start:
            return start
        candidates = (first_tally.link.previous, last.checkpoint)
        return start if NO_OFFSET in candidates else min(candidates)


@dataclass(slots=True)
class GoneIds:
    """Which ids were counted from records that were deleted since: `events_start` is the first offset that is kept, and `holes` are gone, too.

    Every accepted tally that is not older than the horizon must be taken. `until_ms` is the latest log time of what was counted before
    `events_start`, `holes_until_ms` of what was counted in holes (None: nothing was).
    """

    events_start: int
    holes: Sequence[range] = ()
    until_ms: int | None = None
    holes_until_ms: int | None = None

    def take(self, tally: Tally) -> None:
        """The next accepted tally. What is lost was never counted, so its ids do not matter."""
        if tally.link.start < min(tally.link.end, self.events_start) and tally.acceptance is None:
            self.until_ms = max(tally.log_time_ms, self.until_ms or 0)
        is_counted = tally.acceptance is None and tally.stepped_over is None
        if is_counted and any(hole.start < tally.link.end and tally.link.start < hole.stop for hole in self.holes):
            self.holes_until_ms = max(tally.log_time_ms, self.holes_until_ms or 0)

    def narrow(self, first_kept_ms: int | None) -> None:
        """`first_kept_ms` is the log time of the first record that is kept: what is gone was logged before."""
        if self.until_ms is not None and first_kept_ms is not None:
            self.until_ms = min(self.until_ms, first_kept_ms + DISORDER_MS)

    @property
    def ids_from_ms(self) -> int:
        """The own time of events from which on ids are known: none was logged before its own time by more than clocks may differ."""
        until_ms = self._until_ms
        return 0 if until_ms is None else until_ms + CLOCK_AHEAD_MAX_MS + 1

    @property
    def _until_ms(self) -> int | None:
        return max((each for each in (self.until_ms, self.holes_until_ms) if each is not None), default=None)

    def matter(self, log_time_ms: int, horizon_ms: int) -> bool:
        """Whether an event that is logged at this time or later, inside the horizon, may repeat one of them."""
        until_ms = self._until_ms
        return until_ms is not None and until_ms >= log_time_ms - memory_ms(horizon_ms)


async def first_kept_ms(reader: LogReader, topic: str, partition: int) -> int | None:
    """The log time of the first record that is kept; None if there is none. Raises LogUnavailable or FailClosed."""
    offset = await reader.offset_for_time(topic, partition, 0)
    record = None if offset is None else await reader.record(topic, partition, offset)
    return None if record is None else record.timestamp
