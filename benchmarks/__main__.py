"""`python -m benchmarks [--only aggregator,emitter] [--runs 5] [--quick] [--kafka apache|docker|embedded|HOST:PORT] [--json FILE]`."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path as Folder

import orjson
from rich.console import Console

from benchmarks.measurement import Result
from benchmarks.paths import Arena, Path
from benchmarks.registry import PATHS, chosen
from benchmarks.report import as_json, table_of
from benchmarks.running import run_path
from taximeter.brokers.choose import choose_broker
from taximeter.brokers.interface import BrokerUnavailable

QUICK_SCALE = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, print the table and write the JSON. Exit code 3 for what cannot be asked for, 4 without a broker."""
    options = _parser().parse_args(arguments)
    try:
        paths = chosen([name for name in options.only.split(",") if name])
        choice = choose_broker(options.kafka)
        with tempfile.TemporaryDirectory(prefix="taximeter-benchmarks-") as folder:
            bootstrap = choice.broker.start()
            try:
                _say(f"broker: {choice}")
                arena = Arena(bootstrap, Folder(folder), QUICK_SCALE if options.quick else options.scale)
                results = asyncio.run(_run(paths, arena, runs=1 if options.quick else options.runs))
            finally:
                choice.broker.stop()
    except ValueError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 3
    except BrokerUnavailable as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 4
    Console(width=160).print(table_of(results, title=f"CPU of whole processes, on {choice.broker.describe()}"))
    if options.json:
        options.json.write_bytes(orjson.dumps(as_json(results, broker=choice.broker.describe()), option=orjson.OPT_INDENT_2))
    return 0


async def _run(paths: Sequence[Path], arena: Arena, *, runs: int) -> list[Result]:
    results: list[Result] = []
    for path in paths:
        results += await run_path(path, arena, runs=runs, say=_say)
    return results


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What each path costs, as ratios to a bare client in the same run.")
    parser.add_argument("--only", default="", metavar="PATH,...", help=f"paths by the beginning of their names: {', '.join(p.name for p in PATHS)}")
    parser.add_argument("--runs", type=int, default=5, help="rounds; the table has their medians (default 5)")
    parser.add_argument("--quick", action="store_true", help="one small round: shows that it works, measures little")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the load, as a factor (default 1)")
    parser.add_argument("--kafka", metavar="KIND", help="docker, apache, embedded or HOST:PORT; otherwise the first that there is")
    parser.add_argument("--json", type=Folder, metavar="FILE", help="write the results there as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
