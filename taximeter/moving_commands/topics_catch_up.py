"""`taximeter topics catch-up`: bring over what the cluster that was left got after it was copied.

Emitters and gateways that still knew the old address wrote there. What they wrote goes through the front door: numbers and ids are the same, so
whatever comes twice counts once.
"""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import orjson
from aiokafka.structs import ConsumerRecord
from taximeter_emitter.clock import SystemClock

from metering.copying.copied_topics import cluster_id
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender, LogReader
from reporter.adopting import LedgerMove, NotAdoptable
from taximeter.connection import NotConfigured, kafka_settings
from taximeter.exit_codes import OK
from taximeter.moving_commands.clusters import answered, check_agreed, check_asking, other_cluster, print_document

LATE_SENDS_AT_ONCE: Final = 200
_REDRIVEN: Final = "redrive-"


@dataclass(frozen=True, slots=True)
class LateRecords:
    """What one partition of usage.events got in the cluster that was left, at [start, end)."""

    partition: int
    start: int
    end: int


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when everything is here, 1 when nothing was adopted from that cluster, 4 when a cluster does not answer."""
    kafka = kafka_settings(arguments)
    other = other_cluster(arguments, kafka)
    if other is None:
        print("taximeter: say which cluster was left: --from SERVERS, or --from-config FILE", file=sys.stderr)
        raise NotConfigured
    return answered(lambda: _catch_up(arguments, kafka, other), asyncio.run, again="run it again: what comes twice counts once")


async def _catch_up(arguments: argparse.Namespace, kafka: KafkaSettings, other: KafkaSettings) -> int:
    check_asking(arguments)
    old_id = await cluster_id(other)
    reader, source, appender = LogReader(kafka, "catch-up-reader"), LogReader(other, "catch-up-source"), Appender(kafka, "catch-up")
    try:
        here, there = (LedgerMove(log, appender, each.topics, SystemClock()) for log, each in ((reader, kafka), (source, other)))
        late = [await _late(partition, here, there, old_id) for partition in range(kafka.partitions)]
        count = sum(each.end - each.start for each in late)
        if not arguments.json:
            print(f"{other.topics.events.name} in the cluster {old_id} got {count:,} offsets after it was copied")
        if count:
            check_agreed(arguments, "Bring them over?")
        brought = sum([await _bring(source, appender, kafka, other, each) for each in late])
        if arguments.json:
            print_document({"left": old_id, "late_offsets": count, "records": brought})
        else:
            print(f"{brought:,} records were brought over; those that were here already count once")
        return OK
    finally:
        await reader.close()
        await source.close()
        await appender.close()


async def _late(partition: int, here: LedgerMove, there: LedgerMove, old_id: str) -> LateRecords:
    adopted, left = (await here.state(partition)).adopted, await there.state(partition)
    if adopted is None or adopted.predecessor not in {old_id, ""}:
        raise NotAdoptable(f"partition {partition} was not adopted from the cluster {old_id}")
    # A cluster that was lost and came back has told Stripe of what its own intents cover, behind the copy too.
    start = adopted.copied_to if adopted.is_closed else max(adopted.copied_to, left.told_to)
    return LateRecords(partition, max(start, left.events_start), max(start, left.events_end))


async def _bring(source: LogReader, appender: Appender, kafka: KafkaSettings, other: KafkaSettings, late: LateRecords) -> int:
    brought = 0
    async for records in source.records(other.topics.events.name, late.partition, late.start, late.end):
        wanted = [record for record in records if not _is_redriven(record)]
        for start in range(0, len(wanted), LATE_SENDS_AT_ONCE):
            await _append(appender, kafka.topics.events.name, late.partition, wanted[start : start + LATE_SENDS_AT_ONCE])
        brought += len(wanted)
    return brought


async def _append(appender: Appender, topic: str, partition: int, records: Sequence[ConsumerRecord[bytes, bytes]]) -> None:
    await asyncio.gather(*(appender.append(topic, partition, each.value, key=each.key, headers=tuple(each.headers)) for each in records))


def _is_redriven(record: ConsumerRecord[bytes, bytes]) -> bool:
    """Whether a redrive wrote it. What was taken back there after the copy is set aside here still, and is taken back here."""
    if f'"{_REDRIVEN}'.encode() not in (record.value or b""):
        return False
    try:
        document = orjson.loads(record.value or b"")
        return str(document["emitter"]).startswith(_REDRIVEN)
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return False
