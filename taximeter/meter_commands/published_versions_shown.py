"""`taximeter meters list` and `show`: the versions that are published."""

import argparse
import time
from collections.abc import Awaitable, Callable, Sequence

import orjson
from rich.table import Table

from metering.folds.catalogue_timeline import CatalogueTimeline, CatalogueVersion
from metering.following.publishing import NotPublished
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from taximeter.connection import kafka_settings, run_on_logs
from taximeter.exit_codes import OK
from taximeter.meter_commands.publishing_meters import as_json, read_log
from taximeter.stripe_commands.running import console, print_json, shown

VERSIONS_SCHEMA = "taximeter.meters/1"


def list_versions(arguments: argparse.Namespace) -> int:
    """The versions that are published."""
    return run_on_logs(_with_versions(kafka_settings(arguments), lambda versions: _list(arguments, versions)), refusals=(NotPublished,))


def show(arguments: argparse.Namespace) -> int:
    """One version, with its meters."""
    return run_on_logs(_with_versions(kafka_settings(arguments), lambda versions: _show(arguments, versions)), refusals=(NotPublished,))


async def _with_versions(kafka: KafkaSettings, work: Callable[[Sequence[CatalogueVersion]], Awaitable[None]]) -> int:
    reader = LogReader(kafka, "meters")
    try:
        await work((await read_log(reader, kafka)).published.versions)
        return OK
    finally:
        await reader.close()


async def _list(arguments: argparse.Namespace, versions: Sequence[CatalogueVersion]) -> None:
    now_ms = round(time.time() * 1000)
    if arguments.json:
        in_force = CatalogueTimeline(tuple(versions)).in_force(now_ms).number
        print_json({"schema": VERSIONS_SCHEMA, "in_force": in_force, "versions": [as_json(version) for version in versions]})
        return
    table = Table()
    for heading in ("number", "version", "holds from", "published", "by", "reason", "meters"):
        table.add_column(heading, overflow="fold")
    for version in versions:
        table.add_row(
            f"{version.number}{_mark(versions, version, now_ms)}",
            version.catalogue.version,
            shown(version.from_ms // 1000) if version.from_ms else "the beginning",
            shown(version.log_time_ms // 1000),
            version.by,
            version.reason,
            ", ".join(version.catalogue.by_name),
        )
    console().print(table)


def _mark(versions: Sequence[CatalogueVersion], version: CatalogueVersion, now_ms: int) -> str:
    if version.from_ms > now_ms:
        return " (to come)"
    return " (in force)" if CatalogueTimeline(tuple(versions)).in_force(now_ms) is version else ""


async def _show(arguments: argparse.Namespace, versions: Sequence[CatalogueVersion]) -> None:
    found = [version for version in versions if arguments.version in {str(version.number), version.catalogue.version}]
    if not found:
        raise NotPublished(f"no version {arguments.version} is published; there are 1 to {len(versions)}: taximeter meters list")
    version = found[-1]
    document = {**as_json(version), "definition": version.catalogue.definition}
    if arguments.json:
        print_json({"schema": VERSIONS_SCHEMA, **document})
        return
    print(f"version {version.number} ({version.catalogue.version}), by {version.by}: {version.reason}")
    print(f"holds from {shown(version.from_ms // 1000) if version.from_ms else 'the beginning'}, published {shown(version.log_time_ms // 1000)}")
    for entry in version.catalogue.definition:
        print(f"  {orjson.dumps(entry).decode()}")
