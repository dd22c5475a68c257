"""A process that emits and computes: `python -m benchmarks.emit_caller SERVERS TOPIC EVENTS WORK`; what it saw is JSON on the last line.

WORK is how much the caller computes between two calls of emit; 0: it only emits. The same clock times a small computation that does not
emit, so that what the machine does to any code can be told from what emit costs.

A call is slow from 20 us on. The kernel counts what happened to the thread meanwhile: it was *blocked* when it waited for the interpreter or a
lock, which is the emitter's doing, and *preempted* when other processes wanted the core. What is left is the call's own work, interrupts and
page faults.
"""

import gc
import json
import resource
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from random import Random
from typing import Final

from ingest.emitter import Emitter

SENT: Final = '"sender_cpu_s"'
_PREPARED: Final = 5_000
_CONTROL_WORK: Final = 25
_CLOSE_SECONDS: Final = 30.0
_SETTLE_SECONDS: Final = 2.0
_PARTITIONS: Final = 12
_SLOW_NS: Final = 20_000


class Calls:
    """How long each call of something took, and what the kernel did with the thread meanwhile."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._taken: list[int] = []
        self._unpreempted: list[int] = []
        self._slow = {"blocked": 0, "preempted": 0, "other": 0}

    def time(self, call: Callable[[], object]) -> None:
        """Make one call."""
        before = resource.getrusage(resource.RUSAGE_THREAD)
        started = time.perf_counter_ns()
        call()
        taken = time.perf_counter_ns() - started
        after = resource.getrusage(resource.RUSAGE_THREAD)
        preempted = after.ru_nivcsw > before.ru_nivcsw
        self._taken.append(taken)
        if not preempted:
            self._unpreempted.append(taken)
        if taken > _SLOW_NS:
            self._slow["blocked" if after.ru_nvcsw > before.ru_nvcsw else "preempted" if preempted else "other"] += 1

    def found(self) -> dict[str, float]:
        """Percentiles in microseconds, and of a million calls how many were slow, by cause."""
        slow = {f"{self._name}_slow_{cause}_per_million": round(count * 1e6 / len(self._taken)) for cause, count in self._slow.items()}
        return {**percentiles(self._name, self._taken), **percentiles(f"{self._name}_unpreempted", self._unpreempted), **slow}


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
    emitting, control = Calls("emit"), Calls("control")
    gc.collect()
    process, caller, started = time.process_time(), time.thread_time(), time.monotonic()
    for number in range(events):
        customer, usage, model = given[number % _PREPARED]
        usage, dimensions = dict(usage), {"model": model}
        emitting.time(partial(emitter.emit, customer=customer, usage=usage, dimensions=dimensions))
        if work:
            control.time(partial(compute, _CONTROL_WORK))
            compute(work)
    wall, caller = time.monotonic() - started, time.thread_time() - caller
    stats = emitter.close(_CLOSE_SECONDS if servers_answer(emitter) else 0.0)
    sender = time.process_time() - process - caller
    assert stats.counts.dropped == 0, "the buffer was large enough"
    more = {**emitting.found(), **(control.found() if work else {})}
    return {**more, "sent": stats.counts.sent, "wall_s": wall, "sender_cpu_s": sender}


def servers_answer(emitter: Emitter) -> bool:
    """Whether there is somebody to send to."""
    return emitter.stats().connected


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))), flush=True)
    # What it has used is looked at now; it is ended from outside.
    time.sleep(3600)
