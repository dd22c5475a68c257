"""`taximeter explain`: what a customer's usage of a meter is made of, down to the events."""

import argparse
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from taximeter_emitter.wire.limits import DAY_MS, MINUTE_MS
from taximeter_emitter.wire.partitioner import partition_of

from audit.tracing.event_outcomes import EventOutcome
from audit.tracing.event_search import EventAt
from audit.tracing.usage_explained import ExplainedUsage, Explainer, UsageQuestion
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.reconciliation.cells import CellScope
from metering.reconciliation.ledger_cells import LedgerCellReader, PartitionCells
from metering.records.adjustment import short
from taximeter.connection import kafka_settings, run_on_logs
from taximeter.exit_codes import DISCREPANCY, FAILED, OK, USAGE
from taximeter.stripe_commands.running import print_json, shown
from taximeter.trace_commands.explained_events import event_form, event_writer


def run(arguments: argparse.Namespace) -> int:
    """Exit code 2 when the events do not make the sum of the tallies."""
    kafka, question = kafka_settings(arguments), question_of(arguments, int(time.time() * 1000))
    if question.from_ms >= question.to_ms:
        print("taximeter: --from must be before --to", file=sys.stderr)
        return USAGE
    problem, form = event_form(arguments.events, arguments.format, json=arguments.json)
    if problem is not None:
        print(f"taximeter: {problem}", file=sys.stderr)
        return USAGE
    return run_on_logs(_explain_to(arguments, kafka, question, form))


async def _explain_to(arguments: argparse.Namespace, kafka: KafkaSettings, question: UsageQuestion, form: str | None) -> int:
    try:
        result, cells = await _explain(kafka, question, arguments.events, form)
    except OSError as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return FAILED
    if arguments.json:
        print_json(as_json(question, result, cells))
    elif form is None or arguments.events is not None:
        _show(question, result, cells, arguments.events)
    return OK if result.agrees else DISCREPANCY


def question_of(arguments: argparse.Namespace, now_ms: int) -> UsageQuestion:
    """What was asked for, widened to whole minutes."""
    to_ms = now_ms if arguments.to_ms is None else arguments.to_ms
    from_ms = to_ms - DAY_MS if arguments.from_ms is None else arguments.from_ms
    return UsageQuestion(arguments.customer, arguments.meter, from_ms // MINUTE_MS * MINUTE_MS, -(-to_ms // MINUTE_MS) * MINUTE_MS)


async def _explain(kafka: KafkaSettings, question: UsageQuestion, file: Path | None, form: str | None) -> tuple[ExplainedUsage, PartitionCells]:
    partition = partition_of(question.customer, kafka.partitions)
    events, tallies, ledger = LogReader(kafka, "explain-events"), LogReader(kafka, "explain-tallies"), LedgerCellReader(kafka)
    result = ExplainedUsage()
    try:
        with event_writer(file, form) as write:
            async for event, outcome, units in Explainer(events, tallies, kafka.topics).explain(partition, question, result):
                write(event_as_json(partition, event, outcome, units))
        scope = CellScope(question.from_ms, question.to_ms, MINUTE_MS, frozenset({question.customer}), frozenset({question.meter}))
        return result, await ledger.read(partition, scope)
    finally:
        await events.close()
        await tallies.close()
        await ledger.close()


def event_as_json(partition: int, event: EventAt, outcome: EventOutcome, units: int) -> dict[str, Any]:
    """One event, by EXPLAINED_COLUMNS."""
    return {
        "partition": partition,
        "offset": event.offset,
        "index": event.at,
        "time": _moment(event.time_ms),
        "log_time": _moment(event.log_time_ms),
        "outcome": outcome.value,
        "units": units,
        "usage": dict(event.usage),
        "dimensions": dict(event.dimensions),
        "source": event.source or None,
        "id": event.event_id or None,
        "fingerprint": event.fingerprint.hex(),
        "emitter": event.emitter,
        "number": event.number,
    }


def _moment(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds")


def _show(question: UsageQuestion, result: ExplainedUsage, cells: PartitionCells, file: Path | None) -> None:
    times = f"from {shown(question.from_ms // 1000)} to {shown(question.to_ms // 1000)}"
    print(f"{question.customer}, {question.meter}, {times}: {result.rows:,} units in {result.counted:,} events")
    for plan, units in result.adjusted.items():
        print(f"  {units:+,} by plan {short(plan.plan)}, {plan.kind}, by {plan.by}: {plan.reason}")
    if result.adjusted:
        print(f"  that makes {result.units:,} units")
    others = ", ".join(f"{count:,} {outcome}" for outcome, count in result.outcomes.items() if outcome is not EventOutcome.COUNTED)
    if others:
        print(f"  not counted, in the same records: {others}")
    if result.gone:
        print(f"  {result.gone:,} units are of records that are not kept any more")
    if result.unknown:
        print(f"  {result.unknown:,} units are of tallies that do not say their meters")
    sure, doubts = sum(cell.sure for cell in cells.cells.values()), sum(len(cell.doubts) for cell in cells.cells.values())
    print(
        f"  the ledger says that Stripe has {sure:,} units with a time in this range"
        + (f", and {doubts:,} meter events are in doubt" if doubts else "")
    )
    if not result.agrees:
        print(f"  the events make {result.events:,} units: the tallies and the log disagree; see taximeter verify")
    if file is not None:
        print(f"  the events are in {file}")


def as_json(question: UsageQuestion, result: ExplainedUsage, cells: PartitionCells) -> dict[str, Any]:
    """For `--json`; units as strings."""
    return {
        "schema": "taximeter.explanation/1",
        "customer": question.customer,
        "meter": question.meter,
        "from_ms": question.from_ms,
        "to_ms": question.to_ms,
        "units": str(result.units),
        "units_counted": str(result.rows),
        "plans": [{**plan._asdict(), "units": str(units)} for plan, units in result.adjusted.items()],
        "events": result.counted,
        "units_of_events": str(result.events),
        "units_gone": str(result.gone),
        "units_unknown": str(result.unknown),
        "agrees": result.agrees,
        "outcomes": {outcome.value: count for outcome, count in result.outcomes.items()},
        "told": str(sum(cell.sure for cell in cells.cells.values())),
        "in_doubt": sum(len(cell.doubts) for cell in cells.cells.values()),
    }
