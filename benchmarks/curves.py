"""How the aggregator's cost per event changes with what it is given: partitions, customers, windows, size of a batch, processes.

Everything but the one thing stays as in `USUAL`. A point is measured as the paths are: whole processes, from the assignment to the last tally.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from secrets import token_hex
from statistics import median
from typing import Any, Final

from taximeter_emitter.wire.limits import MINUTE_MS

from benchmarks.aggregator import FLUSH_SECONDS, Load, measure_aggregator, service_environment, settings_file, until_tallied
from benchmarks.measurement import Measurement
from benchmarks.paths import Arena
from benchmarks.plot import Panel
from benchmarks.usage_load import Shape, batch_records, make_topics, produce
from benchmarks.watched import WatchedProcess

REBALANCE_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """One point. `windows`: over how many minutes the events are spread; `batch`: events of a record, all numbered and without ids."""

    events: int = 500_000
    partitions: int = 12
    customers: int = 2_000
    windows: int = 2
    batch: int = 500
    processes: int = 1

    @property
    def shape(self) -> Shape:
        """The load."""
        return Shape(events=self.events, customers=self.customers, spread_ms=self.windows * MINUTE_MS)


USUAL: Final = Setup()


@dataclass(frozen=True, slots=True)
class Curve:
    """Points by the value that changes."""

    name: str
    setups: Mapping[int, Setup]


CURVES: Final[Sequence[Curve]] = (
    Curve("events a batch", {size: replace(USUAL, batch=size, events=100_000 if size < 20 else 500_000) for size in (1, 5, 20, 100, 500, 2_000)}),
    Curve(
        "customers",
        {count: replace(USUAL, customers=count, events=500_000 if count < 10**5 else 10**6) for count in (10**2, 10**3, 10**4, 10**5, 10**6)},
    ),
    Curve("partitions", {count: replace(USUAL, partitions=count) for count in (1, 2, 4, 12, 32, 64)}),
    Curve("windows of a minute", {count: replace(USUAL, windows=count) for count in (1, 2, 10, 60, 360, 1_440)}),
    Curve("processes", {count: replace(USUAL, processes=count) for count in (1, 2)}),
)


async def measure_curves(arena: Arena, *, runs: int, say: Callable[[str], None]) -> list[dict[str, Any]]:
    """Medians of every point; a round goes through all points of a curve before the next begins."""
    found: list[dict[str, Any]] = []
    for curve in CURVES:
        measured: dict[int, list[Measurement]] = {value: [] for value in curve.setups}
        for number in range(runs):
            for value, setup in curve.setups.items():
                one = await measure_setup(arena, replace(setup, events=arena.events(setup.events)))
                measured[value].append(one)
                say(f"{curve.name} {value:,}, run {number + 1} of {runs}: {one.cpu_s_per_million:.2f} CPU-s per million")
        found.append({"name": curve.name, "points": [_point(value, several) for value, several in measured.items()]})
    return found


async def measure_setup(arena: Arena, setup: Setup) -> Measurement:
    """One point, once."""
    kafka = arena.kafka(setup.partitions)
    await make_topics(kafka)
    emitters = max(1, min(40, setup.events // (setup.partitions * setup.batch * 4)))
    records = batch_records(setup.shape, partitions=setup.partitions, size=setup.batch, with_ids=False, emitters=emitters)
    load = Load(kafka, setup.events)
    if setup.processes > 1:
        return await _measure_several(arena, load, list(records), setup.processes)
    await asyncio.to_thread(produce, kafka, records)
    return await measure_aggregator(arena, load)


async def _measure_several(arena: Arena, load: Load, records: Sequence[Any], processes: int) -> Measurement:
    """Several processes that have shared the partitions before the first event comes; the sum of what they use."""
    options = {"TAXIMETER_AGGREGATOR_FLUSH_SECONDS": str(FLUSH_SECONDS), "TAXIMETER_AGGREGATOR_GROUP_ID": load.kafka.topic_prefix}
    async with AsyncExitStack() as stack:
        running = []
        for _ in range(processes):
            folder = arena.folder / f"aggregator-{token_hex(4)}"
            folder.mkdir()
            command = [sys.executable, "-m", "aggregator", "--config", str(settings_file(folder))]
            running.append(stack.enter_context(WatchedProcess(command, folder / "log", service_environment(load.kafka, options))))
        for process in running:
            await process.until_said('"message":"assigned"')
        # Who came first gives partitions up to the others.
        await asyncio.sleep(REBALANCE_SECONDS)
        starts = [process.read() for process in running]
        await asyncio.to_thread(produce, load.kafka, records)
        await until_tallied(load, running[0])
        each = [process.used_since(start, load.events) for process, start in zip(running, starts, strict=True)]
        for process in running:
            await process.stop()
    return Measurement(
        load.events, sum(one.cpu_seconds for one in each), max(one.wall_seconds for one in each), max(one.peak_rss_bytes for one in each)
    )


def panels_of(curves: Sequence[Mapping[str, Any]]) -> dict[str, Panel]:
    """The plot of curves as `measure_curves` gives them."""
    return {
        f"CPU-seconds per million events, by {curve['name']}": Panel(
            {"aggregator": [(float(point["x"]), float(point["cpu_s_per_million"])) for point in curve["points"]]}, by_ratio=True
        )
        for curve in curves
    }


def _point(value: int, measured: Sequence[Measurement]) -> dict[str, float]:
    return {
        "x": value,
        "cpu_s_per_million": median(one.cpu_s_per_million for one in measured),
        "events_per_s": median(one.events_per_s for one in measured),
        "peak_rss": median(one.peak_rss_bytes for one in measured),
    }
