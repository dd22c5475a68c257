"""`taximeter explain`: what a customer's usage of a meter is made of, down to the events."""

import argparse
import asyncio
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any, Final, NamedTuple

from taximeter_emitter.wire.event import Dimensions
from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS, MINUTE_MS
from taximeter_emitter.wire.partitioner import partition_of

from audit.tracing.event_outcomes import EventOutcome
from audit.tracing.usage_columns import UsageQuestion
from audit.tracing.usage_explained import ExplainedUsage, Explainer
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.reconciliation.cells import CellScope
from metering.reconciliation.ledger_cells import LedgerCellReader, PartitionCells
from metering.records.adjustment import short
from taximeter.connection import kafka_settings, run_on_logs
from taximeter.exit_codes import DISCREPANCY, FAILED, OK, USAGE
from taximeter.replay_commands.plan import progress
from taximeter.stripe_commands.running import print_json, shown
from taximeter.trace_commands.explained_events import event_form, event_writer, table_of

HOURS_TOLD_MAX_MS: Final = 2 * DAY_MS  # a longer range is shown by the day
DIMENSIONS_TOLD_MAX: Final = 100


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
    if arguments.sums and form is not None:
        print("taximeter: --sums reads no events, so it cannot write them", file=sys.stderr)
        return USAGE
    in_text = not arguments.json and (form is None or arguments.events is not None)
    return run_on_logs(_explain_to(arguments, kafka, question, _How(arguments.events, form, sums_alone=arguments.sums, in_text=in_text)))


async def _explain_to(arguments: argparse.Namespace, kafka: KafkaSettings, question: UsageQuestion, how: "_How") -> int:
    try:
        result, cells = await _explain(kafka, question, how)
    except OSError as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return FAILED
    if arguments.json:
        print_json(as_json(question, result, cells))
    elif how.in_text:
        _show_comparison(result, cells, arguments.events)
    return OK if result.agrees else DISCREPANCY


def question_of(arguments: argparse.Namespace, now_ms: int) -> UsageQuestion:
    """What was asked for, widened to whole minutes."""
    to_ms = now_ms if arguments.to_ms is None else arguments.to_ms
    from_ms = to_ms - DAY_MS if arguments.from_ms is None else arguments.from_ms
    return UsageQuestion(arguments.customer, arguments.meter, from_ms // MINUTE_MS * MINUTE_MS, -(-to_ms // MINUTE_MS) * MINUTE_MS)


class _How(NamedTuple):
    """Where the events go, and in which form: a file, or stdout. `in_text`: the sums are printed in words."""

    file: Path | None
    form: str | None
    sums_alone: bool
    in_text: bool


async def _explain(kafka: KafkaSettings, question: UsageQuestion, how: _How) -> tuple[ExplainedUsage, PartitionCells]:
    partition = partition_of(question.customer, kafka.partitions)
    events, tallies, ledger = LogReader(kafka, "explain-events"), LogReader(kafka, "explain-tallies"), LedgerCellReader(kafka)
    result, explainer = ExplainedUsage(), Explainer(events, tallies, kafka.topics)
    try:
        stretches = await explainer.sums(partition, question, result)
        if how.in_text:
            _show_sums(question, result)
        if not how.sums_alone:
            with event_writer(how.file, how.form) as write:
                tell = progress(sys.stderr, "reading events", "records")
                async for found in explainer.events(partition, question, stretches, result, tell):
                    if write is not None:
                        write(table_of(partition, found.columns()))
                        await asyncio.sleep(0)  # Kafka's client has its turn
        scope = CellScope(question.from_ms, question.to_ms, MINUTE_MS, meters=frozenset({question.meter}), billed_for=frozenset({question.customer}))
        return result, await ledger.read(partition, scope)
    finally:
        await events.close()
        await tallies.close()
        await ledger.close()


def _show_sums(question: UsageQuestion, result: ExplainedUsage) -> None:
    times = f"from {shown(question.from_ms // 1000)} to {shown(question.to_ms // 1000)}"
    if result.latest is not None:
        told = result.latest
        print(f"{question.customer}, {question.meter}, {times}: the latest value is {told.value:,}, of {shown(told.time_ms // 1000)}")
        print("  values are not added up, so there are no units to explain; see what was told: taximeter export ledger")
        return
    print(f"{question.customer}, {question.meter}, {times}: {result.rows:,} units in {result.events_by.total():,} events")
    for plan, units in result.adjusted.items():
        print(f"  {units:+,} by plan {short(plan.plan)}, {plan.kind}, by {plan.by}: {plan.reason}")
    if result.adjusted:
        print(f"  that makes {result.units:,} units")
    width = DAY_MS if question.to_ms - question.from_ms > HOURS_TOLD_MAX_MS else HOUR_MS
    by_time: Counter[int] = Counter()
    by_dimensions: Counter[Dimensions] = Counter()
    for (start_ms, dimensions), units in result.units_by.items():
        by_time[start_ms // width * width] += units
        by_dimensions[dimensions] += units
    for dimensions, units in by_dimensions.most_common(DIMENSIONS_TOLD_MAX):
        if dimensions:
            print(f"  {', '.join(f'{name}={value}' for name, value in dimensions)}: {units:,}")
    for start_ms, units in sorted(by_time.items()):
        print(f"  {'hour' if width == HOUR_MS else 'day'} from {shown(start_ms // 1000)}: {units:,}")
    sys.stdout.flush()


def _show_comparison(result: ExplainedUsage, cells: PartitionCells, file: Path | None) -> None:
    others = ", ".join(f"{count:,} {outcome}" for outcome, count in result.outcomes.items() if outcome is not EventOutcome.COUNTED)
    if result.latest is not None:
        return
    if result.compared and result.agrees and not result.gone and not result.unknown:
        print(f"  the log has these {result.counted:,} events, and they make this sum")
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
        "latest_value": None if result.latest is None else {"value": str(result.latest.value), "time_ms": result.latest.time_ms},
        "units_counted": str(result.rows),
        "plans": [{**plan._asdict(), "units": str(units)} for plan, units in result.adjusted.items()],
        "sums": [
            {"from_ms": start_ms, "dimensions": dict(dimensions), "units": str(units), "events": result.events_by[start_ms, dimensions]}
            for (start_ms, dimensions), units in sorted(result.units_by.items())
        ],
        "events": result.counted if result.compared else result.events_by.total(),
        "units_of_events": str(result.events) if result.compared else None,
        "units_gone": str(result.gone),
        "units_unknown": str(result.unknown),
        "agrees": result.agrees if result.compared else None,
        "outcomes": {outcome.value: count for outcome, count in result.outcomes.items()},
        "told": str(sum(cell.sure for cell in cells.cells.values())),
        "in_doubt": sum(len(cell.doubts) for cell in cells.cells.values()),
    }
