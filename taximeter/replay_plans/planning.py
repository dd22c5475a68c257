"""Derives the rows of a plan into its directory: partitions side by side in processes, each of which goes on where it was interrupted."""

import asyncio
import multiprocessing
import time
from collections.abc import Callable, Container, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass, replace
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import Final

from taximeter_emitter.wire.partitioner import partition_of

from audit.adjustments.plan_book import PlanBook
from audit.adjustments.plan_derivation import EarlierPlan, PlanDerivation
from audit.adjustments.plan_reading import PlanLog
from audit.adjustments.plan_scope import earlier_plans
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.plans.current_period import BroughtForward
from metering.plans.plan_header import MeterTotal, PlanHeader
from metering.records.adjustment import AdjustedRow, PlannedParts, partition_digest
from metering.records.service_limits import CHAIN_RECORD_BYTES_MAX
from taximeter.replay_plans.plan_directory import PartitionState, PartWriter, PlanDirectory, PlanUnusable

STATE_SECONDS: Final = 2.0
DERIVED_LOOK_SECONDS: Final = 0.5
PLAN_HEADER_CHARS_MAX: Final = CHAIN_RECORD_BYTES_MAX // 4
"""It stands in the first part of each partition, in JSON, beside the rows."""

OnDerived = Callable[[int, int], None]
"""Records of usage.events read so far, and in all."""

OnPlannedPart = Callable[[int, Sequence[AdjustedRow]], None]
"""The partition in which a part is written, and its rows."""


@dataclass(frozen=True, slots=True)
class DerivationTask:
    """One partition of a plan, for a process of its own. `records_per_second`: how fast it may read; 0: as fast as it can."""

    kafka: KafkaSettings
    path: Path
    partition: int
    earlier: tuple[EarlierPlan, ...]
    records_per_second: float


async def derive_all(
    kafka: KafkaSettings, directory: PlanDirectory, book: PlanBook, *, only: Container[int], workers: int, rate: float, on_progress: OnDerived
) -> list[int]:
    """These partitions of the draft, where they are not done; returns those that are not done then. Raises LogUnavailable, FailClosed and OSError."""
    draft = directory.draft()
    states = {partition: directory.state(partition) for partition in draft.ranges}
    tasks = [
        DerivationTask(kafka, directory.path, partition, tuple(earlier_plans(book, partition, each.base)), rate / min(workers, len(draft.ranges)))
        for partition, each in sorted(draft.ranges.items())
        if partition in only and ((state := states[partition]) is None or not state.is_done)
    ]
    total = sum(each.end - each.start for partition, each in draft.ranges.items() if partition in only)
    before = total - sum(_left(draft, task.partition, states[task.partition]) for task in tasks)
    if workers > 1 and len(tasks) > 1:
        await _side_by_side(tasks, min(workers, len(tasks)), lambda done: on_progress(before + done, total))
        tasks = []
    done = 0

    def on_records(count: int) -> None:
        nonlocal done
        done += count
        on_progress(before + done, total)

    for task in tasks:
        await derive_partition(task, on_records)
    return [partition for partition in sorted(draft.ranges) if (state := directory.state(partition)) is None or not state.is_done]


async def derive_partition(task: DerivationTask, on_records: Callable[[int], None]) -> None:
    """One partition to its end. What is done is saved now and then, between two tallies: an interruption costs STATE_SECONDS."""
    directory, partition = PlanDirectory(task.path), task.partition
    draft = directory.draft()
    planned = draft.ranges[partition]
    state = directory.state(partition) or PartitionState(planned.start)
    derivation = PlanDerivation(draft, partition, task.earlier)
    derivation.counts = state.counts
    derivation.stays.brought.add(state.brought)
    for rows, sums in ((state.stays, derivation.stays), (state.moves, derivation.moves)):
        for row in rows:
            sums.add_row(row)
    writer = PartWriter(directory.parts_file(partition), state.length)
    events, tallies = LogReader(task.kafka, "replay-events"), LogReader(task.kafka, "replay-tallies")
    began = saved = time.monotonic()
    records = 0

    def save(end: int, *, is_done: bool = False) -> None:
        writer.sync()
        brought = BroughtForward()
        brought.add(derivation.stays.brought)
        brought.add(derivation.moves.brought)
        now = PartitionState(end, writer.length, is_done, derivation.stays.pending(), derivation.moves.pending(), derivation.counts, brought)
        directory.write_state(partition, now)

    try:
        log = PlanLog(events, tallies, task.kafka.topics)
        since_ms = draft.selector.from_ms or 0
        async with aclosing(log.derive(derivation, planned, since_ms, state.end)) as steps:
            async for step in steps:
                for part in step.parts:
                    writer.add(part)
                records += step.records
                on_records(step.end - state.end)
                state.end = step.end
                if time.monotonic() - saved >= STATE_SECONDS:
                    save(step.end)
                    saved = time.monotonic()
                ahead = records / task.records_per_second - (time.monotonic() - began) if task.records_per_second else 0.0
                await asyncio.sleep(max(0.0, ahead))
        save(planned.end, is_done=True)
    finally:
        writer.close()
        await events.close()
        await tallies.close()


def completed(directory: PlanDirectory, kafka: KafkaSettings, on_part: OnPlannedPart) -> PlanHeader:
    """The header of a plan whose partitions are all done, written to the directory. `on_part` is given every part."""
    draft = directory.draft()
    receiver = draft.rule.to_customer
    stored = directory.parts(draft, partition_of(receiver, kafka.partitions) if receiver else None)
    totals: dict[str, list[int]] = {}
    for partition, parts in stored.items():
        for part in parts:
            rows = directory.rows(part)
            on_part(partition, rows)
            for row in rows:
                total = totals.setdefault(row[1], [0, 0, 0])
                total[0] += row[4]
                total[1] += row[5]
                total[2] += 1
    into = draft.rule.into
    header = PlanHeader(
        # Of those that were not brought forward nothing is to be said.
        replace(draft.rule, into=into and into.only(directory.totals()[1].customers)),
        draft.selector,
        draft.planned_ms,
        draft.ranges,
        draft.window_ms,
        {partition: PlannedParts(len(parts), partition_digest(part.digest for part in parts)) for partition, parts in stored.items()},
        {meter: MeterTotal(*total) for meter, total in sorted(totals.items())},
    )
    if not directory.is_complete:
        if len(header.text) > PLAN_HEADER_CHARS_MAX:
            raise PlanUnusable("too much is to be said of the plan, as of whom it brings forward: make several plans, by --partition or --customer")
        directory.finish(header)
    return header


def _left(draft: PlanHeader, partition: int, state: PartitionState | None) -> int:
    planned = draft.ranges[partition]
    return planned.end - (planned.start if state is None else state.end)


async def _side_by_side(tasks: Iterable[DerivationTask], workers: int, on_records: Callable[[int], None]) -> None:
    context = multiprocessing.get_context("spawn")
    done, ends = context.Value("q", 0), context.Value("b", 0)
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(done, ends)) as pool:
        try:
            waiting = {loop.run_in_executor(pool, _derive_one, task) for task in tasks}
            while waiting:
                finished, waiting = await asyncio.wait(waiting, timeout=DERIVED_LOOK_SECONDS, return_when=asyncio.FIRST_COMPLETED)
                for each in finished:
                    each.result()
                on_records(done.value)
        except BaseException:
            ends.value = 1  # the processes that are left end at their next tally
            raise


class _Ending(Exception):
    """The command ends."""


_shared: list["Synchronized[int]"] = []


def _start_worker(*shared: "Synchronized[int]") -> None:
    _shared[:] = shared


def _derive_one(task: DerivationTask) -> None:
    """In a process of its own."""
    done, ends = _shared

    def on_records(count: int) -> None:
        with done.get_lock():
            done.value += count
        if ends.value:
            raise _Ending

    asyncio.run(derive_partition(task, on_records))
