"""Writes the parts of a plan into usage.tallies, each once, one in flight."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from taximeter_emitter.clock import Clock

from metering.folds.plan_progress import NotAdjusted, OnRival, Part, PlanInPartition, PlanProgress
from metering.folds.tallies import Tallies, tallies_from
from metering.kafka.chain_records import PartitionPlace, chain_records, first_chain_record, last_chain_record
from metering.kafka.partition_log import Appender, LogReader, LogUnavailable
from metering.records.chain import NO_OFFSET
from metering.records.fail_closed import ChainBroken, HistoryLost, RecordCorrupt
from metering.records.service_limits import CHAIN_RECORD_BYTES_MAX
from metering.records.tally import Tally, decode_tally, encode_tally

PART_ATTEMPTS_MAX: Final = 10
"""How often one record is appended: a flush every few seconds comes first once in hundreds of times."""

Brake = Callable[[PlanProgress], Awaitable[None]]
"""Asked before each part: returns when it may be written, or raises what ends the writing."""


class AdjustmentWriter:
    """Blocks on Kafka; every method may raise LogUnavailable or FailClosed. The reader and the appender stay their owner's.

    It may be killed at any point, and another one may run beside it: a record counts only where its writer wanted it, and that is behind all that
    this writer has read.
    """

    def __init__(self, reader: LogReader, appender: Appender, topic: str, *, instance: str, clock: Clock) -> None:
        self._reader = reader
        self._appender = appender
        self._topic = topic
        self._instance = instance
        self._clock = clock

    async def progress(self, plan: PlanInPartition, position: int, on_rival: OnRival = lambda _offset, _adjustment: None) -> PlanProgress:
        """What of the plan is in the log now. `position`: how far usage.tallies had been read when the plan was made.

        `on_rival` hears of other plans' adjustments, also of some before `position`. What it raises ends the writing.
        """
        start, end = await self._reader.bounds(self._topic, plan.partition)
        if position > end:
            raise ChainBroken(f"plan was made at tally {position} of partition {plan.partition}, which ends at {end}: it was cut or created again")
        found = PlanProgress(plan, await self._fold_before(plan.partition, position, start, end), on_rival)
        await self._follow(found)
        return found

    async def apply(
        self,
        plan: PlanInPartition,
        position: int,
        part_at: Callable[[int], Part],
        brake: Brake,
        on_rival: OnRival = lambda _offset, _adjustment: None,
    ) -> PlanProgress:
        """Write all parts that the log does not have. `part_at` gives each when its turn comes. Raises NotAdjusted, and what `brake` raises."""
        found = await self.progress(plan, position, on_rival)
        while (number := found.next_part) is not None:
            await brake(found)
            await self._write(found, number, part_at(number))
        return found

    async def abandon(self, plan: PlanInPartition, position: int) -> PlanProgress:
        """Say that no more parts come. Nothing is written if all parts are there, or it was said before."""
        found = await self.progress(plan, position)
        if found.next_part is not None and found.abandoned is None:
            await self._append(
                found,
                lambda: found.abandoning(at_ms=self._clock.now_ms(), instance=self._instance),
                lambda: found.abandoned is not None or found.next_part is None,
            )
        return found

    async def _write(self, found: PlanProgress, number: int, part: Part) -> None:
        await self._append(
            found,
            lambda: found.adjusting(part, at_ms=self._clock.now_ms(), instance=self._instance),
            lambda: found.next_part != number,
        )

    async def _append(self, found: PlanProgress, record: Callable[[], Tally], is_done: Callable[[], bool]) -> None:
        """Append until it is in the chain, by us or by somebody else."""
        partition = found.plan.partition
        for _ in range(PART_ATTEMPTS_MAX):
            await self._follow(found)  # the brake may have held for long
            if is_done():
                return
            tally = record()
            value = encode_tally(tally)
            if len(value) > CHAIN_RECORD_BYTES_MAX:
                raise NotAdjusted(f"a part of {len(value)} bytes cannot be written: plan with fewer rows in each part")
            try:
                landed = await self._appender.append(self._topic, partition, value)
            except LogUnavailable:
                continue  # it may be in the log, or come later: then it counts there, or nowhere
            if landed.offset == found.next_offset:
                found.fold(landed.offset, tally)
                return
            await self._follow(found)
            if found.next_offset <= landed.offset:
                raise LogUnavailable(f"an open transaction holds back the tallies of partition {partition} from {found.next_offset} on")
        await self._follow(found)
        if not is_done():
            raise LogUnavailable(f"a part could not be written to {self._topic}/{partition} in {PART_ATTEMPTS_MAX} attempts: apply the plan again")

    async def _follow(self, found: PlanProgress) -> None:
        """Fold what is new."""
        _, end = await self._reader.bounds(self._topic, found.plan.partition)
        async with aclosing(self._between(found.plan.partition, found.next_offset, end)) as tallies:
            async for offset, tally in tallies:
                found.fold(offset, tally)  # which may end the writing
        found.read_to(end)

    async def _fold_before(self, partition: int, position: int, start: int, end: int) -> Tallies:
        """An empty fold before the checkpoint that the last record before `position` names, which its writer knew to be accepted."""
        place = PartitionPlace(self._topic, partition)
        last = await last_chain_record(self._reader, place, start, min(position, end), decode_tally)
        begin = last[1].checkpoint if last is not None else NO_OFFSET
        if begin == NO_OFFSET:
            if start > 0:
                raise HistoryLost(f"the tallies of partition {partition} start at {start}; the one to begin with was deleted")
            return Tallies()
        found = await first_chain_record(self._reader, place, begin, begin + 1, decode_tally)
        if found is None:
            raise RecordCorrupt(f"offset {begin} of {self._topic}/{partition} holds no tally")
        return tallies_from(*found)

    async def _between(self, partition: int, start: int, end: int) -> AsyncGenerator[tuple[int, Tally]]:
        async with aclosing(chain_records(self._reader, PartitionPlace(self._topic, partition), start, end, decode_tally)) as tallies:
            async for offset, _, tally in tallies:
                yield offset, tally
