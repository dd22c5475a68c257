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
        "An interpreter that was built without its own optimizations, as pyenv does unless told, takes about a fifth more.",
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
    where = f"{kept['machine']}, Python {kept['python']}, {kept['broker']}"
    return f"Medians of {_rounds(kept['runs'])}{_size(kept['scale'])} on {where}; {kept['date']}, commit {kept['commit']}."


def _rounds(runs: int) -> str:
    return f"{runs} rounds" if runs > 1 else "one round"


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
    names = ("commit", "runs", "scale", "machine", "python")
    by_taking: dict[str, list[str]] = {}
    for row in rows:
        taking = f"{_rounds(row['runs'])}{_size(row['scale'])} on {row['machine']}, Python {row['python']}, {row['date']}, commit {row['commit']}"
        paths = by_taking.setdefault(taking, [])
        if any(row[name] != kept[name] for name in names) and row["path"] not in paths:
            paths.append(row["path"])
    told = [f"Otherwise: {taking}: {', '.join(paths)}." for taking, paths in by_taking.items() if paths]
    return [*told, ""] if told else []
