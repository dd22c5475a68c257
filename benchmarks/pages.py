"""The pages that show the kept results: the table in README.md, docs/capacity.md and docs/benchmarks.svg. Nothing is measured here."""

from collections.abc import Mapping, Sequence
from pathlib import Path as Folder
from typing import Any, Final

from benchmarks.capacity import capacity_page
from benchmarks.curves import panels_of
from benchmarks.plot import svg
from benchmarks.targets import Judged

ROOT: Final = Folder(__file__).parent.parent
README: Final = ROOT / "README.md"
CAPACITY: Final = ROOT / "docs" / "capacity.md"
PLOT: Final = ROOT / "docs" / "benchmarks.svg"
BEGIN: Final = "<!-- benchmarks: written by `python -m benchmarks --pages` -->"
END: Final = "<!-- /benchmarks -->"


def write_pages(kept: Mapping[str, Any]) -> list[Folder]:
    """Write all pages; returns which. Raises OSError, and ValueError where README.md has no place for the table."""
    README.write_text(with_section(README.read_text(), section_of(kept)))
    CAPACITY.write_text(capacity_page(kept))
    PLOT.write_text(plot_of(kept))
    return [README, CAPACITY, PLOT]


def with_section(page: str, section: str) -> str:
    """The page with what stands between the markers replaced."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the page has no lines {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n{section}{END}{after}"


def plot_of(kept: Mapping[str, Any]) -> str:
    """The curves as SVG."""
    curves = kept.get("curves", [])
    taken = f", commit {curves[0]['commit']}, {curves[0]['date']}" if curves else ""
    return svg(f"The aggregator's cost of an event{taken}", panels_of(curves))


def section_of(kept: Mapping[str, Any]) -> str:
    """The section between the markers of README.md."""
    rows = [row for row in kept["results"] if not row["unavailable"]]
    lines = [
        _taken(kept),
        "CPU-seconds are those of the process alone; `x bare` is against a bare client or server in the same run, which promises nothing.",
        "An event of the reporter's rows is a meter event.",
        "",
        "| path | variant | CPU-s / million | x bare | events/s | targets |",
        "| --- | --- | ---: | ---: | ---: | --- |",
        *map(_row, rows),
        "",
        *_others(kept, rows),
        "![The aggregator's cost of an event by events a batch, customers, partitions, windows and processes](docs/benchmarks.svg)",
        "",
    ]
    return "\n".join(lines)


def _taken(kept: Mapping[str, Any]) -> str:
    rounds = f"{kept['runs']} rounds" if kept["runs"] > 1 else "one round"
    where = f"{kept['machine']}, Python {kept['python']}, {kept['broker']}"
    return f"Medians of {rounds}{_size(kept['scale'])} on {where}; {kept['date']}, commit {kept['commit']}."


def _size(scale: float) -> str:
    return "" if scale == 1 else f" at {scale:g} of the full size"


def _row(row: Mapping[str, Any]) -> str:
    ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
    targets = "; ".join(_told(row, Judged(**target)) for target in row["targets"])
    return f"| {row['path']} | {row['variant']} | {row['cpu_s_per_million']:.2f} | {ratio} | {row['events_per_s']:,.0f} | {targets} |"


def _told(row: Mapping[str, Any], target: Judged) -> str:
    # The figures of the columns are in the row; others are told here.
    value = row["more"].get(target.figure)
    return str(target) if value is None else f"{target} ({value:g})"


def _others(kept: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which paths were taken otherwise than the last ones."""
    by_taking: dict[str, list[str]] = {}
    for row in rows:
        paths = by_taking.setdefault(f"on {row['machine']}, {row['date']}, commit {row['commit']}{_size(row['scale'])}", [])
        if (row["commit"], row["scale"], row["machine"]) != (kept["commit"], kept["scale"], kept["machine"]) and row["path"] not in paths:
            paths.append(row["path"])
    told = [f"Taken {taking}: {', '.join(paths)}." for taking, paths in by_taking.items() if paths]
    return [*told, ""] if told else []
