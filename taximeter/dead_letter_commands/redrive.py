"""`taximeter deadletters redrive`: take events back, each once, edited if that is what they need."""

import argparse
import asyncio
import getpass
import os
import sys
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from taximeter_emitter.clock import SystemClock

from aggregator.dead_letters.letter_book import LetterBook
from aggregator.dead_letters.redrive_plan import Judged, RedrivePlan, RedriveRules, RedriveVerdict, plan_redrive
from aggregator.dead_letters.redriving import DeadLetterLog, NotRedriven, Signature
from aggregator.settings import AggregatorSettings
from metering.configuration.settings import SettingsError
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader, LogUnavailable
from metering.process.service_command import Configuration, load_configuration
from metering.records.fail_closed import FailClosed
from metering.records.ledger_records import BY_CHARS_MAX, REASON_CHARS_MAX
from metering.records.meters import Catalogue, catalogue_of, catalogue_problems
from metering.records.redrive import EDITS_MAX, Edit
from taximeter.connection import NotConfigured
from taximeter.dead_letter_commands.listing import selected_of
from taximeter.dead_letter_commands.selection import selector_of
from taximeter.exit_codes import DISCREPANCY, FAILED, OK, PRECONDITION, USAGE
from taximeter.stripe_commands.running import print_json

WHY_SHOWN: Final = 10


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when all that was selected is taken back or would be, 2 when some would be set aside again, 1 when nothing was done."""
    configuration = _configuration(arguments)
    problems = _problems(arguments)
    for problem in problems:
        print(f"taximeter: {problem}", file=sys.stderr)
    if problems:
        return USAGE
    try:
        return asyncio.run(_redrive(arguments, configuration))
    except NotRedriven as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return FAILED
    except LogUnavailable as error:
        print(f"taximeter: {error}; what is written down is done to its end by the same command", file=sys.stderr)
        return PRECONDITION
    except FailClosed as error:
        print(f"taximeter: the log cannot be trusted: {error}", file=sys.stderr)
        return DISCREPANCY


def _configuration(arguments: argparse.Namespace) -> Configuration:
    try:
        return load_configuration(
            {"kafka": KafkaSettings, "aggregator": AggregatorSettings}, environ=os.environ, file=arguments.config, check_file=catalogue_problems
        )
    except SettingsError as error:
        for problem in error.problems:
            print(f"taximeter: {problem}", file=sys.stderr)
        raise NotConfigured from None


def _problems(arguments: argparse.Namespace) -> list[str]:
    problems = [
        f"{name} may be given at most {EDITS_MAX} times"
        for name, given in (("--rename", arguments.rename), ("--drop", arguments.drop))
        if len(given) > EDITS_MAX
    ]
    if arguments.dry_run:
        return problems
    for name, text, bound in (("--reason", arguments.reason or "", REASON_CHARS_MAX), ("--by", arguments.by or getpass.getuser(), BY_CHARS_MAX)):
        if not text.strip() or len(text) > bound:
            problems.append(f"{name} must be 1 to {bound} characters; --dry-run shows what would be done without it")
    if not arguments.yes and (arguments.json or not sys.stdin.isatty()):
        problems.append("nobody can be asked here: add --yes, or --dry-run")
    return problems


async def _redrive(arguments: argparse.Namespace, configuration: Configuration) -> int:
    kafka, catalogue = configuration.of(KafkaSettings), catalogue_of(configuration.file)
    reader, appender = LogReader(kafka, "redrive-reader"), Appender(kafka, "redrive-appender")
    try:
        log = DeadLetterLog(reader, kafka.topics, partitions=kafka.partitions, clock=SystemClock())
        planned = await _plan(arguments, configuration, log, appender)
        plans = [plan for _, plan in planned]
        if not arguments.json:
            _show(plans, catalogue)
        verdicts = Counter(each.verdict for plan in plans for each in plan.judged)
        written = 0
        if not arguments.dry_run and verdicts[RedriveVerdict.COUNTED] + verdicts[RedriveVerdict.KNOWN]:
            if not arguments.yes and not _agreed():
                print("nothing was done", file=sys.stderr)
                return FAILED
            written = await _write(arguments, log, planned, appender)
        if arguments.json:
            print_json(as_json(plans, catalogue, written))
        return DISCREPANCY if verdicts[RedriveVerdict.FAILS] else OK
    finally:
        await reader.close()
        await appender.close()


async def _plan(
    arguments: argparse.Namespace, configuration: Configuration, log: DeadLetterLog, appender: Appender
) -> list[tuple[LetterBook, RedrivePlan]]:
    """What would become of each selected event, partition by partition."""
    horizon_ms = round(configuration.of(AggregatorSettings).deduplication_horizon_seconds * 1000)
    rules = RedriveRules(catalogue_of(configuration.file), SystemClock().now_ms(), horizon_ms)
    selector, edit = selector_of(arguments), _edit(arguments)
    planned = []
    for partition in sorted(selector.partitions) or range(configuration.of(KafkaSettings).partitions):
        book = await log.read(partition)
        await _finish(log, book, appender, arguments)
        plan = plan_redrive(book, [found.place for found in selected_of(book, selector)], edit, rules)
        await log.look_up(plan)
        planned.append((book, plan))
    return planned


async def _write(arguments: argparse.Namespace, log: DeadLetterLog, planned: Sequence[tuple[LetterBook, RedrivePlan]], appender: Appender) -> int:
    """Take them back; returns how many events were written."""
    signature = Signature(arguments.reason, arguments.by or getpass.getuser())
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


def _agreed() -> bool:
    return input("Do it? [y/N] ").strip().lower() in {"y", "yes"}


async def _finish(log: DeadLetterLog, book: LetterBook, appender: Appender, arguments: argparse.Namespace) -> None:
    """Do to its end what was written down and interrupted."""
    if arguments.dry_run:
        return
    for offset in sorted(book.unfinished):
        await log.write(book, book.redrives[offset], appender)
        _tell(arguments, f"partition {book.partition}: the redrive at {offset}, which was interrupted, is done now")


def _tell(arguments: argparse.Namespace, line: str) -> None:
    print(line, file=sys.stderr if arguments.json else sys.stdout, flush=True)


def _show(plans: Sequence[RedrivePlan], catalogue: Catalogue) -> None:
    judged = [each for plan in plans for each in plan.judged]
    verdicts = Counter(each.verdict for each in judged)
    print(
        f"{len(judged):,} events are open and selected: "
        + (", ".join(f"{verdicts[one]:,} {one}" for one in RedriveVerdict if verdicts[one]) or "none")
    )
    units = _units(plans, catalogue)
    for meter, quantity in sorted(units.items()):
        print(f"  {quantity:,} units more of {meter}, for {_customers(judged):,} customers")
    reasons = Counter(each.why for each in judged if each.why)
    for why, count in reasons.most_common(WHY_SHOWN):
        print(f"  {count:,}: {why}")
    if len(reasons) > WHY_SHOWN:
        print(f"  and {len(reasons) - WHY_SHOWN:,} more reasons; see --json")


def _units(plans: Sequence[RedrivePlan], catalogue: Catalogue) -> Counter[str]:
    units: Counter[str] = Counter()
    for plan in plans:
        units.update(plan.units(catalogue))
    return units


def _customers(judged: Sequence[Judged]) -> int:
    return len({each.event.customer for each in judged if each.event is not None and each.verdict is RedriveVerdict.COUNTED})


def as_json(plans: Sequence[RedrivePlan], catalogue: Catalogue, written: int) -> dict[str, Any]:
    """For `--json`."""
    judged = [each for plan in plans for each in plan.judged]
    verdicts = Counter(each.verdict for each in judged)
    return {
        "schema": "taximeter.redrive/1",
        "selected": len(judged),
        "counted": verdicts[RedriveVerdict.COUNTED],
        "known": verdicts[RedriveVerdict.KNOWN],
        "fails": verdicts[RedriveVerdict.FAILS],
        "units": {meter: str(quantity) for meter, quantity in sorted(_units(plans, catalogue).items())},
        "customers": _customers(judged),
        "why": dict(Counter(each.why for each in judged if each.why).most_common()),
        "written": written,
    }
