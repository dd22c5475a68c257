"""The index of ids at the horizon: 172.8 million ids, which are 24 hours at 2,000 a second. Only when it is named.

What is in `more`, ids_process says.
"""

import json
import shutil
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from secrets import token_hex
from typing import Final

from benchmarks.aggregator import service_environment
from benchmarks.ids_process import FINISHED
from benchmarks.measurement import Measurement
from benchmarks.paths import Arena, Measures, Path
from benchmarks.watched import WatchedProcess

IDS: Final = 172_800_000
FINISH_SECONDS: Final = 4 * 3_600.0


@asynccontextmanager
async def begin(arena: Arena) -> AsyncIterator[Measures]:
    """There is nothing to prepare; the one variant keeps its entries in files, as with a state_dir."""
    yield {"ids in files": partial(measure, arena)}


async def measure(arena: Arena) -> Measurement:
    """The CPU is that of everything, random numbers included; what each step takes is in `more`."""
    ids, folder = arena.events(IDS), arena.folder / f"ids-{token_hex(4)}"
    folder.mkdir()
    log = arena.folder / f"{folder.name}.log"
    try:
        with WatchedProcess(
            [sys.executable, "-m", "benchmarks.ids_process", str(folder), str(ids)], log, service_environment(arena.kafka(), {})
        ) as process:
            start = process.read()
            await process.until_said(FINISHED, FINISH_SECONDS)
            found = json.loads(next(line for line in log.read_text().splitlines() if FINISHED in line))
            return process.used_since(start, ids, {name: round(value, 3) for name, value in found.items()})
    finally:
        shutil.rmtree(folder)


WHEN_NAMED: Final[Sequence[Path]] = (Path("ids-172m", begin),)
