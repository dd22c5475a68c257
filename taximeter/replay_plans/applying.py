"""Writes the parts of a plan, partitions side by side, each part once."""

import asyncio
import secrets
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final

from taximeter_emitter.clock import Clock

from audit.adjustments.plan_book import PlanBook
from audit.adjustments.plan_scope import overlap
from metering.folds.plan_progress import NotAdjusted, OnRival, Part, PlanInPartition, PlanProgress
from metering.kafka.adjustment_writer import AdjustmentWriter
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader
from metering.plans.plan_header import header_from
from metering.records.adjustment import Adjustment, AdjustmentKind, short
from metering.records.fail_closed import RecordCorrupt
from metering.records.tally import TallyRow
from taximeter.replay_plans.closings import PartCheck
from taximeter.replay_plans.ledger_brake import LedgerBrake
from taximeter.replay_plans.plan_directory import PlanDirectory, StoredPart

SIDE_BY_SIDE: Final = 8
"""Partitions that are written at the same time: each has three connections."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApplyOptions:
    """How to write. `events_per_second`: of one partition; None: no brake. `rows_per_second`: a bound on what is written, over all partitions."""

    reason: str
    by: str
    events_per_second: float | None
    rows_per_second: float | None
    on_wait: Callable[[str], None]
    on_part: Callable[[int], None]
    check: PartCheck


class Applying:
    """One plan. Blocks on Kafka; raises NotAdjusted when it is stale, LogUnavailable and FailClosed."""

    def __init__(self, kafka: KafkaSettings, directory: PlanDirectory, book: PlanBook, *, clock: Clock, options: ApplyOptions) -> None:
        self._kafka = kafka
        self._directory = directory
        self._header = directory.header()
        self._book = book
        self._clock = clock
        self._options = options
        self._instance = f"replay-{secrets.token_hex(4)}"
        self._pace = asyncio.Lock()

    async def run(self, parts: Mapping[int, Sequence[StoredPart]], home: int | None) -> None:
        """All parts by partition. What moves usage to `home` is written last: usage is taken from one customer before another gets it."""
        first = [partition for partition in parts if partition != home]
        waiting = asyncio.Queue[int]()
        for partition in first:
            waiting.put_nowait(partition)

        async def work() -> None:
            while not waiting.empty():
                partition = waiting.get_nowait()
                await self._apply(partition, parts[partition])

        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(min(SIDE_BY_SIDE, len(first))):
                    tasks.create_task(work())
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None  # the others ended because of it
        if home is not None and home in parts:
            await self._apply(home, parts[home])

    async def _apply(self, partition: int, stored: Sequence[StoredPart]) -> None:
        header, options = self._header, self._options
        digests = [part.digest for part in stored]
        plan = PlanInPartition(partition, header.text, header.rule.kind, digests, options.reason, options.by)
        tallies, ledger = LogReader(self._kafka, "replay-tallies"), LogReader(self._kafka, "replay-ledger")
        appender = Appender(self._kafka, "replay-appender")
        topics = self._kafka.topics
        brake: LedgerBrake | None = None

        def check(progress: PlanProgress) -> None:
            options.check(partition, len(progress.accepted))

        if options.events_per_second is not None:
            brake = LedgerBrake(
                ledger,
                topics.ledger.name,
                self._clock,
                events_per_second=options.events_per_second,
                on_wait=options.on_wait,
                on_look=check,
            )
        told = 0

        async def hold(progress: PlanProgress) -> None:
            nonlocal told
            options.on_part(len(progress.accepted) - told)
            told = len(progress.accepted)
            check(progress)
            if brake is not None:
                await brake.hold(progress)

        def part_at(number: int) -> Part:
            return Part([TallyRow(*row) for row in self._directory.rows(stored[number])])

        async def paced(progress: PlanProgress) -> None:
            await hold(progress)
            if options.rows_per_second is not None:
                async with self._pace:
                    await self._clock.sleep(len(self._directory.rows(stored[len(progress.accepted)])) / options.rows_per_second)

        try:
            writer = AdjustmentWriter(tallies, appender, topics.tallies.name, instance=self._instance, clock=self._clock)
            base = header.ranges[partition].base
            done = await writer.apply(plan, base, part_at, paced, self._refuse_rivals(base))
            options.on_part(len(done.accepted) - told)
        finally:
            await tallies.close()
            await ledger.close()
            await appender.close()

    def _refuse_rivals(self, base: int) -> OnRival:
        """Another plan about the same usage, accepted after ours was made, makes ours stale: what it changed is not in our rows."""
        known = {name: plan.header for name, plan in self._book.plans.items() if plan.header is not None}

        def on_rival(offset: int, adjustment: Adjustment) -> None:
            if offset < base or adjustment.kind is AdjustmentKind.ABANDON:
                return
            if adjustment.header is not None and adjustment.plan not in known:
                with suppress(RecordCorrupt):
                    known[adjustment.plan] = header_from(adjustment.header)
            rival = known.get(adjustment.plan)
            if rival is None or overlap(self._book, self._header, rival):
                raise NotAdjusted(
                    f"stale: plan {short(adjustment.plan)} ({adjustment.kind}, by {adjustment.by}: {adjustment.reason}) about the same usage was"
                    " accepted after this one was made: plan again"
                )

        return on_rival
