"""One aggregator process under a steady load, as a running service has it, and not a backlog: nothing is there to read ahead.

Everything is in the figure: polls that bring a handful, the idle time between them, and tallies at the interval that is the default. `core_percent`
is the share of one core that the process took, `peak_mb` its memory. Single events are emitted at the moment of their time, and batches of 400 as
a gateway or many emitters write them. The aggregator has counted each series before: to learn one costs as much as thirty events.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from secrets import token_hex
from typing import Final

from benchmarks.aggregator import AGGREGATOR, Load, service_environment, settings_file, until_tallied
from benchmarks.measurement import Measurement
from benchmarks.paths import Arena, Measures, Path
from benchmarks.targets import Target
from benchmarks.usage_load import LoadRecord, Shape, batch_records, known_series, make_topics, produce, single_record, single_records
from benchmarks.watched import WatchedProcess

LOAD_SECONDS: Final = 10
SLICES_PER_S: Final = 100
BATCH: Final = 400


@dataclass(frozen=True, slots=True)
class Steady:
    """So many events a second over so many partitions, in batches if it is said, and with ids if that is said."""

    rate: int
    partitions: int
    is_batched: bool = False
    with_ids: bool = True


@asynccontextmanager
async def begin(steady: Steady, arena: Arena) -> AsyncIterator[Measures]:
    """Empty topics; the load comes while the process is measured."""
    kafka = arena.kafka(steady.partitions)
    await make_topics(kafka)
    yield {AGGREGATOR: partial(measure, arena, Load(kafka, arena.events(steady.rate * LOAD_SECONDS)), steady)}


async def measure(arena: Arena, load: Load, steady: Steady) -> Measurement:
    """From before the first event to the last tally; what it counted is checked."""
    folder = arena.folder / f"steady-{token_hex(4)}"
    folder.mkdir()
    command = [sys.executable, "-m", "aggregator", "--config", str(settings_file(folder))]
    options = {"TAXIMETER_AGGREGATOR_GROUP_ID": load.kafka.topic_prefix}
    with WatchedProcess(command, folder / "log", service_environment(load.kafka, options)) as process:
        await process.until_said('"message":"assigned"')
        known = await asyncio.to_thread(produce, load.kafka, map(partial(single_record, steady.partitions), known_series()))
        await until_tallied(replace(load, events=known), process)
        start = process.read()
        await asyncio.to_thread(produce, load.kafka, batches(load, steady) if steady.is_batched else paced(load, steady.rate))
        await until_tallied(replace(load, events=known + load.events), process)
        measured = process.used_since(start, load.events)
        await process.stop()
    percent = round(100 * measured.cpu_seconds / measured.wall_seconds, 2)
    return replace(measured, more={"core_percent": percent, "peak_mb": round(measured.peak_rss_bytes / 1e6)})


def batches(load: Load, steady: Steady) -> Iterator[LoadRecord]:
    """The records of the load, made ahead and written at equal distances. Blocks between them."""
    shape = Shape(events=load.events, spread_ms=1)
    records = list(batch_records(shape, partitions=steady.partitions, size=BATCH, with_ids=steady.with_ids))
    began = time.monotonic()
    for number, record in enumerate(records):
        time.sleep(max(0.0, began + number / len(records) * load.events / steady.rate - time.monotonic()))
        yield record


def paced(load: Load, rate: int) -> Iterator[LoadRecord]:
    """The records of the load, each at its moment. Blocks between them."""
    began, ahead = time.monotonic(), max(1, rate // SLICES_PER_S)
    made = 0
    while made < load.events:
        count = min(ahead, load.events - made)
        # Made when they are due, so that their times are of this moment.
        yield from single_records(Shape(events=count, seed=1 + made, spread_ms=1), partitions=load.kafka.partitions)
        made += count
        time.sleep(max(0.0, began + made / rate - time.monotonic()))


def _path(name: str, steady: Steady, *targets: Target) -> Path:
    return Path(f"aggregator-steady-{name}", partial(begin, steady), targets)


def _at_most(cpu_s_per_million: float) -> Target:
    return Target(AGGREGATOR, "cpu_s_per_million", cpu_s_per_million)


PATHS: Final[Sequence[Path]] = (
    _path("500-12", Steady(500, 12), Target(AGGREGATOR, "core_percent", 2.0)),
    _path("5000-12", Steady(5_000, 12), _at_most(8.0)),
    _path("5000-64", Steady(5_000, 64), _at_most(12.0), Target(AGGREGATOR, "peak_mb", 200)),
    _path("20000-12", Steady(20_000, 12), _at_most(4.0)),
    _path("50000-12", Steady(50_000, 12), _at_most(3.0)),
    _path("numbered-50000-12", Steady(50_000, 12, is_batched=True, with_ids=False)),
    _path("ids-50000-12", Steady(50_000, 12, is_batched=True)),
)
