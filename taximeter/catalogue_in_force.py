"""The meters by which usage is counted: those that are published, for commands that say what would be counted or sent."""

import sys
from collections.abc import Mapping

from metering.folds.catalogue_timeline import CatalogueTimeline, CatalogueVersion
from metering.following.catalogue_log import CatalogueLog
from metering.following.published_meters import meters_of_all
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader
from metering.kafka.topics import Topics
from metering.records.meters import Catalogue, Meter


async def catalogue_in_force(reader: LogReader, topics: Topics, file: Catalogue, now_ms: int) -> Catalogue:
    """The version in force at `now_ms` (Unix ms); the settings file's where nothing is published. Says on stderr where both differ.

    Blocks on Kafka; raises LogUnavailable or FailClosed.
    """
    versions = await _versions(reader, topics)
    if not versions:
        return file
    in_force = CatalogueTimeline(versions).in_force(now_ms)
    if in_force.catalogue.version != file.version:
        print(
            f"taximeter: the settings file has other meters than version {in_force.number}, by which events are counted now: taximeter meters plan",
            file=sys.stderr,
        )
    return in_force.catalogue


async def meters_to_send(reader: LogReader, topics: Topics, file: Catalogue) -> Mapping[str, Meter]:
    """The meters that reporters know, by name: of all versions, or of the settings file where nothing is published. Blocks and raises likewise."""
    return meters_of_all(await _versions(reader, topics), file)


async def published_versions(kafka: KafkaSettings) -> tuple[CatalogueVersion, ...]:
    """All versions, with a connection of its own. Blocks and raises likewise."""
    reader = LogReader(kafka, "meters")
    try:
        return await _versions(reader, kafka.topics)
    finally:
        await reader.close()


async def _versions(reader: LogReader, topics: Topics) -> tuple[CatalogueVersion, ...]:
    log = CatalogueLog(reader, topics.catalogue.name)
    await log.read_on()
    return log.published.versions
