"""One aggregator process under a steady load of single JSON events, as a running service has it, and not a backlog: nothing is there to read ahead.

Everything is in the figure: polls that bring a handful, the idle time between them, and tallies at the interval that is the default. `core_percent`
is the share of one core that the process took. Events are emitted at the moment of their time.
"""

import asyncio
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from secrets import token_hex
from typing import Final

from benchmarks.aggregator import AGGREGATOR, Load, service_environment, settings_file, until_tallied
from benchmarks.measurement import Measurement
from benchmarks.paths import Arena, Measures, Path
from benchmarks.targets import Target
from benchmarks.usage_load import LoadRecord, Shape, make_topics, produce, single_records
from benchmarks.watched import WatchedProcess

LOAD_SECONDS: Final = 10
SETTLED_SECONDS: Final = 2.0  # from the assignment until every partition is taken over
SLICES_PER_S: Final = 100


@asynccontextmanager
async def begin(rate: int, partitions: int, arena: Arena) -> AsyncIterator[Measures]:
    """Empty topics; the load comes while the process is measured."""
    kafka = arena.kafka(partitions)
    await make_topics(kafka)
    yield {AGGREGATOR: partial(measure, arena, Load(kafka, arena.events(rate * LOAD_SECONDS)), rate)}


async def measure(arena: Arena, load: Load, rate: int) -> Measurement:
    """From before the first event to the last tally; what it counted is checked."""
    folder = arena.folder / f"steady-{token_hex(4)}"
    folder.mkdir()
    command = [sys.executable, "-m", "aggregator", "--config", str(settings_file(folder))]
    options = {"TAXIMETER_AGGREGATOR_GROUP_ID": load.kafka.topic_prefix}
    with WatchedProcess(command, folder / "log", service_environment(load.kafka, options)) as process:
        await process.until_said('"message":"assigned"')
        await asyncio.sleep(SETTLED_SECONDS)
        start = process.read()
        await asyncio.to_thread(produce, load.kafka, paced(load, rate))
        await until_tallied(load, process)
        measured = process.used_since(start, load.events)
        await process.stop()
    return replace(measured, more={"core_percent": round(100 * measured.cpu_seconds / measured.wall_seconds, 2)})


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


def _path(rate: int, partitions: int, target: Target) -> Path:
    return Path(f"aggregator-steady-{rate}-{partitions}", partial(begin, rate, partitions), [target])


def _at_most(cpu_s_per_million: float) -> Target:
    return Target(AGGREGATOR, "cpu_s_per_million", cpu_s_per_million)


PATHS: Final[Sequence[Path]] = (
    _path(500, 12, Target(AGGREGATOR, "core_percent", 2.0)),
    _path(5_000, 12, _at_most(8.0)),
    _path(5_000, 64, _at_most(12.0)),
    _path(20_000, 12, _at_most(4.0)),
    _path(50_000, 12, _at_most(3.0)),
)
