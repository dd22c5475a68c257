"""`python -m benchmarks.core [--only numbered,ids] [--events 400000] [--runs 5] [--turn 50] [--profile]`: the aggregator's core alone, without Kafka.

PartitionCounters over records in memory, cut after as many records as a busy aggregator handles in a second; CPU-seconds of this process.
"""

import argparse
import cProfile
import gc
import pstats
import sys
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from statistics import median
from typing import Final

from taximeter_emitter.wire.limits import DAY_MS
from taximeter_emitter.wire.partitioner import partition_of

from aggregator.core.counting import PartitionCounter
from aggregator.core.counting_rules import CountingRules
from benchmarks.usage_load import METERS_FILE, LoadRecord, Shape, batch_records, single_records
from metering.folds.catalogue_timeline import always
from metering.folds.tallies import Tallies
from metering.records.meters import catalogue_of
from metering.records.record import LogRecord, Record
from metering.records.service_limits import CHAIN_RECORD_BYTES_TARGET

PARTITIONS: Final = 12
TURN_RECORDS: Final = 50
TALLY_EVENTS: Final = 50_000
ROWS_SHOWN: Final = 30

Load = Callable[[Shape], Iterator[LoadRecord]]
LOADS: Final[Mapping[str, tuple[Load, float]]] = {
    "numbered-500": (partial(batch_records, partitions=PARTITIONS, size=500, with_ids=False), 0.0),
    "ids-500": (partial(batch_records, partitions=PARTITIONS, size=500, with_ids=True), 0.0),
    "ids-500-repeats": (partial(batch_records, partitions=PARTITIONS, size=500, with_ids=True), 0.01),
    "numbered-100": (partial(batch_records, partitions=PARTITIONS, size=100, with_ids=False, emitters=8), 0.0),
    "batches-20": (partial(batch_records, partitions=PARTITIONS, size=20, with_ids=False, emitters=40), 0.0),
    "single": (partial(single_records, partitions=PARTITIONS), 0.01),
}
"""What is counted, and which share of the events comes twice."""


def records_of(load: Load, shape: Shape) -> list[list[LogRecord]]:
    """The records of each partition, appended at this moment."""
    now_ms = time.time_ns() // 1_000_000
    logs: list[list[LogRecord]] = [[] for _ in range(PARTITIONS)]
    for record in load(shape):
        log = logs[record.partition]
        log.append(Record(len(log), now_ms, record.key, record.value, ()))
    return logs


def count(logs: Sequence[Sequence[LogRecord]], events: int, turn_records: int = TURN_RECORDS) -> None:
    """Count everything, in turns of this many records, with a tally when a partition has read as many bytes as TALLY_EVENTS take."""
    catalogue = catalogue_of(tomllib.loads(METERS_FILE))
    counters = []
    for partition in range(PARTITIONS):
        rules = CountingRules("usage.events", always(catalogue), partial(partition_of, partitions=PARTITIONS), "benchmark", 2 * DAY_MS)
        counter = PartitionCounter(partition, rules, Tallies())
        counter.found(0, "chain")
        counters.append(counter)
    total = sum(len(record.value or b"") for log in logs for record in log)
    tally_bytes = total * TALLY_EVENTS // events
    offsets = [0] * PARTITIONS
    counted, position = 0, 0
    while position < max(map(len, logs)):
        for partition, (counter, log) in enumerate(zip(counters, logs, strict=True)):
            turn = log[position : position + turn_records]
            while turn:
                turn = turn[counter.count_many(turn, CHAIN_RECORD_BYTES_TARGET) :]
            if counter.pending_input_bytes >= tally_bytes or (position + turn_records >= len(log) and counter.pending_records):
                cut = counter.cut()
                counted += cut.tally.events.counted + cut.tally.events.duplicates
                assert counter.observe(offsets[partition], cut.tally)
                offsets[partition] += 1
        position += turn_records
    assert counted == events, f"{counted} of {events} events are accounted for"


def measured(logs: Sequence[Sequence[LogRecord]], events: int, runs: int, turn_records: int) -> Sequence[float]:
    """CPU-seconds per million events, of each run."""
    found = []
    for _ in range(runs):
        start = time.process_time()
        count(logs, events, turn_records)
        found.append((time.process_time() - start) * 1e6 / events)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, or with --profile show where the time goes."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.core", description="The aggregator's core over records in memory.")
    parser.add_argument("--only", default="", metavar="LOAD,...", help=f"loads by name: {', '.join(LOADS)}")
    parser.add_argument("--events", type=int, default=400_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument(
        "--turn", type=int, default=TURN_RECORDS, help="records of a partition before the next has its turn; a service takes up to 500"
    )
    parser.add_argument("--profile", action="store_true", help="run once under cProfile, which makes Python calls look dearer than they are")
    options = parser.parse_args(arguments)
    gc.set_threshold(50_000, 50, 1_000)  # as a service has it
    for name in [name for name in options.only.split(",") if name] or LOADS:
        load, repeated = LOADS[name]
        logs = records_of(load, Shape(events=options.events, repeated=repeated))
        gc.collect()
        gc.freeze()
        size = sum(len(record.value or b"") for log in logs for record in log)
        print(f"{name}: {size / options.events:.1f} bytes an event", flush=True)
        if options.profile:
            profile = cProfile.Profile()
            profile.runcall(count, logs, options.events, options.turn)
            pstats.Stats(profile, stream=sys.stdout).sort_stats("tottime").print_stats(ROWS_SHOWN)
        else:
            found = measured(logs, options.events, options.runs, options.turn)
            print(f"{name}: {median(found):.3f} CPU-s per million events (of {options.runs}: {min(found):.3f} to {max(found):.3f})", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
