"""`taximeter trace`: follow one event, or one meter event, through every log to Stripe's answer."""

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from taximeter_emitter.wire.limits import HOUR_MS
from taximeter_emitter.wire.partitioner import partition_of

from audit.tracing.event_plans import EventPlan
from audit.tracing.event_search import query_for
from audit.tracing.event_trace import TracedEvent, Tracer
from audit.tracing.ledger_search import LedgerSearch, ReportedEvent, TallyReport, UsageAt
from metering.folds.corrections import place_of
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.records.adjustment import short
from metering.records.ledger_records import MeterEvent
from taximeter.connection import kafka_settings, run_on_logs
from taximeter.exit_codes import FAILED, OK, USAGE
from taximeter.stripe_commands.running import print_json, shown
from taximeter.trace_commands.arguments import TRACE_HOURS


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when something was found, 1 when not."""
    kafka = kafka_settings(arguments)
    if arguments.offset is not None and arguments.offset[0] >= kafka.partitions:
        print(f"taximeter: there is no partition {arguments.offset[0]}: there are {kafka.partitions}, from 0", file=sys.stderr)
        return USAGE
    return run_on_logs(_meter_event(arguments, kafka) if arguments.identifier else _events(arguments, kafka))


async def _events(arguments: argparse.Namespace, kafka: KafkaSettings) -> int:
    reader = LogReader(kafka, "trace")
    try:
        tracer = Tracer(reader, kafka.topics)
        traced = [await tracer.trace(partition, event) for partition, event in await _found(arguments, kafka, tracer)]
        await tracer.note_plans(traced)
    finally:
        await reader.close()
    if arguments.json:
        print_json({"schema": "taximeter.trace/1", "events": [as_json(each) for each in traced]})
    for each in () if arguments.json else traced:
        _show(each)
    for damage in tracer.damaged:
        print(f"taximeter: {damage}", file=sys.stderr)
    if not traced:
        print(f"taximeter: no such event {_searched(arguments)}", file=sys.stderr)
    return OK if traced else FAILED


async def _found(arguments: argparse.Namespace, kafka: KafkaSettings, tracer: Tracer) -> list[tuple[int, Any]]:
    if arguments.offset is not None:
        partition, offset = arguments.offset
        return [(partition, event) for event in await tracer.at(partition, offset)]
    query = query_for(arguments.event_id, arguments.source, arguments.customer)
    partitions = range(kafka.partitions) if arguments.customer is None else [partition_of(arguments.customer, kafka.partitions)]
    from_ms = _from_ms(arguments)
    # First all of them: the reader reads one range at a time.
    return [(partition, event) for partition in partitions async for event in tracer.find(partition, query, from_ms, arguments.to_ms)]


def _from_ms(arguments: argparse.Namespace) -> int:
    return int(time.time() * 1000) - TRACE_HOURS * HOUR_MS if arguments.from_ms is None else arguments.from_ms


def _searched(arguments: argparse.Namespace) -> str:
    if arguments.offset is not None:
        return "at this offset: it is not kept, or it holds none that can be read"
    source = f"of source {arguments.source!r}" if arguments.source else "without a source"
    return f"{source} in what Kafka took since {shown(_from_ms(arguments) // 1000)}; --from looks further back"


async def _meter_event(arguments: argparse.Namespace, kafka: KafkaSettings) -> int:
    place = place_of(arguments.identifier)
    if place is None or place.partition >= kafka.partitions:
        print(f"taximeter: {arguments.identifier!r} is not an identifier of this installation", file=sys.stderr)
        return USAGE
    reader = LogReader(kafka, "trace")
    try:
        ledger = LedgerSearch(reader, kafka.topics.ledger.name)
        found = await ledger.intent_of(place.partition, arguments.identifier)
        if found is None:
            print("taximeter: no accepted intent has it", file=sys.stderr)
            return FAILED
        reported, intent = found
        report = await ledger.report(intent.partition, intent.link.start, reported.planned_ms, *_usage_of(reported.event))
    finally:
        await reader.close()
    mine = next((each for each in report.events if each.identifier == reported.identifier), reported)
    if arguments.json:
        about = {"tallies": [intent.link.start, intent.link.end], "partition": intent.partition}
        print_json({"schema": "taximeter.trace/1", "meter_event": _meter_event_json(mine) | about})
    else:
        print(f"partition {intent.partition}, intent {mine.intent}, tallies {intent.link.start} to {intent.link.end - 1}")
        _show_meter_event(mine)
        print(f"what it is made of: taximeter explain --customer {mine.event.customer} --meter {mine.event.meter}")
    return OK


def _usage_of(event: MeterEvent) -> tuple[Sequence[UsageAt], Sequence[UsageAt]]:
    """What it adds up, or the latest value that it tells."""
    if event.reading is None:
        return [UsageAt(event.customer, event.meter, event.time_ms)], ()
    return (), [UsageAt(event.customer, event.meter, event.reading.happened_ms)]


def _show(traced: TracedEvent) -> None:
    event = traced.event
    name = f", {event.event_id}" + (f" of {event.source}" if event.source else "") if event.event_id else ""
    number = f", number {event.number} of emitter {event.emitter}" if event.number is not None else ""
    print(f"partition {traced.partition}, offset {event.offset} [{event.at}], {shown(event.log_time_ms // 1000)}{name}{number}: {traced.outcome}")
    usage = ", ".join(f"{quantity:,} {name}" for name, quantity in event.usage) or "no usage"
    print(f"  {event.customer}, {shown(event.time_ms // 1000)}, {usage}" + "".join(f", {name} {value}" for name, value in event.dimensions))
    if traced.tally is not None:
        link = traced.tally.link
        found = [f"{quantity:,} {meter}" for meter, quantity in traced.units.items()]
        found += [f"{meter} is {value:,}" for meter, value in traced.values.items()]
        units = ", ".join(found)
        print(f"  tally {traced.tally_offset} (records {link.start} to {link.end - 1})" + (f": {units}" if units else ""))
    if traced.report is not None:
        _show_report(traced.report)
    for plan in traced.plans:
        _show_plan(plan)


def _show_plan(plan: EventPlan) -> None:
    units = ", ".join(f"{units:+,} {meter}" for meter, units in plan.units.items())
    to_whom = f", to {plan.to_customer}" if plan.to_customer else ""
    where = f"tallies {', '.join(map(str, plan.tallies))}" if plan.tallies else "not written yet"
    print(f"  plan {short(plan.plan)}, {plan.kind}{to_whom} by {plan.by}: {units} at {shown(plan.minute_ms // 1000)} ({where}); {plan.reason}")


def _show_report(report: TallyReport) -> None:
    if report.intent is None:
        print("  no intent covers the tally yet")
    for each in report.events:
        _show_meter_event(each)
    if report.carried:
        print("  it is carried: Stripe refuses the meter, and the usage is sent when it takes it again")
    if report.unbillable:
        print("  some of it is unbillable: older than Stripe takes")
    if report.superseded:
        print("  a later value of its billing period was told before, so this one is told to nobody")


def _show_meter_event(each: ReportedEvent) -> None:
    settled = each.settled
    state = (
        "no outcome yet"
        if settled is None
        else f"{settled.outcome} {shown(settled.at_ms // 1000)}" + (f", {settled.detail}" if settled.detail else "")
    )
    event = each.event
    of = "" if event.reading is None else "latest value "
    print(f"  intent {each.intent}, {each.identifier}: {of}{event.value:,} {event.meter} at {shown(event.time_ms // 1000)}: {state}")
    for rejection in each.reports:
        print(f"    Stripe did not record it: {rejection.code} ({rejection.event_id})")
    found = each.resolution
    if found is not None:
        to_whom = f" to {found.to_customer}" if found.to_customer else ""
        print(f"    resolved {found.offset}, {found.resolved}{to_whom} by {found.by}: {found.reason}")
    for offset, correction, outcome in each.corrections:
        print(f"    correction {offset}, {correction.kind} by {correction.by}: {outcome or 'no outcome yet'} ({correction.reason})")


def as_json(traced: TracedEvent) -> dict[str, Any]:
    """One event for `--json`."""
    event, report = traced.event, traced.report
    return {
        "partition": traced.partition,
        "offset": event.offset,
        "index": event.at,
        "log_time_ms": event.log_time_ms,
        "emitter": event.emitter or None,
        "number": event.number,
        "customer": event.customer,
        "time_ms": event.time_ms,
        "usage": dict(event.usage),
        "dimensions": dict(event.dimensions),
        "source": event.source or None,
        "id": event.event_id or None,
        "fingerprint": event.fingerprint.hex() or None,
        "outcome": traced.outcome,
        "tally": traced.tally_offset,
        "units": traced.units,
        "values": traced.values,
        "intent": None if report is None else report.intent,
        "carried": report is not None and report.carried,
        "superseded": report is not None and report.superseded,
        "plans": [asdict(plan) for plan in traced.plans],
        "meter_events": [] if report is None else [_meter_event_json(each) for each in report.events],
    }


def _meter_event_json(each: ReportedEvent) -> dict[str, Any]:
    event, settled = each.event, each.settled
    return {
        "identifier": each.identifier,
        "intent": each.intent,
        "customer": event.customer,
        "meter": event.meter,
        "dimensions": dict(event.dimensions),
        "time_ms": event.time_ms,
        "value": event.value,
        "outcome": None if settled is None else settled.outcome,
        "settled_at_ms": None if settled is None else settled.at_ms,
        "reports": [rejection.event_id for rejection in each.reports],
        "resolution": None if each.resolution is None else each.resolution.resolved,
        "corrections": [{"offset": offset, "kind": found.kind, "outcome": outcome} for offset, found, outcome in each.corrections],
    }
