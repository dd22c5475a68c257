"""`taximeter replay apply`: write a plan, each part once."""

import argparse
import asyncio
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Final

from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.partitioner import partition_of

from audit.adjustments.plan_book import LoggedPlan, PlanBook
from audit.adjustments.plan_reading import PlanLog, TalliesEnd
from audit.adjustments.plan_scope import later_than
from audit.recount.meter_definitions import rules_of
from metering.folds.catalogue_timeline import CatalogueVersion
from metering.folds.plan_progress import NotAdjusted
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.plans.plan_header import PlanHeader
from metering.records.adjustment import AdjustedRow, AdjustmentKind, PlannedParts, partition_digest, short
from taximeter.before_writing import agreed, author, told, writing_problems
from taximeter.catalogue_in_force import published_versions
from taximeter.connection import kafka_settings, run_on_logs
from taximeter.exit_codes import DISCREPANCY, FAILED, INTERRUPTED, OK, USAGE
from taximeter.import_commands.applying_imports import apply_import
from taximeter.import_commands.import_directory import ImportDirectory
from taximeter.replay_commands.plan import progress
from taximeter.replay_plans.account_periods import account_periods
from taximeter.replay_plans.applying import SIDE_BY_SIDE, Applying, ApplyOptions
from taximeter.replay_plans.closings import CLOSING_MARGIN_S, Closings, Outlook
from taximeter.replay_plans.plan_directory import PlanDirectory, PlanUnusable, StoredPart
from taximeter.replay_plans.plan_summary import PlanSummary
from taximeter.replay_plans.planning import completed
from taximeter.replay_plans.replay_text import header_as_json, show_plan
from taximeter.stripe_commands.running import print_json, shown

APPLIED_SCHEMA: Final = "taximeter.applied/1"
_AFTER_CLOSING: Final = (
    "Wait until it is closed, and plan again with --into-current; what is in the log is taken back before that:"
    " taximeter replay abandon {plan}; taximeter replay revert {plan} --into-current --out DIR."
)


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when every part is in the log, 2 when the plan is stale."""
    if ImportDirectory(arguments.directory).holds_import:
        return apply_import(arguments)
    if told(writing_problems(arguments, instead="taximeter replay show DIR")):
        return USAGE
    try:
        return run_on_logs(_apply(arguments), refusals=(PlanUnusable,), interrupted="; what is written counts, and the same command goes on")
    except NotAdjusted as stale:
        told([str(stale)])
        return DISCREPANCY
    except KeyboardInterrupt:
        told([f"interrupted; no part is half in the log. Go on: taximeter replay apply {arguments.directory} ; take back: taximeter replay revert"])
        return INTERRUPTED


async def _apply(arguments: argparse.Namespace) -> int:
    directory = PlanDirectory(arguments.directory)
    header, kafka = directory.header(), kafka_settings(arguments)
    receiver = header.rule.to_customer
    home = partition_of(receiver, kafka.partitions) if receiver else None
    parts = _checked_parts(directory, header, home)
    book, ends = await _read_book(kafka)
    plan = book.plans.get(header.plan)
    already = 0 if plan is None else plan.accepted
    if plan is not None and plan.is_whole:
        return _tell_done(arguments, header, already, 0)
    account = await account_periods(arguments, SystemClock())
    summary, closings = PlanSummary(account.clock), Closings(account.clock, kafka.partitions / account.events_per_second)

    def on_planned(partition: int, rows: Sequence[AdjustedRow]) -> None:
        summary.add_part(partition, rows)
        closings.add_part(partition, rows)

    await asyncio.to_thread(completed, directory, kafka, on_planned)
    done = {} if plan is None else {partition: len(each) for partition, each in plan.parts.items()}
    outlook = closings.outlook(done, home, SIDE_BY_SIDE, time.time())
    problems = [*_drift(book, plan, header, ends), *_not_published(header, await published_versions(kafka))]
    if not arguments.past_closing:
        problems += [*_worse(directory, summary), *_misses(outlook, header)]
    if told(problems):
        return DISCREPANCY
    if not arguments.json:
        await show_plan(arguments, header, directory, summary, account)
        if outlook.first_s:
            print(f"  through in {outlook.seconds / 60:,.0f} min at most; the first invoice closes {shown(outlook.first_s)}")
    if not arguments.yes and not agreed("Apply it?"):
        print("nothing was done", file=sys.stderr)
        return FAILED
    total = sum(map(len, parts.values()))
    tell = progress(sys.stderr, "applying", "parts")
    written = 0

    def on_part(count: int) -> None:
        nonlocal written
        written += count
        tell(count, total)

    options = ApplyOptions(
        reason=arguments.reason,
        by=author(arguments),
        events_per_second=None if arguments.no_brake else account.events_per_second / kafka.partitions,
        rows_per_second=arguments.rate,
        on_wait=lambda why: print(why, file=sys.stderr, flush=True),
        on_part=on_part,
        check=_nothing_closes if arguments.past_closing else partial(_check_closing, closings, arguments.directory, header),
    )
    await Applying(kafka, directory, book, clock=SystemClock(), options=options).run(parts, home)
    return _tell_done(arguments, header, already, total - already)


def _checked_parts(directory: PlanDirectory, header: PlanHeader, home: int | None) -> Mapping[int, list[StoredPart]]:
    parts = directory.parts(header, home)
    found = {partition: PlannedParts(len(each), partition_digest(part.digest for part in each)) for partition, each in parts.items()}
    if found != header.parts:
        raise PlanUnusable(f"{directory.path}: the parts are not those that the header names: plan again")
    return parts


async def _read_book(kafka: KafkaSettings) -> tuple[PlanBook, dict[int, TalliesEnd]]:
    events, tallies = LogReader(kafka, "replay-events"), LogReader(kafka, "replay-tallies")
    try:
        tell = progress(sys.stderr, "reading what is counted", "tallies")
        return await PlanLog(events, tallies, kafka.topics).book(range(kafka.partitions), lambda count: tell(count, 0))
    finally:
        await events.close()
        await tallies.close()


def _drift(book: PlanBook, plan: LoggedPlan | None, header: PlanHeader, ends: Mapping[int, TalliesEnd]) -> Iterator[str]:
    """What changed since the plan was made, so that its rows would be wrong."""
    if plan is not None and plan.ended:
        yield f"plan {short(header.plan)} was abandoned: plan again"
    for partition, each in header.ranges.items():
        if partition not in ends or ends[partition].chain_id != each.chain_id:
            yield f"partition {partition} has another chain than when the plan was made: it was planned for other topics"
    for rival in later_than(book, header):
        yield f"stale: plan {short(rival.plan)} ({rival.kind}, by {rival.by}: {rival.reason}) about the same usage was accepted since: plan again"
    if header.rule.kind is AdjustmentKind.REVERT:
        target = book.plans.get(header.rule.reverts)
        others = [name for name in target.reverted_by if name != header.plan] if target is not None else []
        if others:
            yield f"plan {short(header.rule.reverts)} is taken back by plan {short(others[0])} already"


def _not_published(header: PlanHeader, versions: Sequence[CatalogueVersion]) -> Iterator[str]:
    """Meters that are in no version: no reporter could send their usage. Nothing is said where nothing is published."""
    rules = [rules_of(version.catalogue.definition) for version in versions]
    known = {meter.name: meter for each in rules if each is not None for meter in each.meters}
    if not known:
        return
    for name in header.totals:
        if name not in known:
            yield f"the meter {name} is in no version of the meters: put it into the settings file, and publish it with taximeter meters apply"
    wanted = None if header.rule.definition is None else rules_of(header.rule.definition)
    for meter in wanted.meters if wanted is not None else ():
        if meter.name == header.rule.meter and meter.name in known and meter != known[meter.name]:
            yield f"the meter {meter.name} is published with another definition: plan again, or publish this one with taximeter meters apply"


def _worse(directory: PlanDirectory, summary: PlanSummary) -> Iterator[str]:
    """More can no longer be billed than when the plan was shown."""
    planned = directory.unbilled_rows()
    if planned is not None and summary.unbilled_rows > planned:
        more = summary.unbilled_rows - planned
        yield f"since the plan was made, {more:,} rows more can no longer be billed: invoices became final, or usage too old. Plan again"


def _misses(outlook: Outlook, header: PlanHeader) -> Iterator[str]:
    """It would not be through before an invoice closes."""
    late = outlook.late
    if late is not None:
        minutes = (late.closes_s - time.time()) / 60
        yield (
            f"the invoice of {late.customer} closes {shown(late.closes_s)}, in {minutes:,.0f} min. {outlook.rows:,} calls to Stripe need"
            f" {outlook.seconds / 60:,.0f} min at most, and {CLOSING_MARGIN_S // 60} min must be left: what comes later is billed to nobody."
            f" {_AFTER_CLOSING.format(plan=short(header.plan))} To write it all the same: --past-closing"
        )


def _check_closing(closings: Closings, directory: Path, header: PlanHeader, partition: int, number: int) -> None:
    late = closings.is_late(partition, number, time.time())
    if late is not None:
        raise NotAdjusted(
            f"stopped: part {number} of partition {partition} is on the invoice of {late.customer}, which closes {shown(late.closes_s)}."
            f" No part is half in the log. {_AFTER_CLOSING.format(plan=short(header.plan))}"
            f" To go on all the same: taximeter replay apply {directory} --past-closing"
        )


def _nothing_closes(_partition: int, _number: int) -> None:
    """Somebody said that it may be late."""


def _tell_done(arguments: argparse.Namespace, header: PlanHeader, already: int, written: int) -> int:
    if arguments.json:
        print_json({"schema": APPLIED_SCHEMA, **header_as_json(header), "parts_before": already, "parts_written": written})
    else:
        before = f"; {already:,} were there before" if already else ""
        print(f"plan {short(header.plan)}: {written:,} parts are written{before}. The reporter bills them.")
        print(f"Take back: taximeter replay revert {short(header.plan)} --out DIR")
    return OK
