"""`python -m benchmarks [--only aggregator,emitter] [--runs 5] [--quick] [--kafka apache|docker|embedded|HOST:PORT] [--json FILE]`.

`--curves` measures the curves of the aggregator in place of the paths. `--publish` measures both (or what is named), keeps it in
benchmarks/results/latest.json and writes the pages that show it. `--pages` writes the pages from what is kept.
"""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path as Folder
from typing import Any

import orjson
from rich.console import Console
from taximeter_sandbox.brokers.choose import choose_broker
from taximeter_sandbox.brokers.interface import BrokerUnavailable, RunnableBroker

from benchmarks.curves import measure_curves, panels_of
from benchmarks.kept import KEPT, merged, read_kept, write_kept
from benchmarks.measurement import Result
from benchmarks.pages import write_pages
from benchmarks.paths import Arena, Path
from benchmarks.plot import svg
from benchmarks.registry import KNOWN, PATHS, chosen
from benchmarks.report import as_json, table_of
from benchmarks.running import run_path

QUICK_SCALE = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and write the files. Exit code 3 for what cannot be asked for, 4 without a broker."""
    options = _parser().parse_args(arguments)
    try:
        if options.pages:
            return _write_pages(read_kept(options.pages))
        paths = _paths_of(options)
        choice = choose_broker(options.kafka)
        _say(f"broker: {choice}")
        document = _measure(choice.broker, paths, options)
    except ValueError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 3
    except BrokerUnavailable as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 4
    if options.json:
        options.json.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    if options.svg:
        options.svg.write_text(svg("The aggregator's cost of an event", panels_of(document["curves"])))
    if options.publish:
        kept = merged(read_kept(), document, [path.name for path in KNOWN])
        write_kept(kept)
        return _write_pages(kept)
    return 0


def _paths_of(options: argparse.Namespace) -> list[Path]:
    """What is named; without names all, unless only the curves are asked for. Raises ValueError."""
    only = [name for name in options.only.split(",") if name]
    if options.quick and options.publish:
        raise ValueError("--quick measures little: nothing of it is published")
    return chosen(only) if only or options.publish or not options.curves else []


def _measure(broker: RunnableBroker, paths: Sequence[Path], options: argparse.Namespace) -> dict[str, Any]:
    """Start the broker, measure, and tell; returns everything as JSON has it. Raises BrokerUnavailable."""
    with_curves = options.curves or (options.publish and not options.only)
    runs = 1 if options.quick else options.runs
    with tempfile.TemporaryDirectory(prefix="taximeter-benchmarks-") as folder:
        bootstrap = broker.start()
        try:
            arena = Arena(bootstrap, Folder(folder), QUICK_SCALE if options.quick else options.scale)
            results = asyncio.run(_run(paths, arena, runs=runs))
            curves = asyncio.run(measure_curves(arena, runs=runs, say=_say)) if with_curves else []
        finally:
            broker.stop()
    if results:
        Console(width=160).print(table_of(results, title=f"CPU of whole processes, on {broker.describe()}"))
    return {**as_json(results, broker=broker.describe()), "runs": runs, "scale": arena.scale, "curves": curves}


async def _run(paths: Sequence[Path], arena: Arena, *, runs: int) -> list[Result]:
    results: list[Result] = []
    for path in paths:
        results += await run_path(path, arena, runs=runs, say=_say)
    return results


def _write_pages(kept: dict[str, Any]) -> int:
    for file in write_pages(kept):
        _say(f"wrote {file}")
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What each path costs, as ratios to a bare client in the same run.")
    parser.add_argument(
        "--only",
        default="",
        metavar="PATH,...",
        help=f"paths by the beginning of their names: {', '.join(path.name for path in PATHS)};"
        f" only when named in full: {', '.join(path.name for path in KNOWN if path not in PATHS)}",
    )
    parser.add_argument("--runs", type=int, default=5, help="rounds; the table has their medians (default 5)")
    parser.add_argument("--quick", action="store_true", help="one small round: shows that it works, measures little")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the load, as a factor (default 1)")
    parser.add_argument("--kafka", metavar="KIND", help="docker, apache, embedded or HOST:PORT; otherwise the first that there is")
    parser.add_argument("--json", type=Folder, metavar="FILE", help="write the results there as well")
    parser.add_argument("--curves", action="store_true", help="the aggregator's cost against partitions, customers, windows, batches and processes")
    parser.add_argument("--svg", type=Folder, metavar="FILE", help="plot the curves there")
    parser.add_argument("--publish", action="store_true", help="keep the results in the repository, and write the pages that show them")
    parser.add_argument(
        "--pages", type=Folder, nargs="?", const=KEPT, metavar="FILE", help="write these from FILE, or from what is kept; measures nothing"
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
