"""`taximeter replay revert`: make a plan that takes another one back."""

import argparse
import sys
from collections.abc import Iterator

from taximeter_emitter.clock import SystemClock

from audit.adjustments.opposite_parts import opposite_parts
from audit.adjustments.plan_book import LoggedPlan, PlanBook, PlanState
from audit.adjustments.plan_derivation import DerivedPart
from audit.adjustments.plan_reading import PlanLog, TalliesEnd
from audit.adjustments.plan_scope import built_upon
from metering.kafka.chain_records import PartitionPlace
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.plans.current_period import IntoCurrent
from metering.plans.plan_header import PlanHeader, PlannedRange, PlanRule
from metering.plans.usage_selector import EVERYTHING_SELECTED
from metering.records.adjustment import AdjustmentKind, short
from taximeter.before_writing import told
from taximeter.connection import kafka_settings, run_on_logs
from taximeter.exit_codes import DISCREPANCY, FAILED
from taximeter.replay_commands.plan import progress, tell_plan
from taximeter.replay_commands.plans import NoSuchPlan, find_plan
from taximeter.replay_plans.account_periods import into_current
from taximeter.replay_plans.plan_directory import PlanDirectory, PlanUnusable, direct_parts


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when the plan is complete and all of it can be billed, 2 when a part cannot, or other plans are built upon it."""
    try:
        return run_on_logs(_revert(arguments), refusals=(PlanUnusable, NoSuchPlan))
    except OSError as error:
        told([str(error)])
        return FAILED


async def _revert(arguments: argparse.Namespace) -> int:
    kafka, directory = kafka_settings(arguments), PlanDirectory(arguments.out)
    events, tallies = LogReader(kafka, "replay-events"), LogReader(kafka, "replay-tallies")
    try:
        tell = progress(sys.stderr, "reading what is counted", "tallies")
        book, ends = await PlanLog(events, tallies, kafka.topics).book(range(kafka.partitions), lambda count: tell(count, 0))
        target = find_plan(book, arguments.plan)
        if told(_problems(book, target)):
            return DISCREPANCY
        into = await into_current(arguments) if arguments.into_current else None
        directory.begin(_draft(target, ends, into))
        await _write_opposites(directory, kafka, tallies, target, into)
    finally:
        await events.close()
        await tallies.close()
    return await tell_plan(arguments, directory, kafka)


def _problems(book: PlanBook, target: LoggedPlan) -> Iterator[str]:
    name = short(target.plan)
    if target.header is None:
        yield f"the header of plan {name} cannot be used: {target.problem or 'its first part is not in the log'}"
    if target.kind is AdjustmentKind.REVERT:
        yield f"plan {name} takes another one back: make that plan again instead"
    for other in target.reverted_by:
        state = book.state_of(book.plans[other])
        yield f"plan {name} is taken back by plan {short(other)} already, which is {state}" + (
            ": apply it to its end" if state is PlanState.UNFINISHED else ""
        )
    if not target.accepted:
        yield f"plan {name} has no part in the log: there is nothing to take back"
    elif not target.reverted_by and book.state_of(target) is PlanState.UNFINISHED:
        yield f"plan {name} is unfinished: apply it to its end, or abandon it first (taximeter replay abandon {name})"
    for later in built_upon(book, target):
        yield f"plan {short(later.plan)} ({later.kind}, by {later.by}) was made upon it: take that one back first"


def _draft(target: LoggedPlan, ends: dict[int, TalliesEnd], into: IntoCurrent | None) -> PlanHeader:
    assert target.header is not None, "it was asked before"
    read = target.header.ranges
    ranges = {}
    for partition in target.parts:
        if partition not in ends:
            raise PlanUnusable(f"partition {partition} has no tallies any more")
        end, planned = ends[partition], read.get(partition)
        start, stop = (planned.start, planned.end) if planned is not None else (end.end, end.end)
        ranges[partition] = PlannedRange(start, stop, end.base, end.chain_id)
    rule = PlanRule(AdjustmentKind.REVERT, reverts=target.plan, into=into)
    return PlanHeader(rule, EVERYTHING_SELECTED, SystemClock().now_ms(), ranges, target.header.window_ms)


async def _write_opposites(directory: PlanDirectory, kafka: KafkaSettings, tallies: LogReader, target: LoggedPlan, into: IntoCurrent | None) -> None:
    for partition, parts in sorted(target.parts.items()):
        with direct_parts(directory, partition) as (add, brought):
            async for rows in opposite_parts(tallies, PartitionPlace(kafka.topics.tallies.name, partition), parts, into, brought):
                add(DerivedPart(False, rows))
