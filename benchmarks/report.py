"""The results for people and for programs."""

import os
import platform
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import psutil
from rich.table import Table

from benchmarks.measurement import Result

REASON_CHARS_MAX: Final = 200
_CPU_INFO: Final = Path("/proc/cpuinfo")


def table_of(results: Sequence[Result], *, title: str) -> Table:
    """One row a variant."""
    table = Table(title=title)
    table.add_column("path")
    table.add_column("variant")
    for heading in ("events", "CPU-s / million", "x bare", "events/s", "peak MB"):
        table.add_column(heading, justify="right")
    table.add_column("targets")
    table.add_column("more")
    before = ""
    for result in results:
        path, before = (result.path if result.path != before else ""), result.path
        targets = "\n".join(map(str, result.targets))
        if result.unavailable:
            table.add_row(path, result.variant, "", "", "", "", "", targets, result.unavailable[-REASON_CHARS_MAX:])
            continue
        table.add_row(
            path,
            result.variant,
            f"{result.events:,}",
            f"{result.cpu_s_per_million:.2f}",
            "" if result.ratio is None else f"{result.ratio:.2f}",
            f"{result.events_per_s:,.0f}",
            f"{result.peak_rss / 1e6:.0f}",
            targets,
            ", ".join(f"{name} {value:g}" for name, value in result.more.items()),
        )
    return table


def as_json(results: Sequence[Result], *, broker: str) -> dict[str, Any]:
    """Everything, with what the figures depend on. `load` is the machine's load average over the last 1, 5 and 15 minutes."""
    return {
        "broker": broker,
        "python": interpreter(),
        "machine": machine(),
        "date": datetime.now(UTC).date().isoformat(),
        "commit": commit(),
        "load": os.getloadavg(),
        "results": [asdict(result) for result in results],
    }


def interpreter() -> str:
    """Version and compiler: how an interpreter was built is worth up to a fifth of its CPU."""
    return f"{platform.python_version()} ({platform.python_compiler()}, {' '.join(platform.python_build())})"


def machine() -> str:
    """Processor, cores and memory."""
    model = platform.machine()
    if _CPU_INFO.exists():
        named = [line.partition(":")[2].strip() for line in _CPU_INFO.read_text().splitlines() if line.startswith("model name")]
        model = named[0] if named else model
    return f"{model}, {os.cpu_count()} cores, {psutil.virtual_memory().total / 2**30:.0f} GiB"


def commit() -> str:
    """The commit that is measured, with a plus sign where files have changed since; "" outside a repository."""
    here = Path(__file__).parent
    try:
        name = subprocess.check_output(["git", "rev-parse", "--short=10", "HEAD"], cwd=here, text=True, stderr=subprocess.DEVNULL)  # noqa: S607
        changed = subprocess.check_output(["git", "status", "--porcelain", "-uno"], cwd=here, text=True, stderr=subprocess.DEVNULL)  # noqa: S607
    except (OSError, subprocess.CalledProcessError):
        return ""
    return name.strip() + ("+" if changed.strip() else "")
