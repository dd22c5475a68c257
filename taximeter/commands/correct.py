"""`taximeter correct`: take back, or send again, one meter event.

The meter event is named by its identifier at Stripe.
"""

import argparse
import asyncio
import sys
from datetime import UTC, datetime
from typing import Any

import orjson
from taximeter_emitter.clock import SystemClock

from metering.folds.corrections import TAKEN, Corrected, Target
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader
from metering.process.service_command import Configuration
from metering.records.ledger_records import CorrectionKind
from metering.records.meters import catalogue_of, catalogue_problems
from reporter.correcting import Correcting, NotCorrectable, Request, meter_event_place
from taximeter.before_writing import agreed, author, told, writing_problems
from taximeter.catalogue_in_force import meters_to_send
from taximeter.connection import configuration_of, run_on_logs
from taximeter.exit_codes import FAILED, OK, PENDING, USAGE
from taximeter.refusal_commands.stripe_lookup import LookedUp, look_up

SENDS_USAGE = frozenset({CorrectionKind.RESEND, CorrectionKind.NEGATE})
DOES = {
    CorrectionKind.CANCEL: "have Stripe cancel it, which it does within 24 hours of having received it",
    CorrectionKind.NEGATE: "send the same meter event with the negative value, because it can no longer be cancelled for certain",
    CorrectionKind.RESEND: "send the same meter event again, under a new identifier",
}


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when the correction is in the ledger, with --wait when Stripe has it and its customer; 5 while that is not known; else 1."""
    if told(writing_problems(arguments)):
        return USAGE
    request = Request(arguments.undo, arguments.reason, author(arguments))
    configuration = configuration_of(arguments, {"kafka": KafkaSettings}, check_file=catalogue_problems)
    return run_on_logs(_correct(arguments, configuration, request), refusals=(NotCorrectable,), about=f"{arguments.identifier}: ")


async def _correct(arguments: argparse.Namespace, configuration: Configuration, request: Request) -> int:
    kafka = configuration.of(KafkaSettings)
    place = meter_event_place(arguments.identifier, kafka.partitions)
    reader, appender = LogReader(kafka, "correct-reader"), Appender(kafka, "correct-appender")
    try:
        correcting = Correcting(reader, appender, kafka.topics, SystemClock(), place)
        target = await correcting.find()
        kind = correcting.kind(target, request)
        if target.event.meter not in await meters_to_send(reader, kafka.topics, catalogue_of(configuration.file)):
            raise NotCorrectable(
                f"its meter {target.event.meter} is in no version of the meters; no reporter could send anything: put it into the settings file, and"
                " publish it with taximeter meters apply"
            )
        event = target.event
        looked = await look_up(arguments, {event.billed}, {event.meter}) if kind in SENDS_USAGE else LookedUp()
        gone = looked.objection(event.billed, event.meter)
        if gone is not None:
            raise NotCorrectable(f"{gone}: Stripe would take the meter event now and not record it")
        if not arguments.json:
            _show(target, kind)
        if not arguments.yes and not agreed():
            print("nothing was done", file=sys.stderr)
            return FAILED
        corrected = await correcting.correct(request)
        if not arguments.json:
            own = corrected.correction.identifier()
            print(f"correction {corrected.offset} of partition {place.partition} is in the ledger; its identifier is {own}")
        code = OK if arguments.wait is None else await _wait(correcting, corrected, arguments.wait)
        if arguments.json:
            print(orjson.dumps(as_json(corrected), option=orjson.OPT_INDENT_2).decode())
        elif arguments.wait is not None:
            print(f"outcome: {corrected.fate.outcome or 'none yet; see taximeter corrections'}")
        if code == OK and arguments.wait is not None and looked.doubt:
            print(f"on its way: Stripe took it and looks its customer up later; {looked.doubt}; see taximeter stripe errors", file=sys.stderr)
            return PENDING
        return code
    finally:
        await reader.close()
        await appender.close()


async def _wait(correcting: Correcting, corrected: Corrected, seconds: float) -> int:
    try:
        async with asyncio.timeout(seconds):
            await correcting.settled(corrected)
    except TimeoutError:
        return PENDING
    return OK if corrected.fate.outcome in TAKEN else FAILED


def _show(target: Target, kind: CorrectionKind) -> None:
    event = target.event
    dimensions = "".join(f", {name} {value}" for name, value in event.dimensions)
    billed = f", billed to {event.linked}," if event.linked else ""
    print(f"{target.identifier}: {event.value:,} of {event.meter} for customer {event.customer}{billed}{dimensions}, at {moment(event.time_ms)}")
    print(
        f"planned at {moment(target.log_time_ms)}; its outcome is {target.fate.outcome}"
        + (", and Stripe did not record it" if target.fate.reported else "")
    )
    for found in target.corrections:
        print(f"corrected before: {found.correction.kind} at offset {found.offset}, {found.fate.outcome}: {found.correction.reason}")
    print(f"to be done: {DOES[kind]}")


def moment(time_ms: int) -> str:
    """A time for people: UTC, to the second."""
    return datetime.fromtimestamp(time_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def as_json(corrected: Corrected) -> dict[str, Any]:
    """A correction for `--json`; `outcome` is null while it is open."""
    correction, event = corrected.correction, corrected.correction.event
    return {
        "partition": correction.partition,
        "offset": corrected.offset,
        "identifier": correction.identifier(),
        "kind": correction.kind,
        "target": correction.target_identifier,
        "customer": event.customer,
        "meter": event.meter,
        "dimensions": dict(event.dimensions),
        "time_ms": event.time_ms,
        "value": event.value,
        "reason": correction.reason,
        "by": correction.by,
        "log_time_ms": corrected.log_time_ms,
        "outcome": corrected.fate.outcome,
        "unrecorded": corrected.fate.reported,
    }
