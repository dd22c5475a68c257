"""`taximeter explain`: what a customer's usage of a meter is made of, down to the events."""

import argparse
import asyncio
import csv
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import orjson
from taximeter_emitter.wire.limits import DAY_MS, MINUTE_MS
from taximeter_emitter.wire.partitioner import partition_of

from audit.tracing.event_outcomes import EventOutcome
from audit.tracing.event_search import EventAt
from audit.tracing.usage_explained import ExplainedUsage, Explainer, UsageQuestion
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader, LogUnavailable
from metering.reconciliation.cells import CellScope
from metering.reconciliation.ledger_cells import LedgerCellReader, PartitionCells
from metering.records.adjustment import short
from metering.records.fail_closed import FailClosed
from taximeter.connection import kafka_settings
from taximeter.exit_codes import DISCREPANCY, FAILED, OK, PRECONDITION, USAGE
from taximeter.stripe_commands.running import print_json, shown

COLUMNS: Final = ("partition", "offset", "index", "time", "log_time", "outcome", "units", "usage", "dimensions", "fingerprint", "emitter", "number")

EventWriter = Callable[[dict[str, Any]], None]


def run(arguments: argparse.Namespace) -> int:
    """Exit code 2 when the events do not make the sum of the tallies."""
    kafka, question = kafka_settings(arguments), question_of(arguments, int(time.time() * 1000))
    if question.from_ms >= question.to_ms:
        print("taximeter: --from must be before --to", file=sys.stderr)
        return USAGE
    if arguments.events is not None and arguments.events.suffix not in {".csv", ".ndjson"}:
        print(f"taximeter: {arguments.events} must end in .csv or .ndjson", file=sys.stderr)
        return USAGE
    try:
        result, cells = asyncio.run(_explain(kafka, question, arguments.events))
    except LogUnavailable as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return PRECONDITION
    except FailClosed as error:
        print(f"taximeter: the log cannot be trusted: {error}", file=sys.stderr)
        return DISCREPANCY
    except OSError as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return FAILED
    if arguments.json:
        print_json(as_json(question, result, cells))
    else:
        _show(question, result, cells, arguments.events)
    return OK if result.agrees else DISCREPANCY


def question_of(arguments: argparse.Namespace, now_ms: int) -> UsageQuestion:
    """What was asked for, widened to whole minutes."""
    to_ms = now_ms if arguments.to_ms is None else arguments.to_ms
    from_ms = to_ms - DAY_MS if arguments.from_ms is None else arguments.from_ms
    return UsageQuestion(arguments.customer, arguments.meter, from_ms // MINUTE_MS * MINUTE_MS, -(-to_ms // MINUTE_MS) * MINUTE_MS)


async def _explain(kafka: KafkaSettings, question: UsageQuestion, file: Path | None) -> tuple[ExplainedUsage, PartitionCells]:
    partition = partition_of(question.customer, kafka.partitions)
    events, tallies, ledger = LogReader(kafka, "explain-events"), LogReader(kafka, "explain-tallies"), LedgerCellReader(kafka)
    result = ExplainedUsage()
    try:
        with _writer(file) as write:
            async for event, outcome, units in Explainer(events, tallies, kafka.topics).explain(partition, question, result):
                write(event_as_json(partition, event, outcome, units))
        scope = CellScope(question.from_ms, question.to_ms, MINUTE_MS, frozenset({question.customer}), frozenset({question.meter}))
        return result, await ledger.read(partition, scope)
    finally:
        await events.close()
        await tallies.close()
        await ledger.close()


@contextmanager
def _writer(file: Path | None) -> Iterator[EventWriter]:
    """Writes each event to a file, or nowhere."""
    if file is None:
        yield lambda _event: None
    elif file.suffix == ".csv":
        with file.open("w", newline="", encoding="utf-8") as out:
            rows = csv.DictWriter(out, COLUMNS)
            rows.writeheader()
            yield lambda event: rows.writerow({**event, **{name: orjson.dumps(event[name]).decode() for name in ("usage", "dimensions")}})
    else:
        with file.open("wb") as raw:
            yield lambda event: (raw.write(orjson.dumps(event) + b"\n"), None)[1]


def event_as_json(partition: int, event: EventAt, outcome: EventOutcome, units: int) -> dict[str, Any]:
    """One event, by COLUMNS."""
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
