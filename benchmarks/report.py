"""The results for people and for programs."""

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from rich.table import Table

from benchmarks.measurement import Result


def table_of(results: Sequence[Result], *, title: str) -> Table:
    """One row a variant."""
    table = Table(title=title)
    table.add_column("path")
    table.add_column("variant")
    for heading in ("events", "CPU-s / million", "x bare", "events/s", "peak MB"):
        table.add_column(heading, justify="right")
    table.add_column("more")
    before = ""
    for result in results:
        path, before = (result.path if result.path != before else ""), result.path
        if result.unavailable:
            table.add_row(path, result.variant, "", "", "", "", "", result.unavailable)
            continue
        table.add_row(
            path,
            result.variant,
            f"{result.events:,}",
            f"{result.cpu_s_per_million:.2f}",
            "" if result.ratio is None else f"{result.ratio:.2f}",
            f"{result.events_per_s:,.0f}",
            f"{result.peak_rss / 1e6:.0f}",
            ", ".join(f"{name} {value:g}" for name, value in result.more.items()),
        )
    return table


def as_json(results: Sequence[Result], *, broker: str) -> dict[str, Any]:
    """Everything, with what the figures depend on. `load` is the machine's load average over the last 1, 5 and 15 minutes."""
    return {
        "broker": broker,
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": os.getloadavg(),
        "results": [asdict(result) for result in results],
    }
