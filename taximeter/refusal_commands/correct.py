"""`taximeter correct`: take back, or send again, one meter event, or all that are selected.

What a selection or a plan names is shown with units and money, and then corrected, each meter event once.
"""

import argparse
import asyncio
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, Final

from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.partitioner import partition_of

from metering.folds.corrections import TAKEN, Corrected, CorrectionPlace, MeterEventPlace, Target, place_of
from metering.following.published_meters import meters_of_all
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader
from metering.process.service_command import Configuration
from metering.records.chain import NO_OFFSET
from metering.records.meters import catalogue_of, catalogue_problems
from metering.records.notes.resolution import Resolved
from reporter.correcting import NotCorrectable
from reporter.resolving import Decision, Resolving
from taximeter.account_prices import PlanMoney, plan_money
from taximeter.before_writing import agreed, author, told, writing_problems
from taximeter.catalogue_in_force import published_versions
from taximeter.commands.correct import run as correct_one
from taximeter.connection import configuration_of, run_on_logs
from taximeter.exit_codes import DISCREPANCY, FAILED, OK, PENDING, USAGE
from taximeter.links_now import links_now
from taximeter.refusal_commands.correction_plan import (
    PLAN_AGE_MAX_MS,
    CorrectionPlan,
    CorrectionStep,
    NoPlan,
    PlannedStep,
    plan_refusals,
    stale,
)
from taximeter.refusal_commands.plan_file import read_plan
from taximeter.refusal_commands.refused_selection import partitions_of, read_refusals, selected, selection_problems
from taximeter.refusal_commands.stripe_lookup import LookedUp, look_up
from taximeter.stripe_commands.running import print_json

STEPS_SHOWN: Final = 20
TOLD_EVERY_SECONDS: Final = 5.0
INTERRUPTED_HINT: Final = "; what is written stands, and the same command does the rest"
SAYS: Final = {
    CorrectionStep.RESEND: "sent again",
    CorrectionStep.MOVE: "billed to another customer",
    CorrectionStep.FOUND: "noted as taken: Stripe has them",
    CorrectionStep.LOST: "noted as lost, and sent again",
}


@dataclass(slots=True)
class CarriedOut:
    """What was done: corrections that the reporter now sends, how many are only noted, and why others were left."""

    corrected: list[Corrected] = field(default_factory=list)
    noted: int = 0
    left: Counter[str] = field(default_factory=Counter)


def run(arguments: argparse.Namespace) -> int:
    """Exit codes as the command's help says."""
    is_correction = arguments.identifier is not None and isinstance(place_of(arguments.identifier), CorrectionPlace)
    if arguments.identifier is not None and (arguments.undo or (arguments.resend and not is_correction)) and not arguments.plan:
        return correct_one(arguments)
    configuration = configuration_of(arguments, {"kafka": KafkaSettings}, check_file=catalogue_problems)
    if told(_problems(arguments, configuration.of(KafkaSettings))):
        return USAGE
    return run_on_logs(_correct(arguments, configuration), refusals=(NoPlan,), interrupted=INTERRUPTED_HINT)


def _problems(arguments: argparse.Namespace, kafka: KafkaSettings) -> list[str]:
    problems = selection_problems(kafka, arguments)
    if arguments.undo:
        problems.append("--undo takes the identifier of one meter event, and no --plan: without --yes it shows what it would do, and asks")
    elif arguments.identifier is not None and place_of(arguments.identifier) is None:
        problems.append(f"{arguments.identifier!r} is no identifier of a meter event (tm-...)")
    elif arguments.apply is None and not arguments.resend and arguments.to_customer is None:
        problems.append("say --resend, --to-customer or --apply, or name one meter event")
    return problems if arguments.plan else problems + writing_problems(arguments, instead="--plan")


async def _correct(arguments: argparse.Namespace, configuration: Configuration) -> int:
    kafka = configuration.of(KafkaSettings)
    plan = await _plan(arguments, kafka)
    meters = meters_of_all(await published_versions(kafka), catalogue_of(configuration.file))
    for each in [each for each in plan.steps if each.sends and each.meter not in meters]:
        plan.steps.remove(each)
        plan.skipped[f"its meter {each.meter} is in no version of the meters: put it into the settings file, and taximeter meters apply"] += 1
    sending = [each for each in plan.steps if each.sends]
    looked = await look_up(arguments, {each.billed_customer for each in sending}, {each.meter for each in sending}) if sending else LookedUp()
    _drop_unrecordable(plan, looked)
    money = await plan_money(arguments)
    if not arguments.json:
        _show(plan, money, looked)
    done = CarriedOut()
    code = OK if plan.is_complete else DISCREPANCY
    if not arguments.plan and plan.steps:
        if not arguments.yes and not agreed():
            print("nothing was done", file=sys.stderr)
            return FAILED
        done, code = await _carry_out(arguments, kafka, plan)
    if arguments.json:
        print_json({**plan.as_json(), **money.as_json(plan.units.items()), "doubt": looked.doubt, **as_json(done)})
    return code


async def _plan(arguments: argparse.Namespace, kafka: KafkaSettings) -> CorrectionPlan:
    """From its file, or what is to be done about the selected refusals. Raises NoPlan."""
    if arguments.apply is not None:
        return await _saved_plan(arguments, kafka)
    plan = CorrectionPlan(int(time.time() * 1000))
    place = place_of(arguments.identifier) if arguments.identifier else None
    if place is not None:
        arguments.partition = [place.partition]
    links = await links_now(kafka)
    for refusals in await read_refusals(kafka, arguments):
        plan_refusals(refusals, selected(refusals.events, arguments), plan, links, arguments.to_customer or "")
    return plan


async def _saved_plan(arguments: argparse.Namespace, kafka: KafkaSettings) -> CorrectionPlan:
    """As it was written down, without what no longer rests on what Stripe's sums showed last."""
    plan = read_plan(arguments.apply)
    if int(time.time() * 1000) - plan.made_at_ms > PLAN_AGE_MAX_MS:
        raise NoPlan("it is older than a day, and Stripe's sums may be others by now: plan again")
    evidence = {
        partition: found.evidence for partition, found in zip(partitions_of(kafka, arguments), await read_refusals(kafka, arguments), strict=True)
    }
    for each in list(plan.steps):
        place = place_of(each.identifier)
        partition = place.partition if isinstance(place, MeterEventPlace) else NO_OFFSET
        why = stale(each, evidence[partition]) if partition in evidence else "its partition is not selected"
        if why is not None:
            plan.steps.remove(each)
            plan.skipped[why] += 1
    return plan


def _drop_unrecordable(plan: CorrectionPlan, looked: LookedUp) -> None:
    """Stripe would take them now, and not record them."""
    for each in list(plan.steps):
        why = looked.objection(each.billed_customer, each.meter) if each.sends else None
        if why is not None:
            plan.steps.remove(each)
            successor = "; --to-customer bills another one" if each.billed_customer in looked.gone else ""
            plan.skipped[f"{why}{successor}"] += 1


async def _carry_out(arguments: argparse.Namespace, kafka: KafkaSettings, plan: CorrectionPlan) -> tuple[CarriedOut, int]:
    """Do it, and wait for outcomes if that is asked for; the exit code."""
    reader, appender = LogReader(kafka, "correct-reader"), Appender(kafka, "correct-appender")
    done = CarriedOut(left=Counter(plan.skipped))
    try:
        resolving = Resolving(reader, appender, kafka.topics, SystemClock())
        places = {each.identifier: place_of(each.identifier) for each in plan.steps}
        targets = await resolving.find(place for place in places.values() if place is not None)
        by_name = {target.identifier: target for target in targets.values()}
        told_at = time.monotonic()
        for number, each in enumerate(plan.steps):
            try:
                corrected = await _do(each, by_name.get(each.identifier), _signed(arguments), resolving, kafka.partitions)
            except NotCorrectable as error:
                done.left[str(error)] += 1
                continue
            done.noted += corrected is None
            done.corrected += [] if corrected is None else [corrected]
            if time.monotonic() - told_at >= TOLD_EVERY_SECONDS:
                told_at = time.monotonic()
                print(f"{number + 1:,} of {len(plan.steps):,} are in the ledger", file=sys.stderr, flush=True)
        _say(arguments, done)
        return done, await _outcome(arguments, resolving, done)
    finally:
        await reader.close()
        await appender.close()


async def _do(each: PlannedStep, target: Target | None, signed: Decision, resolving: Resolving, partitions: int) -> Corrected | None:
    """The correction; None where it is only noted that Stripe has it. Raises NotCorrectable."""
    if target is None:
        raise NotCorrectable("no accepted intent has a meter event of this identifier")
    if each.step in {CorrectionStep.LOST, CorrectionStep.FOUND} and target.fate.resolution is None:
        resolved = Resolved.AT_STRIPE if each.step is CorrectionStep.FOUND else Resolved.NOT_AT_STRIPE
        await resolving.resolve(target, Decision(resolved, signed.reason, signed.by, reads=each.reads))
    if each.step is CorrectionStep.FOUND:
        return None
    if isinstance(target.place, CorrectionPlace):
        return await resolving.repeat(target, signed)
    if not each.to_customer:
        return await resolving.resend(target, signed)
    decision = Decision(Resolved.MOVED, signed.reason, signed.by, to_customer=each.to_customer)
    await resolving.resolve(target, decision)
    return await resolving.bill(target, partition_of(each.to_customer, partitions), decision)


def _signed(arguments: argparse.Namespace) -> Decision:
    return Decision(Resolved.NOT_AT_STRIPE, arguments.reason, author(arguments))


async def _outcome(arguments: argparse.Namespace, resolving: Resolving, done: CarriedOut) -> int:
    if not done.corrected and not done.noted:
        return FAILED
    if arguments.wait is None:
        return DISCREPANCY if done.left else OK
    try:
        async with asyncio.timeout(arguments.wait):
            await resolving.outcomes(done.corrected)
    except TimeoutError:
        return PENDING
    if not arguments.json:
        outcomes = Counter(str(found.fate.outcome) for found in done.corrected)
        print("outcomes: " + (", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common()) or "none was sent"))
    if any(found.fate.outcome not in TAKEN for found in done.corrected):
        return FAILED
    return DISCREPANCY if done.left else OK


def _say(arguments: argparse.Namespace, done: CarriedOut) -> None:
    if arguments.json:
        return
    print(f"in the ledger now: {_of(len(done.corrected), 'correction')}, {_of(done.noted, 'note')} that Stripe has it; see taximeter corrections")
    for why, count in done.left.most_common():
        print(f"  left, {count:,}: {why}")


def _show(plan: CorrectionPlan, money: PlanMoney, looked: LookedUp) -> None:
    for step, count in Counter(each.step for each in plan.steps).items():
        customers = len({each.billed_customer for each in plan.steps if each.step is step})
        print(f"{_of(count, 'meter event')} of {_of(customers, 'customer')} to be {SAYS[step]}")
    for each in plan.steps[:STEPS_SHOWN]:
        other = f" -> {each.to_customer}" if each.to_customer else ""
        print(f"  {each.identifier}  {each.customer}{other}  {each.value:,} {each.meter}  {each.why}")
    if len(plan.steps) > STEPS_SHOWN:
        print(f"  and {len(plan.steps) - STEPS_SHOWN:,} more; see --json")
    for meter, units in sorted(plan.units.items()):
        print(f"{units:,} units more of {meter} at Stripe")
    for line in money.lines(plan.units.items()) if plan.units else []:
        print(f"  {line}")
    for why, count in plan.skipped.most_common():
        print(f"not done, {count:,}: {why}")
    if looked.doubt:
        print(f"whether Stripe will record it is not known: {looked.doubt}")
    if not plan.steps:
        print("nothing that is selected can be corrected")


def _of(count: int, what: str) -> str:
    return f"{count:,} {what}{'' if count == 1 else 's'}"


def as_json(done: CarriedOut) -> dict[str, Any]:
    """What was done, for `--json`."""
    return {
        "noted": done.noted,
        "corrections": [
            {
                "identifier": found.correction.identifier(),
                "target": found.correction.target_identifier,
                "kind": found.correction.kind.value,
                "customer": found.correction.event.customer,
                "outcome": found.fate.outcome,
            }
            for found in done.corrected
        ],
        "left": dict(done.left.most_common()),
    }
