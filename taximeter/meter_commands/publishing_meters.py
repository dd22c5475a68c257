"""`taximeter meters plan` and `apply`: what the settings file would change, and publishing it."""

import argparse
import sys
from typing import Any, Final

from taximeter_emitter.clock import SystemClock
from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import parse_time

from metering.folds.catalogue_timeline import CatalogueVersion
from metering.following.catalogue_log import CatalogueLog
from metering.following.publishing import NotPublished, Publishing
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader
from metering.records.meters import Catalogue, catalogue_of, catalogue_problems
from taximeter.before_writing import agreed, author, told, writing_problems
from taximeter.connection import configuration_of, run_on_logs
from taximeter.exit_codes import DISCREPANCY, FAILED, OK, USAGE
from taximeter.meter_commands.catalogue_changes import CatalogueChanges, changes_between
from taximeter.stripe_commands.running import print_json, shown

METERS_PLAN_SCHEMA: Final = "taximeter.meters-plan/1"
NOTHING_PUBLISHED: Final = "nothing is published yet: the first start of an aggregator publishes the meters of its settings file"


def plan(arguments: argparse.Namespace) -> int:
    """What the meters of the settings file would change.

    Exit code 2 when a meter would be dropped that was not named.
    """
    return run_on_logs(_plan(arguments), refusals=(NotPublished,))


def apply(arguments: argparse.Namespace) -> int:
    """Publish them, from a time on.

    Exit code 0 when the version is in the log and counts.
    """
    problems, from_ms = writing_problems(arguments, instead="taximeter meters plan"), None
    try:
        from_ms = None if arguments.from_time is None else parse_time(arguments.from_time, "--from")
    except EventRejected as error:
        problems.append(f"--from: {error.detail}")
    if told(problems):
        return USAGE
    return run_on_logs(_apply(arguments, from_ms), refusals=(NotPublished,), interrupted="; see taximeter meters list for whether it was published")


async def _plan(arguments: argparse.Namespace) -> int:
    configuration = configuration_of(arguments, {"kafka": KafkaSettings}, check_file=catalogue_problems)
    kafka = configuration.of(KafkaSettings)
    reader = LogReader(kafka, "meters")
    try:
        log = await read_log(reader, kafka)
        newest, changes = _compared(log, catalogue_of(configuration.file))
        _show(arguments, newest, changes)
        return DISCREPANCY if told(changes.refusals(arguments.drop)) else OK
    finally:
        await reader.close()


async def _apply(arguments: argparse.Namespace, from_ms: int | None) -> int:
    configuration = configuration_of(arguments, {"kafka": KafkaSettings}, check_file=catalogue_problems)
    kafka, catalogue = configuration.of(KafkaSettings), catalogue_of(configuration.file)
    reader, appender = LogReader(kafka, "meters"), Appender(kafka, "meters")
    try:
        log = await read_log(reader, kafka)
        newest, changes = _compared(log, catalogue)
        if not arguments.json or changes.is_empty:
            _show(arguments, newest, changes)
        if told(changes.refusals(arguments.drop)):
            return DISCREPANCY
        if changes.is_empty:
            return OK
        if not arguments.yes and not agreed("Publish it?"):
            print("nothing was done", file=sys.stderr)
            return FAILED
        publishing = Publishing(log, appender, SystemClock())
        version = await publishing.publish(catalogue, from_ms=from_ms, reason=arguments.reason, by=author(arguments))
        if arguments.json:
            print_json({"schema": METERS_PLAN_SCHEMA, "published": as_json(version), **changes.as_json()})
        else:
            print(
                f"version {version.number} ({version.catalogue.version}) is published. By log time it holds from {shown(version.from_ms // 1000)} on"
            )
        return OK
    finally:
        await reader.close()
        await appender.close()


async def read_log(reader: LogReader, kafka: KafkaSettings) -> CatalogueLog:
    """The versions that are published. Blocks on Kafka; raises LogUnavailable or FailClosed, and NotPublished if there are none."""
    log = CatalogueLog(reader, kafka.topics.catalogue.name)
    await log.read_on()
    if not log.published.versions:
        raise NotPublished(NOTHING_PUBLISHED)
    return log


def as_json(version: CatalogueVersion) -> dict[str, Any]:
    """One version, without its meters."""
    return {
        "number": version.number,
        "version": version.catalogue.version,
        "holds_from_ms": version.from_ms,
        "published_ms": version.log_time_ms,
        "offset": version.offset,
        "by": version.by,
        "reason": version.reason,
    }


def _compared(log: CatalogueLog, file: Catalogue) -> tuple[CatalogueVersion, CatalogueChanges]:
    *older, newest = log.published.versions
    return newest, changes_between(newest.catalogue, file, [each.catalogue for each in older])


def _show(arguments: argparse.Namespace, newest: CatalogueVersion, changes: CatalogueChanges) -> None:
    if arguments.json:
        print_json({"schema": METERS_PLAN_SCHEMA, "newest": as_json(newest), **changes.as_json()})
        return
    if changes.is_empty:
        print(f"the settings file says what version {newest.number} ({newest.catalogue.version}) says: there is nothing to publish")
        return
    print(f"against version {newest.number} ({newest.catalogue.version}), which is the newest:")
    for line in changes.lines():
        print(f"  {line}")
    print("  what was counted before stays as it is; to change that, see taximeter replay plan")
