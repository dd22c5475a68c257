"""The console's answers: 1,000 customers, 30 days, 3 meters and 2 models, by the hour: 4.3 million rows. Only when it is named.

What is in `more` is the median time of each question, in milliseconds.
"""

import asyncio
import resource
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path as Folder
from secrets import token_hex
from statistics import median
from typing import Final

from benchmarks.measurement import Measurement
from benchmarks.paths import Arena, Measures, Path
from console.answering.usage_answer import answer_usage
from console.answering.usage_question import usage_asked
from console.folding.usage_changes import FoldChanges, UsageAmounts, UsagePlace
from console.store.fold_places import TALLIES, FoldPlace
from console.store.store_reading import StoreReading
from console.store.usage_store import UsageStore

CUSTOMERS: Final = 1_000
DAYS: Final = 30
NOW_MS: Final = 1_795_300_000_000
TODAY: Final = NOW_MS // 86_400_000
TIMES: Final = 15

_LAST_DAYS: Final = {"from": datetime.fromtimestamp((TODAY - 1) * 86_400, UTC).strftime("%Y-%m-%d")}
QUESTIONS: Final = {
    "all_by_day_meter_model_ms": {"group_by": "day,meter,model"},
    "all_by_customer_meter_ms": {"group_by": "customer,meter", "limit": "200"},
    "all_of_two_days_by_hour_ms": {"group_by": "hour,meter", **_LAST_DAYS},
    "one_by_day_meter_model_ms": {"customer": "cus_00500", "group_by": "day,meter,model"},
    "one_by_hour_meter_model_ms": {"customer": "cus_00500", "group_by": "hour,meter,model", "limit": "10000"},
}


@asynccontextmanager
async def begin(arena: Arena) -> AsyncIterator[Measures]:
    """Fill a store."""
    path, customers = arena.folder / f"console-{token_hex(4)}.sqlite3", max(10, round(CUSTOMERS * arena.scale))
    await asyncio.to_thread(fill, path, customers)
    try:
        yield {"answers": partial(measure, path)}
    finally:
        path.unlink()


def fill(path: Folder, customers: int) -> None:
    """As the followers write it, an hour of all customers at a time."""
    store, place = UsageStore(path, identity="benchmark", kept_from_day=TODAY - DAYS), None
    for hour in range(24 * (TODAY - DAYS + 1), 24 * (TODAY + 1)):
        changes = FoldChanges()
        for customer in range(customers):
            for meter in ("input_tokens", "output_tokens", "cached_tokens"):
                for model in ("alpaca-7b", "alpaca-70b"):
                    units = 1_000 + customer + hour % 24
                    amounts = UsageAmounts(counted=units, events=7, planned=units, told=units)
                    changes.add(UsagePlace(f"cus_{customer:05}", meter, (("model", model),), hour), amounts)
        before, place = place, FoldPlace(TALLIES, 0, hour)
        store.write(place, before, changes)
    store.close()


async def measure(path: Folder) -> Measurement:
    """Ask each question TIMES times."""
    reading, found = StoreReading(path, seconds=30), dict[str, float]()
    began, cpu = time.perf_counter(), time.process_time()
    for name, parameters in QUESTIONS.items():
        taken = []
        for _ in range(TIMES):
            asked, start = usage_asked(parameters, NOW_MS), time.perf_counter()
            await reading.ask(lambda store, asked=asked: answer_usage(store, asked))  # type: ignore[misc]
            taken.append(1_000 * (time.perf_counter() - start))
        found[name] = round(median(taken), 1)
    reading.close()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Measurement(TIMES * len(QUESTIONS), time.process_time() - cpu, time.perf_counter() - began, peak, found)


WHEN_NAMED: Final[Sequence[Path]] = (Path("console-30-days", begin, rounds_max=1),)
