"""`taximeter verify`: re-read the log and prove every equation that a bill rests on.

It says EXACT, EXACT BUT, PENDING or NOT EXACT, and what of.
"""

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Final, TextIO

import orjson
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from audit.verification.plan_terms import plan_line
from audit.verification.report import (
    AcceptedHandover,
    AcceptedLoss,
    AcceptedStep,
    Covered,
    EmitterLine,
    MeterTotals,
    PassedBatchLine,
    PassedRecord,
    Report,
)
from audit.verification.span import TimeRange
from audit.verification.term import ProofWord
from audit.verification.verdict import ProofVerdict, verdict_of
from audit.verification.verifier import OnProgress, verify
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogUnavailable
from metering.records.fail_closed import FailClosed
from metering.records.ledger_records import CorrectionKind
from metering.records.service_limits import EVENT_AGE_MAX_MS
from taximeter.commands.correct import moment
from taximeter.connection import kafka_settings
from taximeter.exit_codes import DISCREPANCY, INCOMPLETE, OK, PENDING, PRECONDITION, USAGE

PLAIN_SECONDS: Final = 5.0
EMITTERS_SHOWN: Final = 20
ANSWERS_SHOWN: Final = 20
VERDICT_CODES: Final = {ProofWord.EXACT: OK, ProofWord.EXACT_BUT: INCOMPLETE, ProofWord.PENDING: PENDING, ProofWord.NOT_EXACT: DISCREPANCY}
STYLES: Final = {
    ProofWord.EXACT: "bold green",
    ProofWord.EXACT_BUT: "bold yellow",
    ProofWord.PENDING: "bold yellow",
    ProofWord.NOT_EXACT: "bold red",
}
STATES: Final = {"closed": "closed", "open": "open", "silent": "silent for a day without closing"}


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 only if everything that was emitted is billed; docs/verdicts.md has the others."""
    kafka = kafka_settings(arguments)
    times = TimeRange(arguments.from_ms, arguments.to_ms)
    if times.from_ms is not None and times.to_ms is not None and times.from_ms >= times.to_ms:
        print("taximeter: --from must be before --to", file=sys.stderr)
        return USAGE
    try:
        report = _with_progress(kafka, times, arguments.workers, sys.stderr)
    except LogUnavailable as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return PRECONDITION
    verdict = verdict_of(report)
    if arguments.with_stripe:
        compared, code = _compared(arguments, kafka, verdict)
        if compared is None:
            return code
        verdict = compared
    exit_code = VERDICT_CODES[verdict.word]
    if arguments.json:
        document = {**verdict.as_json(), "exit_code": exit_code, **report.as_json()}
        print(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS).decode())
    else:
        _show(report, verdict)
    return exit_code


def _compared(arguments: argparse.Namespace, kafka: KafkaSettings, verdict: ProofVerdict) -> tuple[ProofVerdict | None, int]:
    """The verdict with Stripe's sums of all customers; or none, and an exit code, when they cannot be read."""
    # Only here: the Stripe library takes half a second to import.
    from audit.verification.stripe_terms import with_stripe  # noqa: PLC0415
    from taximeter.reconcile_command.reconcile import ReconcileOptions, cell_scope, reconcile  # noqa: PLC0415
    from taximeter.stripe_commands.running import run_billing  # noqa: PLC0415
    from taximeter.stripe_commands.stripe_connection import StripeConnection  # noqa: PLC0415

    found: list[ProofVerdict] = []
    to_ms = arguments.to_ms or int(time.time() * 1000)
    scope = cell_scope(arguments.from_ms if arguments.from_ms is not None else to_ms - EVENT_AGE_MAX_MS, to_ms)

    async def command(connection: StripeConnection) -> int:
        reconciliation = await reconcile(ReconcileOptions(every=True, yes=True), kafka, scope, connection)
        found.append(with_stripe(verdict, reconciliation.cells, reconciliation.verdicts))
        return OK

    try:
        code = run_billing(arguments, command)
    except (LogUnavailable, FailClosed) as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return None, PRECONDITION
    return (found[0] if found else None), code


def _with_progress(kafka: KafkaSettings, times: TimeRange, workers: int, stream: TextIO) -> Report:
    if not stream.isatty():
        return asyncio.run(verify(kafka, _plain_lines(stream), times=times, workers=workers))
    columns = (TextColumn("reading"), BarColumn(), TaskProgressColumn(), MofNCompleteColumn(), TextColumn("records"), TimeRemainingColumn())
    with Progress(*columns, console=Console(file=stream), transient=True) as progress:
        task = progress.add_task("reading", total=None)
        update = lambda done, total: progress.update(task, completed=done, total=total)  # noqa: E731
        return asyncio.run(verify(kafka, update, times=times, workers=workers))


def _plain_lines(stream: TextIO) -> OnProgress:
    """A line now and then: how far, how quickly, how long it will take."""
    began = told = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told < PLAIN_SECONDS:
            return
        told = now
        rate = done / (now - began)
        print(f"{done:,} of {total:,} records, {rate:,.0f}/s, about {(total - done) / max(rate, 1e-9):.0f} s left", file=stream, flush=True)

    return tell


def _show(report: Report, verdict: ProofVerdict) -> None:
    console = Console(width=None if sys.stdout.isatty() else 140, no_color="NO_COLOR" in os.environ or None, highlight=False)
    console.print(verdict.text, style=STYLES[verdict.word], markup=False)
    for term in verdict.all_terms:
        console.print(f"  {term.text}", markup=False)
        console.print(f"    -> {term.mend}", markup=False)
    console.print(_headline(report))
    for each in report.covered:
        console.print(f"  {_covered(each)}")
    records, events = report.records, report.events
    console.print(f"{report.tallies:,} tallies of {report.partitions} partitions cover {records.total():,} records without gap or overlap:")
    console.print("  records: " + " + ".join(f"{count:,} {kind}" for kind, count in records.items() if count))
    console.print(f"  events: {events.total():,} = " + " + ".join(f"{count:,} {what.replace('_', '-')}" for what, count in events.items()))
    for reason, count in report.set_aside.most_common():
        console.print(f"  {_aside(report, reason, count)}", markup=False)
    console.print(f"{report.intents:,} intents and {report.receipts:,} receipts; {report.open_meter_events:,} meter events without an outcome")
    for line in (*_said_of_stripe(report), *map(plan_line, report.plans)):
        console.print(line, markup=False)
    skipped = report.tallies_skipped + report.intents_skipped + report.corrections_skipped
    console.print(f"{skipped:,} appends continued no chain and were skipped; {report.uncounted_records:,} records are not counted yet")
    if report.identity_share > 1:
        console.print(f"of the events with an id, 1 in {report.identity_share:,} was looked at for duplicates: there are too many to remember")
    if report.not_recounted:
        console.print(f"{report.not_recounted:,} records were deleted by retention; their tallies were taken as they are")
    for line in _decided(report):
        console.print(line, style="yellow", markup=False)
    console.print(_meters(report))
    for name, totals in sorted(report.meters.items()):
        if totals.unrecorded or totals.proved or totals.corrected or totals.correcting or totals.back is not None:
            console.print(f"{name}: {_billed(totals)}")
        if totals.passed:
            console.print(f"{name}: {totals.passed:,} of the {totals.counted:,} are not at Stripe, because a later one of their period is")
    console.print(_emitters(report))
    for problem in report.problems.shown:
        console.print(f"- {problem}", style="red", markup=False)
    if report.problems.count > len(report.problems.shown):
        console.print(f"- and {report.problems.count - len(report.problems.shown):,} more", style="red")


def _decided(report: Report) -> Iterator[str]:
    """What people decided, and what nobody knows the meaning of."""
    yield from (f"lost: {_loss(loss)}" for loss in report.losses)
    yield from (f"stepped over: {_step(step)}" for step in report.steps)
    yield from (f"{each.kind}: {_handover(each)}" for each in report.handovers)
    yield from (f"foreign: {count:,} records of {topic}" for topic, count in sorted(report.foreign_records.items()))
    yield from (f"passed over: {_passed(record)}" for record in report.passed_over)
    yield from (f"passed over: {_passed_batch(batch)}" for batch in report.passed_batches)


def _handover(found: AcceptedHandover) -> str:
    cluster = found.cluster or "a cluster that was lost"
    moved = f"goes on in {cluster}" if found.kind == "closing" else f"came from {cluster}"
    return f"the ledger of partition {found.partition} {moved}, by {found.by} at {moment(found.at_ms)}: {found.reason}"


def _said_of_stripe(report: Report) -> Iterator[str]:
    if report.evidence.customers:
        yield report.evidence.text(int(time.time() * 1000))
    if report.corrections or report.rejections:
        yield f"{report.corrections:,} corrections, {report.rejections:,} error reports of Stripe's"
    for each in report.refusals.answered[:ANSWERS_SHOWN]:
        yield from (f"  {line}" for line in each.lines())
    if len(report.refusals.answered) > ANSWERS_SHOWN:
        yield f"  and {len(report.refusals.answered) - ANSWERS_SHOWN:,} more reports are answered; see --json"


def _meters(report: Report) -> Table:
    table = Table()
    for heading in ("meter", "events", "units counted", "reported", "not covered", "open", "not billed"):
        table.add_column(heading, justify="left" if heading == "meter" else "right")
    for name, totals in sorted(report.meters.items()):
        numbers = (totals.events, totals.counted, totals.reported, totals.uncovered, totals.open)
        table.add_row(name, *(f"{number:,}" for number in numbers), _not_billed(totals) or "0")
        back = totals.back or MeterTotals()
        if totals.adjusted or totals.back is not None:
            cells = (f"{totals.adjusted:+,}", f"{-back.reported:,}", "", f"{-back.open:,}")
            table.add_row(f"{name}, adjusted", "", *cells, _not_billed(back) or "0")
    return table


def _not_billed(totals: MeterTotals) -> str:
    return ", ".join(f"{units:,} {outcome}" for outcome, units in totals.outcomes.items() if units and outcome not in {"accepted", "duplicate"})


def _billed(totals: MeterTotals) -> str:
    """What corrections and adjustments make of what was reported."""
    terms = [
        f"{totals.reported:,} reported",
        f"- {totals.unrecorded:,} not recorded by Stripe",
        *([f"+ {totals.proved:,} parked that Stripe has"] if totals.proved else []),
        f"- {totals.corrected[CorrectionKind.CANCEL]:,} cancelled",
        f"- {totals.corrected[CorrectionKind.NEGATE]:,} negated",
        f"+ {totals.sent_again:,} sent again",
        *([f"- {totals.back.billed:,} taken back by adjustments"] if totals.back is not None else []),
    ]
    waiting = f"; {totals.correcting:,} in corrections without an outcome" if totals.correcting else ""
    return f"{totals.billed:,} billed = {' '.join(terms)}{waiting}"


def _headline(report: Report) -> str:
    """The chain of numbers that a bill rests on, from the emitters to Stripe. Single events carry no number: they are counted, not sent."""
    sent, received = sum(line.sent for line in report.emitters), sum(line.received for line in report.emitters)
    missing = sum(line.missing for line in report.emitters)
    billed = " + ".join(f"{totals.billed:,} {name}" for name, totals in sorted(report.meters.items())) or "0"
    return f"sent {sent:,}, received {received:,}, counted {report.events['counted']:,} events, billed {billed}, gaps: {missing or 'none'}"


def _aside(report: Report, reason: str, count: int) -> str:
    """Events that are set aside for one reason."""
    totals = report.aside_of(reason)
    units = " + ".join(f"{quantity:,} units of {meter}" for meter, quantity in sorted(totals.units.items()) if quantity)
    back = totals.counted_since + totals.redriven
    since = f"; {back:,} more came back" if back else ""
    return f"set aside: {count:,} {reason}{f', {units}' if units else ''}{since}"


def _covered(covered: Covered) -> str:
    (first, end), (start, following) = covered.tallies, covered.events
    tallies = f"tallies {first:,} to {end - 1:,}" if end > first else "no tallies"
    intents = "no intent" if covered.intents is None else f"intents {covered.intents[0]:,} to {covered.intents[1]:,} of the ledger"
    records = f"records {start:,} to {following - 1:,}" if following > start else "no records"
    return f"partition {covered.partition}: {tallies}, {records}, {intents}"


def _loss(loss: AcceptedLoss) -> str:
    when = datetime.fromtimestamp(loss.at_ms // 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    what = f"{loss.end - loss.start:,} records ({loss.start:,} to {loss.end - 1:,})" if loss.end > loss.start else "no record, but ids"
    return f"partition {loss.partition}, {what}, accepted in tally {loss.tally} by {loss.by} at {when}: {loss.reason}"


def _step(step: AcceptedStep) -> str:
    what = f"partition {step.partition}, records {step.start:,} to {step.end - 1:,}"
    events = "events not known" if step.events is None else f"{step.events:,} events"
    return f"{what} ({events}), in tally {step.tally} by {step.by} at {moment(step.at_ms)}: {step.reason}"


def _passed(record: PassedRecord) -> str:
    return f"partition {record.partition}, offset {record.offset:,} of {record.topic}, by {record.by} at {moment(record.at_ms)}: {record.reason}"


def _passed_batch(batch: PassedBatchLine) -> str:
    what = f"partition {batch.partition}, offsets {batch.start:,} to {batch.end - 1:,} of {batch.topic}, which could not be read ({batch.why})"
    return f"{what}, by {batch.by} at {moment(batch.at_ms)}: {batch.reason}"


def _emitters(report: Report) -> str:
    states = Counter(line.state for line in report.emitters)
    dropped = sum(line.dropped for line in report.emitters)
    told = ", ".join(f"{states[state]:,} {word}" for state, word in STATES.items())
    lines = [f"{len(report.emitters):,} emitters: {told}; dropped before they were numbered: {dropped or 'none'}"]
    silent = [line for line in report.emitters if line.silent]
    lines += [
        f"  {line.emitter} fell silent without closing: whether it sent more than {line.sent:,} is not known" for line in silent[:EMITTERS_SHOWN]
    ]
    if len(silent) > EMITTERS_SHOWN:
        lines.append(f"  and {len(silent) - EMITTERS_SHOWN:,} more fell silent; see --json")
    odd = [line for line in report.emitters if line.missing or line.dropped]
    lines += [_odd(line) for line in odd[:EMITTERS_SHOWN]]
    if len(odd) > EMITTERS_SHOWN:
        lines.append(f"  and {len(odd) - EMITTERS_SHOWN:,} more; see --json")
    return "\n".join(lines)


def _odd(line: EmitterLine) -> str:
    told = f"{line.missing:,} missing, {line.abandoned:,} of them reported to their senders; {line.dropped:,} dropped"
    if line.lost:
        told += f"; {line.lost:,} may be among the lost records"
    return f"  {line.emitter} ({line.state}): sent {line.sent:,}, received {line.received:,}: {told}"
