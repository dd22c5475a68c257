"""`taximeter replay list` and `show`: the plans that the log has, and how far they are."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from rich.table import Table
from taximeter_emitter.clock import SystemClock

from audit.adjustments.plan_book import LoggedPlan, PlanBook, PlanState
from audit.adjustments.plan_reading import PlanLog
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.records.adjustment import short
from taximeter.connection import kafka_settings, run_on_logs
from taximeter.exit_codes import OK, PENDING
from taximeter.import_commands.import_directory import ImportDirectory
from taximeter.import_commands.listing_imports import read_imports, show_import_plan, show_imports
from taximeter.replay_commands.plan import progress
from taximeter.replay_plans.account_periods import account_periods
from taximeter.replay_plans.plan_directory import PlanDirectory, PlanUnusable
from taximeter.replay_plans.plan_summary import PlanSummary
from taximeter.replay_plans.planning import completed
from taximeter.replay_plans.replay_text import described, header_as_json, plan_as_json, show_plan
from taximeter.stripe_commands.running import console, print_json, shown

PLANS_SCHEMA: Final = "taximeter.plans/1"


class NoSuchPlan(Exception):
    """The log has no such plan, or several; the message says which there are."""


def list_plans(arguments: argparse.Namespace) -> int:
    """Every plan that the log has, and how far it is.

    Exit code 5 when one is unfinished, 0 otherwise.
    """

    async def command() -> int:
        kafka = kafka_settings(arguments)
        book, imports = await read_plans(kafka), await read_imports(kafka)
        plans = book.in_order()
        if arguments.json:
            known = {"plans": [as_json(book, plan) for plan in plans], "imports": [each.as_json() for each in imports]}
            print_json({"schema": PLANS_SCHEMA, **known})
        else:
            _show_table(book, plans)
            show_imports(imports)
        unfinished = [plan for plan in plans if book.state_of(plan) is PlanState.UNFINISHED]
        return PENDING if unfinished or not all(each.is_done for each in imports) else OK

    return run_on_logs(command())


def show(arguments: argparse.Namespace) -> int:
    """One plan, of the log or in a directory."""
    if ImportDirectory(Path(arguments.plan)).holds_import:
        return show_import_plan(arguments)
    directory = PlanDirectory(Path(arguments.plan))

    async def command() -> int:
        kafka = kafka_settings(arguments)
        if directory.is_complete:
            await _show_directory(arguments, directory, kafka)
            return OK
        book = await read_plans(kafka)
        plan = find_plan(book, arguments.plan)
        if arguments.json:
            print_json({"schema": PLANS_SCHEMA, "plans": [as_json(book, plan)]})
        else:
            _show_plan(book, plan)
        return OK

    return run_on_logs(command(), refusals=(NoSuchPlan, PlanUnusable))


async def read_plans(kafka: KafkaSettings) -> PlanBook:
    """All plans of the log. Blocks on Kafka; raises LogUnavailable or FailClosed."""
    events, tallies = LogReader(kafka, "replay-events"), LogReader(kafka, "replay-tallies")
    try:
        tell = progress(sys.stderr, "reading what is counted", "tallies")
        book, _ = await PlanLog(events, tallies, kafka.topics).book(range(kafka.partitions), lambda count: tell(count, 0))
        return book
    finally:
        await events.close()
        await tallies.close()


def find_plan(book: PlanBook, name: str) -> LoggedPlan:
    """The plan whose name begins so. Raises NoSuchPlan."""
    try:
        found = book.find(name)
    except ValueError as error:
        raise NoSuchPlan(str(error)) from None
    if found is None:
        known = ", ".join(short(plan.plan) for plan in book.in_order()[-10:]) or "none"
        raise NoSuchPlan(f"the log has no plan {name}; the latest are: {known}")
    return found


def as_json(book: PlanBook, plan: LoggedPlan) -> dict[str, Any]:
    """One plan of the log."""
    return {
        "plan": plan.plan,
        "kind": plan.kind.value,
        "state": book.state_of(plan).value,
        "by": plan.by,
        "reason": plan.reason,
        "first_at_ms": plan.first_at_ms,
        "parts": plan.accepted,
        "planned_parts": plan.planned,
        "units": {meter: str(units) for meter, units in sorted(plan.units.items())},
        "reverted_by": plan.reverted_by,
        "partitions": {str(partition): [part.offset for part in parts] for partition, parts in sorted(plan.parts.items())},
        "header": None if plan.header is None else header_as_json(plan.header),
        "problem": plan.problem,
    }


async def _show_directory(arguments: argparse.Namespace, directory: PlanDirectory, kafka: KafkaSettings) -> None:
    account = await account_periods(arguments, SystemClock())
    summary = PlanSummary(account.clock)
    header = completed(directory, kafka, summary.add_part)
    if arguments.json:
        print_json(await plan_as_json(arguments, header, directory, summary, account))
    else:
        await show_plan(arguments, header, directory, summary, account)


def _show_table(book: PlanBook, plans: Sequence[LoggedPlan]) -> None:
    if not plans:
        print("the log has no plans")
        return
    table = Table()
    for heading in ("plan", "what", "state", "parts", "units", "begun", "by", "why"):
        table.add_column(heading, justify="right" if heading == "parts" else "left", overflow="fold")
    for plan in plans:
        what = plan.kind.value if plan.header is None else described(plan.header)
        parts = f"{plan.accepted:,} of {plan.planned:,}"
        table.add_row(short(plan.plan), what, book.state_of(plan), parts, _units(plan), shown(plan.first_at_ms // 1000), plan.by, plan.reason)
    console().print(table)


def _show_plan(book: PlanBook, plan: LoggedPlan) -> None:
    what = plan.kind.value if plan.header is None else described(plan.header)
    print(f"plan {plan.plan}: {what}, {book.state_of(plan)}, {plan.accepted:,} of {plan.planned:,} parts")
    print(f"  begun {shown(plan.first_at_ms // 1000)} by {plan.by}: {plan.reason}")
    if plan.header is None:
        print(f"  its header cannot be used: {plan.problem}")
    else:
        conditions = ", ".join(f"{name} {value}" for name, value in plan.header.selector.as_document().items()) or "everything"
        print(f"  it selects {conditions}; planned {shown(plan.header.planned_ms // 1000)}")
    print(f"  units: {_units(plan)}")
    for partition, parts in sorted(plan.parts.items()):
        print(f"  partition {partition}: {len(parts):,} parts, the first at tally {parts[0].offset}, the last at tally {parts[-1].offset}")
    for name in plan.reverted_by:
        print(f"  taken back by plan {short(name)}, which is {book.state_of(book.plans[name])}")


def _units(plan: LoggedPlan) -> str:
    return ", ".join(f"{units:+,} {meter}" for meter, units in sorted(plan.units.items())) or "none"
