"""`taximeter status`: show where each partition stands.

It says so from the log; and, with a Stripe key, when the next billing period ends.
"""

import argparse
import asyncio
import os
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiokafka.errors import KafkaError
from rich.console import Console
from rich.table import Table
from taximeter_emitter.clock import SystemClock

from audit.next_boundary import NextBoundary, next_boundary_if_configured
from audit.positions import PartitionPosition, Positions, carried_usage, uncounted_partitions, unlinked_usage
from audit.refusal_answers.answer_fold import AnsweredReport
from audit.refusal_answers.answer_reading import answered_reports
from audit.stops import stopped_partitions
from audit.verification.stripe_evidence import StripeEvidence
from metering.folds.catalogue_timeline import CatalogueTimeline, CatalogueVersion
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogUnavailable
from metering.kafka.provision import topic_problems
from metering.records.fail_closed import FailClosed
from taximeter.catalogue_in_force import published_versions
from taximeter.commands.correct import moment
from taximeter.connection import group_ids, kafka_settings
from taximeter.exit_codes import DISCREPANCY, OK, PRECONDITION


def run(arguments: argparse.Namespace) -> int:
    """Exit code 2 when a partition's log contradicts itself, a service stopped a partition, or topics are not as they must be; 4 when Kafka does not
    answer about something.
    """
    kafka, groups = kafka_settings(arguments), group_ids(arguments)
    found_now = asyncio.run(_read(kafka, groups, arguments))
    positions, boundary = found_now.positions, found_now.boundary
    if arguments.json:
        found: dict[str, Any] = {
            "partitions": [position.as_json() | {"stopped": found_now.stopped.get(position.partition, "")} for position in positions],
            "topic_problems": found_now.topic_problems,
            "unnamed_refusals": found_now.unnamed,
            "meters": _versions_json(found_now.versions, SystemClock().now_ms()),
        }
        if boundary is not None:
            found["next_billing_boundary"] = boundary.as_json()
        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        _show(positions, arguments.hours, found_now.stopped)
        if found_now.unnamed:
            print(f"refusals that Stripe did not name in {arguments.hours:g} h, without an answer: {found_now.unnamed:,}; taximeter stripe errors")
        for line in _version_lines(found_now.versions, SystemClock().now_ms()):
            print(line)
        if boundary is not None:
            print(boundary.as_text(SystemClock().now_ms() // 1000))
    problems = [f"partition {position.partition}: {position.problem}" for position in positions if position.problem]
    problems += [f"partition {partition} is stopped by the {reason}" for partition, reason in found_now.stopped.items()]
    problems += found_now.topic_problems
    unasked = [f"partition {position.partition}: {position.unread}" for position in positions if position.unread] + found_now.unasked
    for problem in (*problems, *unasked):
        print(f"taximeter: {problem}", file=sys.stderr)
    if problems:
        return DISCREPANCY
    return PRECONDITION if unasked else OK


@dataclass(slots=True)
class _Now:
    positions: list[PartitionPosition]
    boundary: NextBoundary | None
    stopped: dict[int, str]
    topic_problems: list[str]
    unasked: list[str]
    refusals: list[AnsweredReport] = field(default_factory=list)
    versions: tuple[CatalogueVersion, ...] = ()

    @property
    def unnamed(self) -> int:
        """Refusals that Stripe did not name, and that nothing in the ledger answers."""
        return sum(each.left for each in self.refusals)


async def _read(kafka: KafkaSettings, groups: Mapping[str, str], arguments: argparse.Namespace) -> _Now:
    clock = SystemClock()
    positions = Positions(kafka, clock)
    try:
        found = _Now(await positions.read(hours=arguments.hours), await next_boundary_if_configured(arguments, clock), {}, [], [])
        try:
            found.stopped.update(await stopped_partitions(kafka, groups))
            found.topic_problems.extend(await topic_problems(kafka, kafka.topics, clock=clock))
            for partition, records in (await uncounted_partitions(kafka)).items():
                found.topic_problems.append(f"partition {partition} of {kafka.topics.events.name} holds {records:,} records that nobody counts")
        except (LogUnavailable, KafkaError) as error:
            found.unasked.append(f"what stops partitions, and the topics' settings, cannot be read: {error}")
        try:
            found.refusals.extend(await answered_reports(kafka, [report for each in found.positions for report in each.unnamed]))
        except (LogUnavailable, FailClosed) as error:
            found.unasked.append(f"what answers refusals that Stripe did not name cannot be read: {error}")
        try:
            found.versions = await published_versions(kafka)
        except (LogUnavailable, FailClosed) as error:
            found.unasked.append(f"the versions of the meters cannot be read: {error}")
        return found
    finally:
        await positions.close()


def _show(positions: Sequence[PartitionPosition], hours: float, stopped: Mapping[int, str]) -> None:
    table = Table()
    headings = ("partition", "events end", "counted to", "behind", "tallies end", "reported to", "behind", "sums waiting", "open", "unknown")
    for heading in headings:
        table.add_column(heading, justify="right")
    table.add_column(f"outcomes of {hours:g} h")
    for each in positions:
        if each.unread:
            table.add_row(str(each.partition), *["?"] * (len(headings) - 1), each.unread, style="red")
            continue
        table.add_row(
            str(each.partition),
            f"{each.events_end:,}",
            f"{each.counted_to:,}",
            f"{each.uncounted:,}",
            f"{each.tallies_end:,}",
            f"{each.reported_to:,}",
            f"{each.unreported:,}",
            f"{each.uncovered_rows:,}",
            f"{each.open_meter_events:,}",
            f"{each.unknown_meter_events:,}",
            _outcomes(each.outcomes),
            style="red" if each.problem or each.partition in stopped else "",
        )
    behind = sum(each.uncounted for each in positions)
    waiting = sum(each.uncovered_rows for each in positions)
    still_open = sum(each.open_meter_events for each in positions)
    corrections = sum(each.open_corrections for each in positions)
    of_them = f", {corrections:,} of them corrections" if corrections else ""
    console = Console(width=None if sys.stdout.isatty() else 160, no_color="NO_COLOR" in os.environ or None)
    console.print(table)
    unread = sum(bool(each.unread) for each in positions)
    if unread:
        console.print(f"{unread:,} of {len(positions):,} partitions could not be asked about; the sums below are of the others", highlight=False)
    console.print(
        f"{behind:,} records to count, {waiting:,} sums to report, {still_open:,} meter events without an outcome{of_them}", highlight=False
    )
    for line in (*_compared_lines(positions, hours), *_carried_lines(positions)):
        console.print(line, highlight=False)
    for each in positions:
        if each.held_back:
            console.print(
                f"partition {each.partition}: an open transaction of another producer at offset {each.readable_end} holds back"
                f" {each.held_back:,} records",
                highlight=False,
            )
        if each.lost_records or each.ids_from_ms:
            console.print(
                f"partition {each.partition}: {each.lost_records:,} records were accepted as lost; taximeter verify says by whom and why",
                highlight=False,
            )


def _version_lines(versions: Sequence[CatalogueVersion], now_ms: int) -> list[str]:
    """Which version is in force, and which is to come, for a person."""
    if not versions:
        return ["meters: nothing is published yet; the first start of an aggregator publishes its settings file"]
    in_force = CatalogueTimeline(tuple(versions)).in_force(now_ms)
    lines = [f"meters: version {in_force.number} ({in_force.catalogue.version}) is in force, with {len(in_force.catalogue.meters):,} meters"]
    coming = [version for version in versions if version.from_ms > now_ms]
    return lines + [f"meters: version {version.number} ({version.catalogue.version}) holds from {moment(version.from_ms)}" for version in coming]


def _versions_json(versions: Sequence[CatalogueVersion], now_ms: int) -> dict[str, Any]:
    """The same for `--json`; `in_force` is 0 if nothing is published."""
    in_force = CatalogueTimeline(tuple(versions)).in_force(now_ms).number if versions else 0
    coming = [{"number": version.number, "holds_from_ms": version.from_ms} for version in versions if version.from_ms > now_ms]
    return {"versions": len(versions), "in_force": in_force, "coming": coming}


def _compared_lines(positions: Sequence[PartitionPosition], hours: float) -> list[str]:
    evidence = StripeEvidence()
    for each in positions:
        evidence.add(each.evidence)
    if not evidence.compared:
        return []
    cells = len(evidence.differing) + evidence.unkept
    differs = f"; cells that differ: {cells:,}; taximeter reconcile --all --plan DIR" if cells else ""
    return [f"customers compared with Stripe's sums in {hours:g} h: {evidence.compared:,}{differs}"]


def _carried_lines(positions: Sequence[PartitionPosition]) -> list[str]:
    return [
        f"meter {meter}: {usage.units:,} units since {moment(usage.oldest_ms)} wait because Stripe refuses the meter;"
        " taximeter stripe setup --dry-run says what is wrong, taximeter stripe setup --yes mends it"
        for meter, usage in sorted(carried_usage(positions).items())
    ] + [
        f"meter {meter}: {usage.units:,} units since {moment(usage.oldest_ms)} wait because their customers are linked to none of Stripe's;"
        " taximeter customers list --held names them"
        for meter, usage in sorted(unlinked_usage(positions).items())
    ]


def _outcomes(outcomes: Counter[str]) -> str:
    return ", ".join(f"{count:,} {outcome}" for outcome, count in outcomes.most_common())
