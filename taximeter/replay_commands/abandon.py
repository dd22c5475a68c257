"""`taximeter replay abandon`: let a plan that began not go on."""

import argparse
import secrets
import sys

from taximeter_emitter.clock import SystemClock

from audit.adjustments.plan_book import PlanState
from audit.adjustments.plan_reading import PlanLog
from metering.folds.plan_progress import BegunPlan, NotAdjusted
from metering.kafka.adjustment_writer import AdjustmentWriter
from metering.kafka.partition_log import Appender, LogReader
from metering.records.adjustment import AdjustmentKind, short
from taximeter.before_writing import agreed, author, told, writing_problems
from taximeter.connection import kafka_settings, run_on_logs
from taximeter.exit_codes import FAILED, OK, USAGE
from taximeter.replay_commands.plan import progress
from taximeter.replay_commands.plans import NoSuchPlan, find_plan
from taximeter.stripe_commands.running import print_json


class NotAbandoned(Exception):
    """The plan is not to be abandoned; the message says why."""


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when no more parts of the plan come."""
    if told(writing_problems(arguments)):
        return USAGE
    return run_on_logs(_abandon(arguments), refusals=(NoSuchPlan, NotAbandoned, NotAdjusted))


async def _abandon(arguments: argparse.Namespace) -> int:
    kafka = kafka_settings(arguments)
    events, tallies = LogReader(kafka, "replay-events"), LogReader(kafka, "replay-tallies")
    appender = Appender(kafka, "replay-appender")
    try:
        tell = progress(sys.stderr, "reading what is counted", "tallies")
        book, _ = await PlanLog(events, tallies, kafka.topics).book(range(kafka.partitions), lambda count: tell(count, 0))
        plan = find_plan(book, arguments.plan)
        name, header = short(plan.plan), plan.header
        if header is None:
            raise NotAbandoned(f"the header of plan {name} cannot be used: {plan.problem}")
        if plan.kind is AdjustmentKind.REVERT:
            raise NotAbandoned(f"plan {name} takes another one back: half of it would leave that one half. Apply it to its end")
        if book.state_of(plan) is not PlanState.UNFINISHED:
            raise NotAbandoned(f"plan {name} is {book.state_of(plan)}: no more parts of it come anyway")
        if not arguments.json:
            print(f"plan {name}, {plan.kind} by {plan.by}: {plan.accepted} of {plan.planned} parts are in the log, and stay; no more will come")
        if not arguments.yes and not agreed("Abandon it?"):
            print("nothing was done", file=sys.stderr)
            return FAILED
        writer = AdjustmentWriter(tallies, appender, kafka.topics.tallies.name, instance=f"replay-{secrets.token_hex(4)}", clock=SystemClock())
        for partition in header.parts:
            digests = [part.digest for part in plan.parts.get(partition, ())]
            begun = BegunPlan(partition, header.text, header.rule.kind, digests, arguments.reason, author(arguments))
            await writer.abandon(begun, header.ranges[partition].base)
    finally:
        await events.close()
        await tallies.close()
        await appender.close()
    if arguments.json:
        print_json({"schema": "taximeter.abandoned/1", "plan": plan.plan, "parts": plan.accepted, "planned": plan.planned})
    else:
        print(f"plan {name} is abandoned. What it wrote still counts; take it back: taximeter replay revert {name} --out DIR")
    return OK
