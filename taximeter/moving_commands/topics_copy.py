"""`taximeter topics copy`: copy the topics to another cluster, each record at its offset and with its log time."""

import argparse
import asyncio
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any, Final

from aiokafka.errors import KafkaError
from taximeter_emitter.clock import SystemClock

from metering.copying.copied_topics import cluster_id, prepare_copy
from metering.copying.copy_original import CopyOriginal
from metering.copying.copy_rounds import CopyProgress, CopyRounds, OnCopied
from metering.copying.copy_target import CopyTarget
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import LogReader, LogUnavailable
from metering.records.fail_closed import RecordUnreadable
from taximeter.connection import NotConfigured, kafka_settings
from taximeter.exit_codes import OK
from taximeter.moving_commands.clusters import NothingDone, answered, check_agreed, check_asking, other_cluster, print_document

COPY_EVERY_SECONDS: Final = 1.0
AFTER_FAILURE_SECONDS: Final = 10.0  # a record that was on its way has landed by then
COPY_SHOW_SECONDS: Final = 10.0
_AGAIN: Final = "the same command goes on where this one ended"


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when the copy is as far as the original was, 1 when it cannot be made there, 4 when a cluster does not answer."""
    kafka = kafka_settings(arguments)
    target = other_cluster(arguments, kafka)
    if target is None:
        print("taximeter: say where to: --to SERVERS, or --to-config FILE", file=sys.stderr)
        raise NotConfigured
    return answered(lambda: _copy(arguments, kafka, target), asyncio.run, again=_AGAIN)


async def _copy(arguments: argparse.Namespace, kafka: KafkaSettings, other: KafkaSettings) -> int:
    check_asking(arguments)
    if await cluster_id(kafka) == await cluster_id(other):
        raise NothingDone("both addresses are of the same cluster")
    source, target = LogReader(kafka, "copy-source"), CopyTarget(other)
    try:
        problems = await prepare_copy(other, target, clock=SystemClock())
        if problems:
            raise NothingDone("; ".join(problems))
        rounds = CopyRounds(CopyOriginal(source, kafka.topics), target, original=kafka.topics, copied=other.topics, partitions=kafka.partitions)
        before = await rounds.progress()
        if not arguments.json:
            show_progress(before)
        check_agreed(arguments, "Copy?")
        copied: Counter[str] = Counter()
        try:
            await rounds.copy(telling(copied, quiet=arguments.json))
        except RecordUnreadable as error:
            if not arguments.follow:
                raise
            print(f"taximeter: {error}; following the others", file=sys.stderr)
        if arguments.json:
            print_document({"topics": progress_as_json(before), "copied_records": dict(copied)})
        else:
            print(f"copied {copied.total():,} records; nothing may be written to the copy until it is adopted: taximeter repair adopt")
        while arguments.follow:
            await follow(rounds, copied)
        return OK
    finally:
        await source.close()
        await target.close()


async def follow(rounds: CopyRounds, copied: Counter[str]) -> None:
    """One more round. What does not answer, and a batch that cannot be read, is said and tried again: it costs no other partition anything."""
    await asyncio.sleep(COPY_EVERY_SECONDS)
    try:
        await rounds.copy(telling(copied, quiet=True))
    except (LogUnavailable, KafkaError, RecordUnreadable) as error:
        print(f"taximeter: {error or type(error).__name__}; trying again", file=sys.stderr)
        await asyncio.sleep(AFTER_FAILURE_SECONDS)


def telling(copied: Counter[str], *, quiet: bool) -> OnCopied:
    """Add up what is copied, and say so now and then on stderr."""
    shown = time.monotonic()

    def on_copied(topic: str, count: int) -> None:
        nonlocal shown
        copied[topic] += count
        if not quiet and time.monotonic() - shown >= COPY_SHOW_SECONDS:
            shown = time.monotonic()
            print(f"{topic}: {copied[topic]:,} records", file=sys.stderr)

    return on_copied


def show_progress(found: Sequence[CopyProgress]) -> None:
    """What there is to copy, by topic."""
    for topic in dict.fromkeys(each.topic for each in found):
        logs = [each for each in found if each.topic == topic]
        kept = sum(each.end - each.start for each in logs)
        print(f"{topic}: {len(logs)} partitions, {kept:,} offsets kept, {sum(each.missing for each in logs):,} of them to copy")


def progress_as_json(found: Sequence[CopyProgress]) -> list[dict[str, Any]]:
    """For `--json`."""
    return [
        {"topic": each.topic, "partition": each.partition, "start": each.start, "end": each.end, "copied_to": each.copied, "to_copy": each.missing}
        for each in found
    ]
