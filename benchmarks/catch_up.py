"""One aggregator process that comes late: 50 million events with ids, 1 % of them twice, in batches of 500; its memory and pace from first to last.

`more` has ten equal parts of the work: `rate_1` to `rate_10` in events a second, `rss_mb_1` to `rss_mb_10` at their ends (10**6 bytes resident,
pages of mapped files included). Only when it is named.
"""

import asyncio
import multiprocessing
import sys
import time
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from secrets import token_hex
from typing import Final

from benchmarks.aggregator import AGGREGATOR, FLUSH_SECONDS, PARTITIONS, Load, service_environment, settings_file, until_tallied
from benchmarks.measurement import Measurement
from benchmarks.paths import Arena, Measures, Path
from benchmarks.usage_load import Shape, batch_records, make_topics, produce
from benchmarks.watched import WatchedProcess
from metering.kafka.clients import KafkaSettings
from metering.records.tally import EventCounts

EVENTS: Final = 50_000_000
REPEATED: Final = 0.01
PARTS: Final = 10
FINISH_SECONDS: Final = 7_200.0
WRITERS: Final = 2
EMITTERS: Final = 4


@asynccontextmanager
async def begin(arena: Arena) -> AsyncIterator[Measures]:
    """A topic with all events, before anybody reads it, by two processes: to make them takes longer than to count them."""
    kafka = arena.kafka(PARTITIONS)
    await make_topics(kafka)
    events = arena.events(EVENTS // WRITERS)
    loop = asyncio.get_running_loop()
    with ProcessPoolExecutor(WRITERS, multiprocessing.get_context("spawn")) as pool:
        await asyncio.gather(*(loop.run_in_executor(pool, fill, kafka, events, number) for number in range(WRITERS)))
    yield {AGGREGATOR: partial(measure, arena, Load(kafka, WRITERS * events))}


def fill(kafka: KafkaSettings, events: int, number: int) -> None:
    """The part of one writer."""
    shape = Shape(events=events, repeated=REPEATED, seed=1 + number)
    produce(kafka, batch_records(shape, partitions=PARTITIONS, size=500, with_ids=True, emitters=EMITTERS, first_emitter=number * EMITTERS))


async def measure(arena: Arena, load: Load) -> Measurement:
    """From the assignment of the partitions to the last tally, with the ids in files."""
    folder = arena.folder / f"catch-up-{token_hex(4)}"
    folder.mkdir()
    command = [sys.executable, "-m", "aggregator", "--config", str(settings_file(folder))]
    options = {
        "TAXIMETER_AGGREGATOR_FLUSH_SECONDS": str(FLUSH_SECONDS),
        "TAXIMETER_AGGREGATOR_GROUP_ID": load.kafka.topic_prefix,
        "TAXIMETER_AGGREGATOR_STATE_DIR": str(folder / "ids"),
    }
    with WatchedProcess(command, folder / "log", service_environment(load.kafka, options)) as process:
        start = await process.until_said('"message":"assigned"')
        course = Course(load, process)
        await until_tallied(load, process, seconds=FINISH_SECONDS, on_poll=course.take)
        measured = process.used_since(start, load.events, course.figures())
        await process.stop()
    return measured


class Course:
    """The pace and the memory of the process, in ten equal parts of its work."""

    def __init__(self, load: Load, process: WatchedProcess) -> None:
        self._events = load.events
        self._process = process
        self._accounted = self._duplicates = self._part = self._before = 0
        self._part_began = time.monotonic()
        self._rates: dict[str, float] = {}
        self._memory: dict[str, float] = {}

    def take(self, counts: Sequence[EventCounts]) -> None:
        """The next tallies."""
        self._accounted += sum(events.total for events in counts)
        self._duplicates += sum(events.duplicates for events in counts)
        if self._accounted >= (self._part + 1) * self._events // PARTS:
            self._part = self._accounted * PARTS // self._events
            now = time.monotonic()
            self._rates[f"rate_{self._part}"] = round((self._accounted - self._before) / (now - self._part_began))
            self._memory[f"rss_mb_{self._part}"] = round(self._process.rss_bytes / 1e6)
            self._part_began, self._before = now, self._accounted

    def figures(self) -> dict[str, float]:
        """For `more`."""
        return {**self._rates, **self._memory, "duplicates": float(self._duplicates)}


WHEN_NAMED: Final[Sequence[Path]] = (Path("aggregator-catch-up", begin),)
