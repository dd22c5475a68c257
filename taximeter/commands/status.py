"""`taximeter status`: show where each partition stands.

It says so from the log; and, with a Stripe key, when the next billing period ends.
"""

import argparse
import asyncio
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from aiokafka.errors import KafkaError
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table
from taximeter_emitter.clock import SystemClock

from audit.next_boundary import NextBoundary, next_boundary_if_configured
from audit.positions import PartitionPosition, Positions, carried_usage, latest_values_by_meter, uncounted_partitions, units_by_meter, unlinked_usage
from audit.refusal_answers.answer_fold import AnsweredReport
from audit.refusal_answers.answer_reading import answered_reports
from audit.stops import stopped_partitions
from audit.verification.stripe_evidence import StripeEvidence
from metering.folds.catalogue_timeline import CatalogueTimeline, CatalogueVersion
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogUnavailable
from metering.kafka.provision import missing_topics, topic_problems
from metering.records.fail_closed import FailClosed
from taximeter.before_writing import told
from taximeter.catalogue_in_force import published_versions
from taximeter.commands.correct import moment
from taximeter.connection import group_ids, kafka_settings
from taximeter.exit_codes import DISCREPANCY, OK, PRECONDITION

_PLAIN_WIDTH: Final = 80


def run(arguments: argparse.Namespace) -> int:
    """Exit code 2 when a partition's log contradicts itself, a service stopped a partition, or topics are not as they must be; 4 when Kafka does not
    answer about something.
    """
    kafka, groups = kafka_settings(arguments), group_ids(arguments)
    if told(asyncio.run(_missing(kafka))):
        return PRECONDITION
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
    for problem in (*found_now.problems, *found_now.not_known):
        print(f"taximeter: {problem}", file=sys.stderr)
    return found_now.exit_code


async def _missing(kafka: KafkaSettings) -> list[str]:
    """Topics that do not exist; none while Kafka does not answer, which the rest of the page says."""
    try:
        return await missing_topics(kafka)
    except KafkaError:
        return []


@dataclass(slots=True)
class StatusNow:
    """What was read. Pure, so that it can be compared with what the doctor makes of the same."""

    positions: list[PartitionPosition]
    boundary: NextBoundary | None
    stopped: dict[int, str]
    topic_problems: list[str]
    unasked: list[str]
    refusals: list[AnsweredReport] = field(default_factory=list)
    versions: tuple[CatalogueVersion, ...] = ()

    @property
    def problems(self) -> list[str]:
        """What is wrong."""
        found = [f"partition {position.partition}: {position.problem}" for position in self.positions if position.problem]
        return [*found, *(f"partition {partition} is stopped by the {reason}" for partition, reason in self.stopped.items()), *self.topic_problems]

    @property
    def not_known(self) -> list[str]:
        """What Kafka did not say."""
        return [f"partition {position.partition}: {position.unread}" for position in self.positions if position.unread] + self.unasked

    @property
    def exit_code(self) -> int:
        """As `run` says."""
        if self.problems:
            return DISCREPANCY
        return PRECONDITION if self.not_known else OK

    @property
    def unnamed(self) -> int:
        """Refusals that Stripe did not name, and that nothing in the ledger answers."""
        return sum(each.left for each in self.refusals)


async def _read(kafka: KafkaSettings, groups: Mapping[str, str], arguments: argparse.Namespace) -> StatusNow:
    clock = SystemClock()
    positions = Positions(kafka, clock)
    try:
        found = StatusNow(await positions.read(hours=arguments.hours), await next_boundary_if_configured(arguments, clock), {}, [], [])
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
    console = Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, no_color="NO_COLOR" in os.environ or None)
    console.print(_table(positions, stopped))
    unread = sum(bool(each.unread) for each in positions)
    if unread:
        console.print(f"{unread:,} of {len(positions):,} partitions could not be asked about; the sums below are of the others", highlight=False)
    for line in (*_sum_lines(positions, hours), *_compared_lines(positions, hours), *_carried_lines(positions), *_odd_lines(positions)):
        console.print(line, highlight=False, soft_wrap=True)


def _table(positions: Sequence[PartitionPosition], stopped: Mapping[int, str]) -> Table:
    """A line for each partition, in 80 columns: what is true of all is said below."""
    table = Table(box=SIMPLE, pad_edge=False, padding=(0, 1, 0, 0))
    headings = ("partition", "counted to", "behind", "reported to", "behind", "sums", "open", "unknown")
    for heading in headings:
        table.add_column(heading, justify="right")
    for each in positions:
        if each.unread:
            table.add_row(str(each.partition), each.unread, *["?"] * (len(headings) - 2), style="red")
            continue
        numbers = (
            each.counted_to,
            each.uncounted,
            each.reported_to,
            each.unreported,
            each.uncovered_rows,
            each.open_meter_events,
            each.unknown_meter_events,
        )
        table.add_row(str(each.partition), *(f"{number:,}" for number in numbers), style="red" if each.problem or each.partition in stopped else "")
    return table


def _sum_lines(positions: Sequence[PartitionPosition], hours: float) -> list[str]:
    behind = sum(each.uncounted for each in positions)
    waiting = sum(each.uncovered_rows for each in positions)
    still_open = sum(each.open_meter_events for each in positions)
    corrections = sum(each.open_corrections for each in positions)
    of_them = f", {corrections:,} of them corrections" if corrections else ""
    lines = [f"{behind:,} records to count, {waiting:,} sums to report, {still_open:,} meter events without an outcome{of_them}"]
    units = units_by_meter(positions)
    if units:
        since = min((each.waits_since_ms for each in positions if each.waits_since_ms is not None), default=None)
        oldest = "" if since is None else f", the oldest counted {moment(since)}"
        lines.append(f"units that wait: {', '.join(f'{count:,} {meter}' for meter, count in units.items())}{oldest}; taximeter doctor says more")
    if values := latest_values_by_meter(positions):
        lines.append(f"latest values that wait: {', '.join(f'{meter} of {count:,} customers' for meter, count in values.items())}")
    outcomes = sum((each.outcomes for each in positions), Counter[str]())
    if outcomes:
        lines.append(f"outcomes of {hours:g} h: {', '.join(f'{count:,} {outcome}' for outcome, count in outcomes.most_common())}")
    return lines


def _odd_lines(positions: Sequence[PartitionPosition]) -> Iterator[str]:
    for each in positions:
        if each.held_back:
            yield (
                f"partition {each.partition}: an open transaction of another producer at offset {each.readable_end} holds back"
                f" {each.held_back:,} records"
            )
        if each.lost_records or each.ids_from_ms:
            yield f"partition {each.partition}: {each.lost_records:,} records were accepted as lost; taximeter verify says by whom and why"


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
        f"meter {meter}: {usage.amount} since {moment(usage.oldest_ms)} wait because Stripe refuses the meter;"
        " taximeter stripe setup --dry-run says what is wrong, taximeter stripe setup --yes mends it"
        for meter, usage in sorted(carried_usage(positions).items())
    ] + [
        f"meter {meter}: {usage.amount} since {moment(usage.oldest_ms)} wait because their customers are linked to none of Stripe's;"
        " taximeter customers list --held names them"
        for meter, usage in sorted(unlinked_usage(positions).items())
    ]
