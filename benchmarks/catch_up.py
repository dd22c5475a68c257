"""One aggregator process that comes late: 50 million events with ids, 1 % of them twice, in batches of 500; its memory and pace from first to last.

`more` has ten equal parts of the work: `rate_1` to `rate_10` in events a second, `rss_mb_1` to `rss_mb_10` at their ends (10**6 bytes resident,
pages of mapped files included). Only when it is named.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from secrets import token_hex
from typing import Final

from aiokafka import TopicPartition

from benchmarks.aggregator import FLUSH_SECONDS, PARTITIONS, Load, service_environment, settings_file
from benchmarks.measurement import Measurement
from benchmarks.paths import Arena, Measures, Path
from benchmarks.usage_load import Shape, batch_records, make_topics, produce
from benchmarks.watched import WatchedProcess
from metering.kafka import make_log_reader, started
from metering.tally import decode_tally

EVENTS: Final = 50_000_000
REPEATED: Final = 0.01
PARTS: Final = 10
FINISH_SECONDS: Final = 7_200.0
IN_FILES: Final = "ids in files"
IN_MEMORY: Final = "ids in memory"


@asynccontextmanager
async def begin(arena: Arena) -> AsyncIterator[Measures]:
    """Nothing in advance: a variant fills topics of its own."""
    yield {IN_FILES: partial(measure, arena, True), IN_MEMORY: partial(measure, arena, False)}


async def filled(arena: Arena) -> Load:
    """A topic with all events, before anybody reads it."""
    shape = Shape(events=arena.events(EVENTS), repeated=REPEATED)
    kafka = arena.kafka(PARTITIONS)
    await make_topics(kafka)
    await asyncio.to_thread(produce, kafka, batch_records(shape, partitions=PARTITIONS, size=500, with_ids=True))
    return Load(kafka, shape.events)


async def measure(arena: Arena, in_files: bool) -> Measurement:
    """From the assignment of the partitions to the last tally."""
    load = await filled(arena)
    folder = arena.folder / f"catch-up-{token_hex(4)}"
    folder.mkdir()
    command = [sys.executable, "-m", "aggregator", "--config", str(settings_file(folder))]
    options = {"TAXIMETER_AGGREGATOR_FLUSH_SECONDS": str(FLUSH_SECONDS), "TAXIMETER_AGGREGATOR_GROUP_ID": f"{load.kafka.topic_prefix}-{token_hex(2)}"}
    if in_files:
        options["TAXIMETER_AGGREGATOR_STATE_DIR"] = str(folder / "ids")
    with WatchedProcess(command, folder / "log", service_environment(load.kafka, options)) as process:
        start = await process.until_said('"message":"assigned"')
        more = await course(load, process)
        measured = process.used_since(start, load.events, more)
        await process.stop()
    return measured


async def course(load: Load, process: WatchedProcess) -> dict[str, float]:
    """Follows the tallies to the end. Raises ProcessFailed, TimeoutError, or AssertionError when what was counted is not what there was."""
    places = [TopicPartition(load.kafka.topics.tallies.name, number) for number in range(load.kafka.partitions)]
    rates, memory = {}, {}
    accounted = duplicates = part = 0
    part_began, part_accounted = time.monotonic(), 0
    async with started(make_log_reader(load.kafka, client_id="benchmarks")) as consumer, asyncio.timeout(FINISH_SECONDS):
        consumer.assign(places)
        for place in places:
            consumer.seek(place, 0)
        while accounted < load.events:
            process.check()
            for records in (await consumer.getmany(timeout_ms=250)).values():
                for record in records:
                    events = decode_tally(record.value).events
                    accounted += events.total
                    duplicates += events.duplicates
            if accounted >= (part + 1) * load.events // PARTS:
                part = accounted * PARTS // load.events
                now = time.monotonic()
                rates[f"rate_{part}"] = round((accounted - part_accounted) / (now - part_began))
                memory[f"rss_mb_{part}"] = round(process.rss_bytes / 1e6)
                part_began, part_accounted = now, accounted
    assert accounted == load.events, f"the tallies account for {accounted} events, and there are {load.events}"
    return {**rates, **memory, "duplicates": float(duplicates)}


WHEN_NAMED: Final[Sequence[Path]] = (Path("aggregator-catch-up", begin),)
