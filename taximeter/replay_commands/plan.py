"""`taximeter replay plan`: derive a change of what was counted, and show what it would bill.

Nothing is written to the log.
"""

import argparse
import asyncio
import os
import sys
import time
from collections.abc import Callable, Sequence, Set
from dataclasses import replace
from typing import Final, TextIO

from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.limits import MINUTE_MS
from taximeter_emitter.wire.partitioner import partition_of

from audit.adjustments.plan_book import PlanBook
from audit.adjustments.plan_reading import PlanLog, TalliesEnd
from audit.adjustments.plan_scope import in_the_way
from metering.configuration.settings import SettingsError
from metering.folds.catalogue_timeline import CatalogueVersion
from metering.following.published_meters import meters_of_all
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.plans.current_period import IntoCurrent
from metering.plans.plan_header import PlanHeader, PlannedRange, PlanRule
from metering.plans.usage_selector import UsageSelector
from metering.process.service_command import load_configuration
from metering.records.adjustment import AdjustmentKind, short
from metering.records.ledger_records import REASON_CHARS_MAX
from metering.records.meters import Catalogue, catalogue_of, catalogue_problems
from taximeter.before_writing import told
from taximeter.catalogue_in_force import published_versions
from taximeter.connection import NotConfigured, kafka_settings, run_on_logs
from taximeter.exit_codes import DISCREPANCY, FAILED, INTERRUPTED, OK, PENDING, USAGE
from taximeter.import_commands.import_arguments import is_import, selection_problems
from taximeter.import_commands.planning_imports import plan_import
from taximeter.replay_commands.waiting import tell_waiting
from taximeter.replay_plans.account_periods import account_periods, into_current
from taximeter.replay_plans.given_rows import read_rows, write_given
from taximeter.replay_plans.plan_directory import PlanDirectory, PlanUnusable
from taximeter.replay_plans.plan_summary import PlanSummary
from taximeter.replay_plans.planning import completed, derive_all
from taximeter.replay_plans.replay_text import plan_as_json, show_plan
from taximeter.selection import selector_of
from taximeter.stripe_commands.running import print_json

PLAN_TOLD_SECONDS: Final = 10.0
_ELSEWHERE: Final = "Give draft.json to another machine for --resume DIR --derive, bring back its partition files, and --resume makes the plan"


LATEST_NOT_PLANNED: Final = (
    'tells the latest value (aggregate = "last"), to which no plan can add, and from which none can take: emit an event with the right value'
)


class NothingPlanned(Exception):
    """There is no plan to make; the message says why and what to do."""


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when the plan is complete and all of it can be billed, 2 when a part cannot, or another plan is in the way."""
    if is_import(arguments):
        return plan_import(arguments)
    if told(selection_problems(arguments)):
        return USAGE
    wanted = arguments.count or arguments.move_to or arguments.take_out or arguments.rows
    if not wanted and arguments.resume is None:
        return run_on_logs(tell_waiting(arguments))
    if told(_missing(arguments)):
        return USAGE
    directory = PlanDirectory(arguments.resume or arguments.out)
    try:
        return run_on_logs(_plan(arguments, directory), refusals=(PlanUnusable, NothingPlanned))
    except OSError as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt:
        print(f"taximeter: interrupted; go on with: taximeter replay plan --resume {directory.path}", file=sys.stderr)
        return INTERRUPTED


def _missing(arguments: argparse.Namespace) -> list[str]:
    problems = ["say where the plan goes: --out DIR"] if arguments.resume is None and arguments.out is None else []
    if arguments.rows is not None and not 0 < len((arguments.evidence or "").strip()) <= REASON_CHARS_MAX:
        problems.append(f"--rows needs --evidence, 1 to {REASON_CHARS_MAX} characters: on what the amounts rest")
    return problems


async def _plan(arguments: argparse.Namespace, directory: PlanDirectory) -> int:
    kafka = kafka_settings(arguments)
    events, tallies = LogReader(kafka, "replay-events"), LogReader(kafka, "replay-tallies")
    try:
        log = PlanLog(events, tallies, kafka.topics)
        tell = progress(sys.stderr, "reading what is counted", "tallies")
        book, ends = await log.book(range(kafka.partitions), lambda count: tell(count, 0))
        if arguments.rows is not None:
            rule = PlanRule(AdjustmentKind.RESOLVE, evidence=arguments.evidence, into=await _into(arguments))
            rows = read_rows(arguments.rows)
            await _refuse_latest(kafka, {row[1] for row in rows})
            write_given(directory, kafka, ends, rows, rule=rule, now_ms=SystemClock().now_ms())
        elif arguments.resume is None:
            draft = await _draft(arguments, kafka, log, ends)
            await _refuse_latest(kafka, set(draft.selector.meters))
            if told(_problems(book, draft)):
                return DISCREPANCY
            directory.begin(draft)
    finally:
        await events.close()
        await tallies.close()
    tell_derived = progress(sys.stderr, "reading usage", "records")
    done = 0

    def on_progress(now: int, total: int) -> None:
        nonlocal done
        tell_derived(now - done, total)
        done = now

    only = arguments.derive or range(kafka.partitions)
    rate, workers = arguments.records_per_second, arguments.workers
    left = await derive_all(kafka, directory, book, only=only, workers=workers, rate=rate, on_progress=on_progress)
    if left:
        print(f"taximeter: {directory.path}: partitions {', '.join(map(str, left))} are not derived yet. {_ELSEWHERE}", file=sys.stderr)
        return PENDING
    return await tell_plan(arguments, directory, kafka)


async def tell_plan(arguments: argparse.Namespace, directory: PlanDirectory, kafka: KafkaSettings) -> int:
    """Complete the plan and show it; the exit code."""
    account = await account_periods(arguments, SystemClock())
    summary = PlanSummary(account.clock)
    header = await asyncio.to_thread(completed, directory, kafka, summary.add_part)
    directory.note_unbilled(summary.unbilled_rows)
    if arguments.json:
        print_json(await plan_as_json(arguments, header, directory, summary, account))
    else:
        await show_plan(arguments, header, directory, summary, account)
        if header.rows:
            print(f"Nothing was written. Apply: taximeter replay apply {directory.path} --reason '...'")
    return DISCREPANCY if summary.unbilled_rows else OK


async def _draft(arguments: argparse.Namespace, kafka: KafkaSettings, log: PlanLog, ends: dict[int, TalliesEnd]) -> PlanHeader:
    rule, selector = replace(await _rule(arguments, kafka), into=await _into(arguments)), selector_of(arguments)
    ranges = {}
    for partition in _partitions(selector, kafka):
        if partition in ends:
            found = await log.range_of(partition, ends[partition], selector.from_ms, selector.to_ms)
            if found.start < found.end:
                ranges[partition] = found
    if rule.to_customer:
        home = partition_of(rule.to_customer, kafka.partitions)
        if home not in ends:
            raise NothingPlanned(f"nothing was ever counted in partition {home}, which is that of {rule.to_customer}: there is no chain to adjust")
        end = ends[home]
        ranges.setdefault(home, PlannedRange(end.end, end.end, end.base, end.chain_id))
    if not any(each.start < each.end for each in ranges.values()):
        raise NothingPlanned("no tally covers what is selected: nothing of it was counted")
    return PlanHeader(rule, selector, SystemClock().now_ms(), ranges, MINUTE_MS)


async def _refuse_latest(kafka: KafkaSettings, meters: Set[str]) -> None:
    """Raise NothingPlanned where a plan is about such a meter by name. One about all meters leaves them as they are."""
    of_latest = {name for version in await published_versions(kafka) for name in version.catalogue.of_latest}
    if found := sorted(meters & of_latest):
        raise NothingPlanned(f"{', '.join(found)} {LATEST_NOT_PLANNED}")


async def _into(arguments: argparse.Namespace) -> IntoCurrent | None:
    return await into_current(arguments) if arguments.into_current else None


async def _rule(arguments: argparse.Namespace, kafka: KafkaSettings) -> PlanRule:
    if arguments.take_out:
        return PlanRule(AdjustmentKind.TAKE_OUT)
    if arguments.move_to:
        return PlanRule(AdjustmentKind.MOVE, to_customer=arguments.move_to)
    catalogue = catalogue_with(arguments.count, await published_versions(kafka), _file(arguments))
    if arguments.count in catalogue.of_latest:
        raise NothingPlanned(f"{arguments.count} {LATEST_NOT_PLANNED}")
    return PlanRule(AdjustmentKind.COUNT, meter=arguments.count, definition=catalogue.definition)


def catalogue_with(meter: str, versions: Sequence[CatalogueVersion], file: Catalogue) -> Catalogue:
    """The newest published version that has the meter; the settings file where nothing is published. Says on stderr where both differ.

    Raises NothingPlanned for a meter that nobody could send.
    """
    if not versions:
        if meter not in file.by_name:
            raise NothingPlanned(f"the settings file has no meter {meter!r}; it has {', '.join(file.by_name)}")
        return file
    found = next((version for version in reversed(versions) if meter in version.catalogue.by_name), None)
    if found is None:
        way_out = "publish it with taximeter meters apply" if meter in file.by_name else f"there are {', '.join(meters_of_all(versions, file))}"
        raise NothingPlanned(f"no published version has the meter {meter!r}: {way_out}")
    if meter in file.by_name and file.by_name[meter].definition != found.catalogue.by_name[meter].definition:
        differs = "the settings file defines it otherwise: taximeter meters plan"
        print(f"taximeter: {meter} is counted as version {found.number} defines it; {differs}", file=sys.stderr)
    return found.catalogue


def _file(arguments: argparse.Namespace) -> Catalogue:
    try:
        return catalogue_of(load_configuration({}, environ=os.environ, file=arguments.config, check_file=catalogue_problems).file)
    except SettingsError as error:
        told(error.problems)
        raise NotConfigured from None


def _partitions(selector: UsageSelector, kafka: KafkaSettings) -> list[int]:
    """Those that may have what is selected: a customer's usage is counted in one of them."""
    found = set(range(kafka.partitions))
    if selector.partitions:
        found &= set(selector.partitions)
    if selector.customers:
        found &= {partition_of(customer, kafka.partitions) for customer in selector.customers}
    return sorted(found)


def _problems(book: PlanBook, draft: PlanHeader) -> list[str]:
    return [
        f"plan {short(each.plan)} ({each.kind}, by {each.by}) about the same usage is {book.state_of(each)}, with {each.accepted} of"
        f" {each.planned or '?'} parts: apply it to its end, or abandon it and take it back, and plan again"
        for each in in_the_way(book, draft)
    ]


def progress(stream: TextIO, what: str, unit: str) -> Callable[[int, int], None]:
    """Tells how far it is, how quickly it goes, and how long it will take: on a terminal in place, else a line now and then."""
    began = told_at = time.monotonic()
    done = 0
    every = 0.5 if stream.isatty() else PLAN_TOLD_SECONDS

    def tell(count: int, total: int) -> None:
        nonlocal told_at, done
        done += count
        now = time.monotonic()
        if now - told_at < every:
            return
        told_at, rate = now, done / max(now - began, 1e-9)
        left = f", about {(total - done) / rate:,.0f} s left" if total and rate else ""
        of = f" of {total:,}" if total else ""
        ends = "\r" if stream.isatty() else "\n"
        print(f"{what}: {done:,}{of} {unit}, {rate:,.0f}/s{left}", end=ends, file=stream, flush=True)

    return tell
