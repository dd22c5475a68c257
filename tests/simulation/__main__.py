"""`python -m tests.simulation --seeds 0:20000` runs many seeds; `--seed N --trace` tells one run step by step."""

import argparse
import sys
from pathlib import Path

from tests.simulation.campaign import campaign, describe, long_campaign, story
from tests.simulation.forks import fork_table
from tests.simulation.planted_table import ALL, keep, measured, power, refresh_seeds, table
from tests.simulation.scope import Scope, scope_from
from tests.simulation.simulation import run


def main() -> int:
    """0 if no promise was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description="Seeded simulation of the whole pipeline against an independent checker."
    )
    parser.add_argument("--seeds", default="0:2000", help="first and end, as in 0:20000")
    parser.add_argument("--seed", type=int, help="one seed only")
    parser.add_argument("--scope", type=scope_from, help="with --seed: events:steps:faults that are off, as a failure tells it")
    parser.add_argument("--trace", action="store_true", help="with --seed: tell every step")
    parser.add_argument("--planted", choices=ALL, help="put this bug in, and say in which seeds it shows")
    parser.add_argument("--planted-table", action="store_true", help="measure how many seeds it takes to catch each planted bug, keep and print it")
    parser.add_argument("--planted-seeds", action="store_true", help="find and keep a seed in which each planted bug shows: the tests try it first")
    parser.add_argument("--power", action="store_true", help="measure the same, print the means and their sums, and keep nothing")
    parser.add_argument("--fork-table", action="store_true", help="what becomes of logs that were cut and went on, as Markdown, in these seeds")
    parser.add_argument("--workers", type=int, help="processes; default: one a core")
    parser.add_argument("--campaign", type=int, metavar="N", help="run N seeds in pieces, at the lowest priority, and go on after an interruption")
    parser.add_argument("--from", dest="first", type=int, default=0, metavar="SEED", help="with --campaign: the first seed")
    parser.add_argument("--out", type=Path, default=Path("campaign.txt"), help="with --campaign: the file with a line for each piece")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        return _one(arguments.seed, arguments.scope, arguments.planted, trace=arguments.trace)
    first, end = map(int, arguments.seeds.split(":"))
    if arguments.planted_table:
        # With --planted: that bug alone. It takes seconds, all of them a quarter of an hour.
        keep(dict(measured(ALL if arguments.planted is None else [arguments.planted])))
        print("\n".join(table()))
        return 0
    if arguments.planted_seeds:
        missing = refresh_seeds(first)
        print(*(f"{name} shows in no seed" for name in missing), f"a seed is kept for {len(ALL) - len(missing)} of {len(ALL)} bugs", sep="\n")
        return 1 if missing else 0
    if arguments.power:
        for line in power(dict(measured(ALL if arguments.planted is None else [arguments.planted]))):
            print(line, flush=True)
        return 0
    if arguments.fork_table:
        for line in fork_table(range(first, end)):
            print(line, flush=True)
        return 0
    if arguments.campaign is not None:
        return _campaign(arguments.campaign, arguments.first, arguments.out, arguments.workers)
    if arguments.planted is not None:
        return _planted(arguments.planted, range(first, end))
    found = campaign(range(first, end), workers=arguments.workers, say=lambda line: print(line, flush=True))
    for failed in found.failures:
        print(story(failed))
    return 1 if found.failures else 0


def _campaign(count: int, first: int, out: Path, workers: int | None) -> int:
    try:
        return 1 if long_campaign(count, first, out, lambda line: print(line, flush=True), workers=workers) else 0
    except KeyboardInterrupt:
        return 130


def _one(seed: int, scope: Scope | None, planted: str | None, *, trace: bool) -> int:
    if planted is None:
        result = run(seed, tracing=trace, scope=scope)
    else:
        with ALL[planted]():
            result = run(seed, tracing=trace, scope=scope)
    print(*result.trace, *describe(result.violations), f"{len(result.violations)} violations", sep="\n")
    return 1 if result.violations else 0


def _planted(name: str, seeds: range) -> int:
    with ALL[name]():
        caught = [result for result in map(run, seeds) if result.violations]
        print(f"{name} shows in {len(caught)} of {len(seeds)} seeds: {[result.seed for result in caught[:20]]}")
        if caught:
            print(story(caught[0]))
    return 0 if caught else 1


if __name__ == "__main__":
    sys.exit(main())
