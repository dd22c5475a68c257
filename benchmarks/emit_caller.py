"""A process that emits and computes: `python -m benchmarks.emit_caller SERVERS TOPIC EVENTS WORK`; what it saw is JSON on the last line.

WORK is how much the caller computes between two calls of emit, half of it before the control, so that both find the core as computing leaves
it; 0: it only emits. The control computes for as long as a call of emit takes in the median. What the machine does to any code of that length,
it does to the control as well. The first calls are not timed; the control's length is found with them.

A call is slow from 20 us on. What happened meanwhile says why, the first that is true: the thread was *blocked* (waited for the interpreter
or a lock, which is the emitter's doing), *preempted* (other processes wanted the core), it *collected* garbage, it *faulted* (touched memory
that it was not given yet), it found the core *cold* (had lost it since the call before: its code and data come from memory). What is left are
interrupts, what they and other processes pushed out of the caches, and the call's own work. `caller_waits_per_s` is how often the caller
waited for the interpreter or a lock, within emit or not.
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

from taximeter_emitter import Emitter

SENT: Final = '"sender_cpu_s"'
_PREPARED: Final = 5_000
_TRIALS: Final = 2_000
_TRIAL_WORK: Final = 100
_WARMING_SHARE: Final = 20
_CLOSE_SECONDS: Final = 30.0
_SETTLE_SECONDS: Final = 2.0
_PARTITIONS: Final = 12
_SLOW_NS: Final = 20_000
_CAUSES: Final = ("blocked", "preempted", "collected", "faulted", "cold", "other")


class Calls:
    """How long each call of something took, and what happened to the thread meanwhile."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._taken: list[int] = []
        self._unpreempted: list[int] = []
        self._slow = dict.fromkeys(_CAUSES, 0)
        self._switches = _switches(resource.getrusage(resource.RUSAGE_THREAD))

    def time(self, call: Callable[[], object]) -> None:
        """Make one call."""
        collections = _collections.count
        before = resource.getrusage(resource.RUSAGE_THREAD)
        started = time.perf_counter_ns()
        call()
        taken = time.perf_counter_ns() - started
        after = resource.getrusage(resource.RUSAGE_THREAD)
        self._taken.append(taken)
        if after.ru_nivcsw == before.ru_nivcsw:
            self._unpreempted.append(taken)
        if taken > _SLOW_NS:
            self._slow[self._cause(before, after, collected=_collections.count > collections)] += 1
        self._switches = _switches(after)

    def found(self) -> dict[str, float]:
        """Percentiles in microseconds, and of a million calls how many were slow, by cause."""
        slow = {f"{self._name}_slow_{cause}_per_million": round(count * 1e6 / len(self._taken)) for cause, count in self._slow.items()}
        return {**percentiles(self._name, self._taken), **percentiles(f"{self._name}_unpreempted", self._unpreempted), **slow}

    def median(self) -> int:
        """Nanoseconds."""
        return sorted(self._taken)[len(self._taken) // 2]

    def _cause(self, before: resource.struct_rusage, after: resource.struct_rusage, *, collected: bool) -> str:
        if after.ru_nvcsw > before.ru_nvcsw:
            return "blocked"
        if after.ru_nivcsw > before.ru_nivcsw:
            return "preempted"
        if collected:
            return "collected"
        if after.ru_minflt > before.ru_minflt:
            return "faulted"
        return "cold" if _switches(before) > self._switches else "other"


class Collections:
    """Counts what Python's garbage collector does, in any thread."""

    def __init__(self) -> None:
        self.count = 0
        gc.callbacks.append(self._seen)

    def _seen(self, _phase: str, _info: dict[str, int]) -> None:
        self.count += 1


_collections: Final = Collections()


def _switches(usage: resource.struct_rusage) -> int:
    return usage.ru_nvcsw + usage.ru_nivcsw


def compute(work: int) -> int:
    """Keep the interpreter busy."""
    total = 0
    for number in range(work):
        total += number * number
    return total


def work_of(nanoseconds: int) -> int:
    """For how much work `compute` takes so long."""
    calls = Calls("trial")
    for _ in range(_TRIALS):
        calls.time(partial(compute, _TRIAL_WORK))
    return max(1, round(_TRIAL_WORK * nanoseconds / calls.median()))


def percentiles(name: str, nanoseconds: Sequence[int]) -> dict[str, float]:
    """Microseconds."""
    ordered = sorted(nanoseconds)
    return {
        f"{name}_{label}_us": round(ordered[int(len(ordered) * share)] / 1000, 1) for label, share in (("p50", 0.5), ("p99", 0.99), ("p999", 0.999))
    }


def run(servers: str, topic: str, events: int, work: int) -> dict[str, float]:
    """Emit this many events and measure each call."""
    random = Random(1)
    given = [
        (f"cus_{random.randrange(2_000):06d}", {"input_tokens": random.randrange(8_000), "output_tokens": random.randrange(1_000)}, "alpaca-7b")
        for _ in range(_PREPARED)
    ]
    emitter = Emitter(bootstrap_servers=servers, topic=topic, source="bench", partitions=_PARTITIONS, memory_bytes_max=512 * 1024 * 1024)
    time.sleep(_SETTLE_SECONDS)

    def emit(calls: Calls, number: int) -> None:
        customer, usage, model = given[number % _PREPARED]
        usage, dimensions = dict(usage), {"model": model}
        calls.time(partial(emitter.emit, customer=customer, usage=usage, dimensions=dimensions))

    first, emitting, control = Calls("first"), Calls("emit"), Calls("control")
    waits = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw
    process, caller, started = time.process_time(), time.thread_time(), time.monotonic()
    warming = events // _WARMING_SHARE
    for number in range(warming):
        compute(work // 2)
        emit(first, number)
    control_work = work_of(first.median())
    gc.collect()
    for number in range(warming, events):
        compute(work // 2)
        emit(emitting, number)
        if work:
            compute(work // 2)
            control.time(partial(compute, control_work))
    wall, caller = time.monotonic() - started, time.thread_time() - caller
    waits = resource.getrusage(resource.RUSAGE_THREAD).ru_nvcsw - waits
    stats = emitter.close(_CLOSE_SECONDS if servers_answer(emitter) else 0.0)
    sender = time.process_time() - process - caller
    assert stats.counts.dropped == 0, "the buffer was large enough"
    more = {**emitting.found(), **(control.found() if work else {})}
    return {**more, "caller_waits_per_s": round(waits / wall, 1), "sent": stats.counts.sent, "wall_s": wall, "sender_cpu_s": sender}


def servers_answer(emitter: Emitter) -> bool:
    """Whether there is somebody to send to."""
    return emitter.stats().connected


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))), flush=True)
    # What it has used is looked at now; it is ended from outside.
    time.sleep(3600)
