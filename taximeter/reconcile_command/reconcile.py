"""`taximeter reconcile`: compare the ledger with Stripe's summaries, by customer, meter and hour or day.

It says settled, arriving, or by how much they differ, with the cause where the ledger knows one.
"""

import argparse
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TextIO

from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.limits import DAY_MS, HOUR_MS
from taximeter_emitter.wire.partitioner import partition_of

from metering.following.published_meters import meters_of_all
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogUnavailable
from metering.reconciliation.cells import CellScope, CustomerMeter
from metering.reconciliation.comparison import ComparedCell
from metering.reconciliation.ledger_cells import LedgerCellReader
from metering.reconciliation.reconciler import Pace, Reconciler, pairs_of
from metering.records.fail_closed import FailClosed
from metering.records.notes.evidence import CellVerdict
from taximeter.before_writing import agreed
from taximeter.catalogue_in_force import published_versions
from taximeter.connection import kafka_settings
from taximeter.exit_codes import DISCREPANCY, INTERRUPTED, OK, PENDING, PRECONDITION, USAGE
from taximeter.reconcile_command.arguments import SETTLE_SECONDS
from taximeter.reconcile_command.evidence_taking import EvidenceTaking
from taximeter.reconcile_command.reconciled_file import ReconciledFile, SavedOtherwise
from taximeter.reconcile_command.stripe_summaries import StripeSummaries
from taximeter.refusal_commands.correction_plan import CorrectionPlan
from taximeter.refusal_commands.plan_file import write_plan
from taximeter.stripe_commands.running import print_json, run_billing, shown
from taximeter.stripe_commands.stripe_connection import CannotDo, StripeConnection

CALLS_UNASKED_MAX: Final = 1_000
CELLS_SHOWN: Final = 200
HOURLY_UP_TO_MS: Final = 4 * DAY_MS
TOLD_SECONDS: Final = 5.0
SCHEMA: Final = "taximeter.reconciliation/1"


@dataclass(slots=True)
class Reconciliation:
    """What was found; settled cells are counted, and kept only for `--json`."""

    scope: CellScope
    verdicts: Counter[CellVerdict] = field(default_factory=Counter)
    pairs: int = 0
    cells: list[ComparedCell] = field(default_factory=list)
    keep_settled: bool = False
    plan: CorrectionPlan | None = None
    latest: Counter[str] = field(default_factory=Counter)  # by meter, the customers with latest values, which are not compared

    def take(self, cells: Sequence[ComparedCell]) -> None:
        """One customer and meter."""
        self.pairs += 1
        for each in cells:
            self.verdicts[each.comparison.verdict] += 1
            if self.keep_settled or each.comparison.verdict is not CellVerdict.SETTLED or each.comparison.taken is not None:
                self.cells.append(each)

    def not_compared(self) -> Iterator[str]:
        """What says nothing about latest values, for people."""
        for meter, customers in sorted(self.latest.items()):
            yield f"not compared: {meter} of {customers:,} customers, which tells latest values; see what Stripe has: taximeter stripe usage"

    @property
    def exit_code(self) -> int:
        """As the command's help says."""
        if any(count and verdict.differs for verdict, count in self.verdicts.items()):
            return DISCREPANCY
        return PENDING if self.verdicts[CellVerdict.ARRIVING] else OK


@dataclass(frozen=True, slots=True, kw_only=True)
class ReconcileOptions:
    """Whom to compare, and how. `every`: all customers that the ledger has. `calls_per_second` None: by the kind of key.

    `record`: what is found is noted in the ledger, as evidence. `plan`: so it is, and what it shows to be missing goes into this directory.
    """

    customers: tuple[str, ...] = ()
    meters: tuple[str, ...] = ()
    every: bool = False
    calls_per_second: float | None = None
    settle_seconds: float = SETTLE_SECONDS
    save: Path | None = None
    yes: bool = False
    keep_settled: bool = False
    record: bool = False
    plan: Path | None = None


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when every cell is settled, 5 when some are arriving, 2 when one differs."""
    kafka = kafka_settings(arguments)
    scope = scope_of(arguments, int(time.time() * 1000))
    if scope is None:
        print("taximeter: --from must be before --to", file=sys.stderr)
        return USAGE

    options = ReconcileOptions(
        customers=tuple(arguments.customer),
        meters=tuple(arguments.meter),
        every=arguments.all,
        calls_per_second=arguments.calls_per_second,
        settle_seconds=arguments.settle_seconds,
        save=arguments.save,
        yes=arguments.yes,
        keep_settled=arguments.json,
        record=arguments.record,
        plan=arguments.plan,
    )

    async def command(connection: StripeConnection) -> int:
        found = await reconcile(options, kafka, scope, connection)
        if arguments.json:
            print_json(as_json(found))
        else:
            _show(found)
            _show_plan(found, options)
        return found.exit_code

    try:
        return run_billing(arguments, command)
    except (LogUnavailable, FailClosed) as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return PRECONDITION
    except (SavedOtherwise, FileExistsError) as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return USAGE
    except KeyboardInterrupt:
        if arguments.save is not None:
            print(f"taximeter: interrupted; {arguments.save} has what is done, the same command goes on behind it", file=sys.stderr)
        return INTERRUPTED


def scope_of(arguments: argparse.Namespace, now_ms: int) -> CellScope | None:
    """The cells that were asked for; None if the range is empty."""
    to_ms = now_ms if arguments.to_ms is None else arguments.to_ms
    from_ms = to_ms - DAY_MS if arguments.from_ms is None else arguments.from_ms
    if from_ms >= to_ms:
        return None
    # Evidence is of hours: a doubt is about one.
    scope = cell_scope(from_ms, to_ms, "hour" if arguments.record or arguments.plan else arguments.by)
    return replace(scope, customers=frozenset(arguments.customer) or None, meters=frozenset(arguments.meter) or None)


def cell_scope(from_ms: int, to_ms: int, by: str | None = None) -> CellScope:
    """The cells of this time, widened to whole hours or days: hours for four days or less, if `by` does not say it."""
    width = HOUR_MS if (by or ("hour" if to_ms - from_ms <= HOURLY_UP_TO_MS else "day")) == "hour" else DAY_MS
    return CellScope(from_ms // width * width, -(-to_ms // width) * width, width)


async def reconcile(options: ReconcileOptions, kafka: KafkaSettings, scope: CellScope, connection: StripeConnection) -> Reconciliation:
    """Compare. Raises what the sources raise, CannotDo and SavedOtherwise; blocks on Kafka and on Stripe."""
    meters = options.meters or list(meters_of_all(await published_versions(kafka), connection.catalogue))
    asked = [CustomerMeter(customer, meter) for customer in options.customers for meter in meters]
    partitions = range(kafka.partitions) if options.every else sorted({partition_of(c, kafka.partitions) for c in options.customers})
    calls_per_second = options.calls_per_second or connection.settings.reads_per_second
    ledger, summaries, pace = LedgerCellReader(kafka), StripeSummaries(connection.client), Pace(calls_per_second)
    found = Reconciliation(scope, keep_settled=options.keep_settled)
    saved = ReconciledFile(options.save, scope) if options.save is not None else None
    taking = None
    if options.record or options.plan is not None:
        taking = EvidenceTaking(kafka, scope, confirm_ms=round(options.settle_seconds * 500))
        found.plan = taking.plan
    try:
        reconciler = Reconciler(ledger, summaries, scope=scope, pace=pace, settle_ms=round(options.settle_seconds * 1000), clock=SystemClock())
        for number, partition in enumerate(partitions):
            cells = await ledger.read(partition, scope)
            found.latest.update(pair.meter for pair in cells.latest)
            here = [pair for pair in asked if partition_of(pair.customer, kafka.partitions) == partition]
            pairs = pairs_of(cells.cells, here)
            done = saved.done(partition) if saved is not None else {}
            for before in done.values():
                found.take(before)
            left = [pair for pair in pairs if pair not in done]
            calls = len(left) * summaries.calls(scope)
            _may_call(options, calls, pace, partition)
            tell = _progress(sys.stderr, f"partition {partition} ({number + 1} of {len(partitions)})", len(left), pace.seconds(calls))
            if taking is not None:
                await taking.begin(partition)
            async for pair, compared in reconciler.compare_partition(partition, cells, left):
                found.take(compared)
                if taking is not None:
                    taking.take(pair, compared, cells.cells, reconciler.members)
                if saved is not None:
                    saved.add(partition, pair, compared)
                tell(1)
            if taking is not None:
                await taking.end(partition)
        if options.plan is not None and taking is not None and taking.plan.steps:
            write_plan(options.plan, taking.plan)
    finally:
        await ledger.close()
        if taking is not None:
            await taking.close()
        if saved is not None:
            saved.close()
    return found


def _may_call(options: ReconcileOptions, calls: int, pace: Pace, partition: int) -> None:
    """Ask before many calls. Raises CannotDo when the answer is no, or nobody can be asked."""
    if calls <= CALLS_UNASKED_MAX or options.yes:
        return
    plan = f"partition {partition} takes {calls:,} calls to Stripe, about {pace.seconds(calls) / 60:,.0f} minutes"
    if not sys.stdin.isatty():
        raise CannotDo(f"{plan}; nobody can be asked here: add --yes", USAGE)
    if not agreed(f"{plan}. Go on?"):
        raise CannotDo("nothing was compared")


def _progress(stream: TextIO, what: str, total: int, seconds: float) -> Callable[[int], None]:
    """A line now and then: how far, how quickly, how long it will take."""
    began = told = time.monotonic()
    done = 0
    if seconds > TOLD_SECONDS:
        print(f"{what}: {total:,} customers and meters, at least {seconds:,.0f} s", file=stream, flush=True)

    def tell(count: int) -> None:
        nonlocal told, done
        done += count
        now = time.monotonic()
        if now - told >= TOLD_SECONDS:
            told, rate = now, done / (now - began)
            print(f"{what}: {done:,} of {total:,}, {rate:,.1f}/s, about {(total - done) / rate:,.0f} s left", file=stream, flush=True)

    return tell


def _show(found: Reconciliation) -> None:
    verdicts = found.verdicts
    for each in found.cells[:CELLS_SHOWN]:
        print(_line(each, found.scope))
    if len(found.cells) > CELLS_SHOWN:
        print(f"and {len(found.cells) - CELLS_SHOWN:,} more; see --json")
    told = ", ".join(f"{verdicts[verdict]:,} {verdict}" for verdict in CellVerdict if verdicts[verdict]) or "nothing"
    width = "hours" if found.scope.width_ms == HOUR_MS else "days"
    print(f"{found.pairs:,} customers and meters, from {shown(found.scope.from_ms // 1000)} to {shown(found.scope.to_ms // 1000)}, {width}: {told}")
    for line in found.not_compared():
        print(line)
    missing = -sum(each.comparison.difference for each in found.cells if each.comparison.verdict is CellVerdict.MISSING)
    extra = sum(each.comparison.difference for each in found.cells if each.comparison.verdict is CellVerdict.EXTRA)
    if missing:
        print(f"Stripe has {missing:,} units less than it accepted. See what it refused later: taximeter stripe errors")
    if extra:
        print(f"Stripe has {extra:,} units that the ledger did not send: another program, or a meter event by hand")
        print("Taximeter takes nothing back by itself")


def _show_plan(found: Reconciliation, options: ReconcileOptions) -> None:
    if found.plan is None or options.plan is None:
        return
    for meter, units in sorted(found.plan.units.items()):
        print(f"planned: {units:,} units more of {meter} at Stripe, as {len(found.plan.steps):,} meter events again")
    for why, count in found.plan.skipped.most_common():
        print(f"not planned, {count:,}: {why}")
    if found.plan.steps:
        print(f'Nothing was sent. To do it: taximeter correct --apply {options.plan} --reason "..."')


def _line(each: ComparedCell, scope: CellScope) -> str:
    key, found = each.key, each.comparison
    when = shown(key.start_ms // 1000)[: len("2026-11-22 10:00") if scope.width_ms == HOUR_MS else len("2026-11-22")]
    stripe = "?" if found.stripe is None else f"{found.stripe:,}"
    difference = f" differs by {found.difference:+,}" if found.difference else ""
    note = f": {found.note}" if found.note else ""
    return f"{key.customer}  {key.meter}  {when}  ours {found.ours:,}  Stripe {stripe}  {found.verdict}{difference}{note}"


def as_json(found: Reconciliation) -> dict[str, Any]:
    """For `--json`: integers as strings, because a reader may make floats of numbers."""
    return {
        "schema": SCHEMA,
        "from_ms": found.scope.from_ms,
        "to_ms": found.scope.to_ms,
        "cell_ms": found.scope.width_ms,
        "verdicts": {verdict.value: found.verdicts[verdict] for verdict in CellVerdict},
        "cells": [cell_as_json(each) for each in found.cells],
        "not_compared": dict(found.latest),
        "plan": None if found.plan is None else found.plan.as_json(),
    }


def cell_as_json(each: ComparedCell) -> dict[str, Any]:
    """One cell."""
    key, comparison = each.key, each.comparison
    return {
        "customer": key.customer,
        "meter": key.meter,
        "start_ms": key.start_ms,
        "verdict": comparison.verdict.value,
        "ours": str(comparison.ours),
        "stripe": None if comparison.stripe is None else str(comparison.stripe),
        "difference": str(comparison.difference),
        "taken": None if comparison.taken is None else [str(value) for value in comparison.taken],
        "note": comparison.note,
    }
