"""What each process uses, over time, and whether it grows."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Final

import psutil

GROWTH_MAX: Final = 0.05
# Before this share of the run, caches fill and segments are made.
SETTLED: Final = 1 / 3


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one moment: seconds since the start, resident bytes without file pages where the system tells, descriptors, CPU seconds."""

    at_s: float
    memory_bytes: int
    descriptors: int
    cpu_s: float


@dataclass(slots=True)
class Series:
    """One process over the run."""

    name: str
    samples: list[Sample] = field(default_factory=list)

    def growth(self, values: Sequence[float]) -> float:
        """Median of the last third over the median of the third before it, less one."""
        start = int(len(values) * SETTLED)
        middle = start + (len(values) - start) // 2
        before, after = median(values[start:middle]), median(values[middle:])
        return after / before - 1 if before else float(after > 0)

    def memory_growth(self) -> float:
        """Of memory."""
        return self.growth([sample.memory_bytes for sample in self.samples])

    def descriptor_growth(self) -> float:
        """Of open descriptors."""
        return self.growth([sample.descriptors for sample in self.samples])


def take(pid: int, at_s: float) -> Sample:
    """Look at a process now. Raises psutil.NoSuchProcess."""
    process = psutil.Process(pid)
    with process.oneshot():
        memory = process.memory_info()
        cpu = process.cpu_times()
        return Sample(at_s, memory.rss - getattr(memory, "shared", 0), process.num_fds(), cpu.user + cpu.system)


def grown(series: Mapping[str, Series]) -> list[str]:
    """What grew beyond the bound, in words."""
    found = []
    for name, one in series.items():
        for what, growth in (("memory", one.memory_growth()), ("descriptors", one.descriptor_growth())):
            if growth > GROWTH_MAX:
                found.append(f"{what} of {name} grew by {growth:.1%}")
    return found
