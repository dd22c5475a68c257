"""`taximeter deadletters redrive`: take events back, each once, edited if that is what they need."""

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, Final

from taximeter_emitter.clock import SystemClock

from aggregator.dead_letters.letter_book import LetterBook
from aggregator.dead_letters.redrive_plan import Judged, RedrivePlan, RedriveRules, RedriveVerdict, plan_redrive
from aggregator.dead_letters.redriving import DeadLetterLog, NotRedriven, Signature
from aggregator.settings import AggregatorSettings
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader
from metering.process.service_command import Configuration
from metering.records.fail_closed import RecordUnreadable
from metering.records.meters import Catalogue, catalogue_of, catalogue_problems
from metering.records.redrive import EDITS_MAX, Edit
from taximeter.account_prices import PlanMoney, plan_money
from taximeter.before_writing import agreed, author, told, writing_problems
from taximeter.catalogue_in_force import catalogue_in_force
from taximeter.connection import configuration_of, run_on_logs
from taximeter.dead_letter_commands.listing import selected_of
from taximeter.exit_codes import DISCREPANCY, FAILED, OK, USAGE
from taximeter.selection import selector_of
from taximeter.stripe_commands.running import print_json

WHY_SHOWN: Final = 10


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when all that was selected is taken back or would be, 2 when some would be set aside again, 1 when nothing was done."""
    configuration = configuration_of(arguments, {"kafka": KafkaSettings, "aggregator": AggregatorSettings}, check_file=catalogue_problems)
    if told(_problems(arguments)):
        return USAGE
    interrupted = "; what is written down is done to its end by the same command"
    return run_on_logs(_redrive(arguments, configuration), refusals=(NotRedriven,), interrupted=interrupted)


def _problems(arguments: argparse.Namespace) -> list[str]:
    problems = [
        f"{name} may be given at most {EDITS_MAX} times"
        for name, given in (("--rename", arguments.rename), ("--drop", arguments.drop))
        if len(given) > EDITS_MAX
    ]
    return problems if arguments.dry_run else problems + writing_problems(arguments, instead="--dry-run")


async def _redrive(arguments: argparse.Namespace, configuration: Configuration) -> int:
    kafka = configuration.of(KafkaSettings)
    reader, appender = LogReader(kafka, "redrive-reader"), Appender(kafka, "redrive-appender")
    try:
        catalogue = await catalogue_in_force(reader, kafka.topics, catalogue_of(configuration.file), SystemClock().now_ms())
        log = DeadLetterLog(reader, kafka.topics, partitions=kafka.partitions, clock=SystemClock())
        planned = await _plan(arguments, configuration, catalogue, log, appender)
        plans = [plan for _, plan in planned]
        money = await plan_money(arguments)
        if not arguments.json:
            _show(plans, catalogue, money)
        verdicts = Counter(each.verdict for plan in plans for each in plan.judged)
        written = 0
        if not arguments.dry_run and verdicts[RedriveVerdict.COUNTED] + verdicts[RedriveVerdict.KNOWN]:
            if not arguments.yes and not agreed():
                print("nothing was done", file=sys.stderr)
                return FAILED
            written = await _write(arguments, log, planned, appender)
        if arguments.json:
            print_json(as_json(plans, catalogue, money, written))
        return DISCREPANCY if verdicts[RedriveVerdict.FAILS] else OK
    finally:
        await reader.close()
        await appender.close()


async def _plan(
    arguments: argparse.Namespace, configuration: Configuration, catalogue: Catalogue, log: DeadLetterLog, appender: Appender
) -> list[tuple[LetterBook, RedrivePlan]]:
    """What would become of each selected event, partition by partition."""
    horizon_ms = round(configuration.of(AggregatorSettings).deduplication_horizon_seconds * 1000)
    rules = RedriveRules(catalogue, SystemClock().now_ms(), horizon_ms)
    selector, edit = selector_of(arguments), _edit(arguments)
    planned = []
    for partition in sorted(selector.partitions) or range(configuration.of(KafkaSettings).partitions):
        book = await log.read(partition, partial(_tell_damage, partition))
        await _finish(log, book, appender, arguments)
        plan = plan_redrive(book, [found.place for found in selected_of(book, selector)], edit, rules)
        await log.look_up(plan)
        planned.append((book, plan))
    return planned


def _tell_damage(partition: int, start: int, end: int, error: RecordUnreadable) -> None:
    print(
        f"taximeter: partition {partition}: dead letters {start} to {end - 1} cannot be read: {error}. What a redrive in them may have taken back is"
        " left as it is (taximeter deadletters list calls it doubtful): let a broker lead that has a sound copy",
        file=sys.stderr,
    )


async def _write(arguments: argparse.Namespace, log: DeadLetterLog, planned: Sequence[tuple[LetterBook, RedrivePlan]], appender: Appender) -> int:
    """Take them back; returns how many events were written."""
    signature = Signature(arguments.reason, author(arguments))
    total = sum(each.verdict is RedriveVerdict.COUNTED for _, plan in planned for each in plan.judged)
    written = 0
    for book, plan in planned:
        for part in plan.parts():
            await log.redrive(book, part, _edit(arguments), signature, appender)
            written += sum(each.verdict is RedriveVerdict.COUNTED for each in part)
            _tell(arguments, f"partition {book.partition}: {written:,} of {total:,} events are in usage.events")
    return written


def _edit(arguments: argparse.Namespace) -> Edit:
    return Edit(tuple(arguments.rename), tuple(arguments.drop), arguments.set_customer, arguments.without_ids)


async def _finish(log: DeadLetterLog, book: LetterBook, appender: Appender, arguments: argparse.Namespace) -> None:
    """Do to its end what was written down and interrupted."""
    if arguments.dry_run:
        return
    for offset in sorted(book.unfinished):
        await log.write(book, book.redrives[offset], appender)
        _tell(arguments, f"partition {book.partition}: the redrive at {offset}, which was interrupted, is done now")


def _tell(arguments: argparse.Namespace, line: str) -> None:
    print(line, file=sys.stderr if arguments.json else sys.stdout, flush=True)


def _show(plans: Sequence[RedrivePlan], catalogue: Catalogue, money: PlanMoney) -> None:
    judged = [each for plan in plans for each in plan.judged]
    verdicts = Counter(each.verdict for each in judged)
    print(
        f"{len(judged):,} events are open and selected: "
        + (", ".join(f"{verdicts[one]:,} {one}" for one in RedriveVerdict if verdicts[one]) or "none")
    )
    units = _units(plans, catalogue)
    for meter, quantity in sorted(_by_meter(units).items()):
        print(f"  {quantity:,} units more of {meter}, for {_customers(judged):,} customers")
    for line in money.lines(_entries(units)) if units else ():
        print(f"  {line}")
    reasons = Counter(each.why for each in judged if each.why)
    for why, count in reasons.most_common(WHY_SHOWN):
        print(f"  {count:,}: {why}")
    if len(reasons) > WHY_SHOWN:
        print(f"  and {len(reasons) - WHY_SHOWN:,} more reasons; see --json")


def _units(plans: Sequence[RedrivePlan], catalogue: Catalogue) -> Counter[tuple[str, str]]:
    """Units by meter and customer."""
    units: Counter[tuple[str, str]] = Counter()
    for plan in plans:
        units.update(plan.units(catalogue))
    return units


def _by_meter(units: Counter[tuple[str, str]]) -> Counter[str]:
    summed: Counter[str] = Counter()
    for (meter, _), quantity in units.items():
        summed[meter] += quantity
    return summed


def _entries(units: Counter[tuple[str, str]]) -> list[tuple[str, int]]:
    """Meter and units of each customer, as prices are asked: as if all were of one billing period."""
    return [(meter, quantity) for (meter, _), quantity in units.items()]


def _customers(judged: Sequence[Judged]) -> int:
    return len({each.event.customer for each in judged if each.event is not None and each.verdict is RedriveVerdict.COUNTED})


def as_json(plans: Sequence[RedrivePlan], catalogue: Catalogue, money: PlanMoney, written: int) -> dict[str, Any]:
    """For `--json`."""
    units = _units(plans, catalogue)
    judged = [each for plan in plans for each in plan.judged]
    verdicts = Counter(each.verdict for each in judged)
    return {
        "schema": "taximeter.redrive/1",
        "selected": len(judged),
        "counted": verdicts[RedriveVerdict.COUNTED],
        "known": verdicts[RedriveVerdict.KNOWN],
        "fails": verdicts[RedriveVerdict.FAILS],
        "units": {meter: str(quantity) for meter, quantity in sorted(_by_meter(units).items())},
        "money": money.as_json(_entries(units)),
        "customers": _customers(judged),
        "why": dict(Counter(each.why for each in judged if each.why).most_common()),
        "written": written,
    }
