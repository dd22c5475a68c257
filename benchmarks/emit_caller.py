"""A process that emits and computes: `python -m benchmarks.emit_caller SERVERS TOPIC EVENTS WORK`; what it saw is JSON on the last line.

WORK is how much the caller computes between two calls of emit; 0: it only emits. The same clock times a small computation that does not
emit, so that what the machine does to any code can be told from what emit costs.
"""

import gc
import json
import sys
import time
from collections.abc import Sequence
from random import Random
from typing import Final

from ingest.emitter import Emitter

SENT: Final = '"sender_cpu_s"'
_PREPARED: Final = 5_000
_CONTROL_WORK: Final = 25
_CLOSE_SECONDS: Final = 30.0
_SETTLE_SECONDS: Final = 2.0
_PARTITIONS: Final = 12


def compute(work: int) -> int:
    """Keep the interpreter busy."""
    total = 0
    for number in range(work):
        total += number * number
    return total


def percentiles(name: str, nanoseconds: Sequence[int]) -> dict[str, float]:
    """Microseconds."""
    ordered = sorted(nanoseconds)
    return {
        f"{name}_{label}_us": round(ordered[int(len(ordered) * share)] / 1000, 1) for label, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))
    }


def run(servers: str, topic: str, events: int, work: int) -> dict[str, float]:
    """Emit so many events and measure each call."""
    random = Random(1)
    given = [
        (f"cus_{random.randrange(2_000):06d}", {"input_tokens": random.randrange(8_000), "output_tokens": random.randrange(1_000)}, "alpaca-7b")
        for _ in range(_PREPARED)
    ]
    emitter = Emitter(bootstrap_servers=servers, topic=topic, source="bench", partitions=_PARTITIONS, memory_bytes_max=512 * 1024 * 1024)
    time.sleep(_SETTLE_SECONDS)
    taken, control = [0] * events, [0] * events
    now = time.perf_counter_ns
    gc.collect()
    process, caller, started = time.process_time(), time.thread_time(), time.monotonic()
    for number in range(events):
        customer, usage, model = given[number % _PREPARED]
        usage, dimensions = dict(usage), {"model": model}
        before = now()
        emitter.emit(customer=customer, usage=usage, dimensions=dimensions)
        taken[number] = now() - before
        if work:
            before = now()
            compute(_CONTROL_WORK)
            control[number] = now() - before
            compute(work)
    wall, caller = time.monotonic() - started, time.thread_time() - caller
    stats = emitter.close(_CLOSE_SECONDS if servers_answer(emitter) else 0.0)
    sender = time.process_time() - process - caller
    assert stats.counts.dropped == 0, "the buffer was large enough"
    more = {**percentiles("emit", taken), **(percentiles("control", control) if work else {})}
    return {**more, "sent": stats.counts.sent, "wall_s": wall, "sender_cpu_s": sender}


def servers_answer(emitter: Emitter) -> bool:
    """Whether there is somebody to send to."""
    return emitter.stats().connected


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))), flush=True)
    # What it has used is looked at now; it is ended from outside.
    time.sleep(3600)
