"""`python -m tests.simulation --seeds 0:20000` runs a campaign; `--seed N --trace` tells one run step by step."""

import argparse
import sys

from tests.simulation.campaign import campaign, describe, story
from tests.simulation.planted_bugs import PLANTED
from tests.simulation.simulation import run


def main() -> int:
    """0 if no promise was broken."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.simulation", description="Seeded simulation of the whole pipeline against an independent checker."
    )
    parser.add_argument("--seeds", default="0:2000", help="first and end, as in 0:20000")
    parser.add_argument("--seed", type=int, help="one seed only")
    parser.add_argument("--trace", action="store_true", help="with --seed: tell every step")
    parser.add_argument("--planted", choices=PLANTED, help="put this bug in, and say in which seeds it shows")
    parser.add_argument("--workers", type=int, help="processes; default: one a core")
    arguments = parser.parse_args()
    if arguments.seed is not None:
        result = run(arguments.seed, tracing=arguments.trace)
        print(*result.trace, *describe(result.violations), f"{len(result.violations)} violations", sep="\n")
        return 1 if result.violations else 0
    first, end = map(int, arguments.seeds.split(":"))
    if arguments.planted is not None:
        with PLANTED[arguments.planted]():
            caught = [seed for seed in range(first, end) if run(seed).violations]
        print(f"{arguments.planted} shows in {len(caught)} of {end - first} seeds: {caught[:20]}")
        return 0 if caught else 1
    found = campaign(range(first, end), workers=arguments.workers, say=lambda line: print(line, flush=True))
    for failure in found.failures:
        print(story(failure.seed))
    return 1 if found.failures else 0


if __name__ == "__main__":
    sys.exit(main())
