"""How long a backlog of six hours takes to drain, in virtual time: the reporter's own partitions, dispatcher and lanes (see drain_world).

100,000 customers have usage in every minute; Stripe takes 1,000 calls a second of the account, of which the reporter uses 800. `make bench` runs
a tenth of everything (customers, calls a second, connections, rows_max), which takes as long in virtual time. CPU is of the whole
simulated day, the making of its tallies included. Seven hours of UTC, which six hours touch wherever they begin, would be too many to send one by
one, so windows grow to six hours: a customer has two of those, and the meter event of the intent that was open when Stripe went away. No
customer's billing periods are known. In the last row Stripe refuses one call in a thousand, whatever the rate. The full size takes nine minutes
of CPU, and 600 MB.
"""

import json
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import asdict
from functools import partial
from secrets import token_hex
from typing import Final

from benchmarks.aggregator import service_environment
from benchmarks.drain_world import FINISHED, DrainOrder
from benchmarks.measurement import Measurement
from benchmarks.paths import Arena, Measures, Path
from benchmarks.targets import Target
from benchmarks.watched import WatchedProcess

CUSTOMERS: Final = 100_000
CALLS_PER_SECOND: Final = 1_000
CONNECTIONS: Final = 256
ROWS_MAX: Final = 50_000
AWAY_MINUTES: Final = 360
ON_THE_HOUR: Final = "from 10:00 to 16:00"
HALF_PAST: Final = "from 10:30 to 16:30"
NOISY: Final = f"{ON_THE_HOUR}, 0.1 % of 429"
BEGIN: Final = {ON_THE_HOUR: (600, 0.0), HALF_PAST: (630, 0.0), NOISY: (600, 0.001)}
FINISH_SECONDS: Final = 3_600.0
MINUTES_MAX: Final = 15.0


@asynccontextmanager
async def begin(share: float, arena: Arena) -> AsyncIterator[Measures]:
    """A share of the full size; the order of the variants says nothing."""
    scale = share * arena.scale
    yield {name: partial(measure, arena, order_of(scale, minute, noise)) for name, (minute, noise) in BEGIN.items()}


def order_of(scale: float, away_from_minute: int, refused_share: float = 0.0) -> DrainOrder:
    """Everything in proportion: what is left of it takes the same virtual time."""
    return DrainOrder(
        customers=round(CUSTOMERS * scale),
        calls_per_second=max(2, round(CALLS_PER_SECOND * scale)),
        connections=max(2, round(CONNECTIONS * scale)),
        rows_max=max(100, round(ROWS_MAX * scale)),
        away_from_minute=away_from_minute,
        away_minutes=AWAY_MINUTES,
        refused_share=refused_share,
    )


async def measure(arena: Arena, order: DrainOrder) -> Measurement:
    """One run in a process of its own, whose peak of memory is the simulated reporter's, and a little more."""
    log = arena.folder / f"drain-{token_hex(4)}.log"
    command = [sys.executable, "-W", "ignore", "-m", "benchmarks.drain_world", json.dumps(asdict(order))]
    with WatchedProcess(command, log, service_environment(arena.kafka(), {})) as process:
        start = process.read()
        await process.until_said(FINISHED, FINISH_SECONDS)
        found = json.loads(next(line for line in log.read_text().splitlines() if FINISHED in line))
        return process.used_since(start, found["meter_events"], {name: float(value) for name, value in found.items() if name != "meter_events"})


_TARGETS: Final = [Target(name, "drain_minutes", MINUTES_MAX) for name in BEGIN]
PATHS: Final[Sequence[Path]] = (Path("reporter-drain", partial(begin, 0.1), _TARGETS, rounds_max=1),)
WHEN_NAMED: Final[Sequence[Path]] = (Path("reporter-full-drain", partial(begin, 1.0), _TARGETS, rounds_max=1),)
