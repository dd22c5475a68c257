"""`python -m tests.native --sets 1000000` reads mutated record sets by both ways. Exit code 0 only if they agree on all of them."""

import argparse
import sys
from dataclasses import asdict
from random import Random
from typing import Final

from tests.native.comparison import Comparison, Differs
from tests.native.samples import record_set

FORGET_EVERY: Final = 500
REPORT_EVERY: Final = 10_000


def main() -> int:
    """0 if there is no difference."""
    parser = argparse.ArgumentParser(prog="python -m tests.native", description="The native reader against the plain way, on mutated record sets.")
    parser.add_argument("--sets", type=int, default=10_000)
    parser.add_argument("--first", type=int, default=0, help="the seed of the first set; each has its own")
    arguments = parser.parse_args()
    comparison = Comparison()
    for seed in range(arguments.first, arguments.first + arguments.sets):
        data, from_offset = record_set(Random(seed))
        try:
            comparison.compare(data, from_offset)
        except Differs as difference:
            print(f"set {seed}: {difference}\n{data!r} from {from_offset}")
            return 1
        if seed % FORGET_EVERY == 0:
            comparison.forget()
        if (seed + 1) % REPORT_EVERY == 0:
            print(f"{seed + 1 - arguments.first:,} sets, no difference: {asdict(comparison.figures)}", flush=True)
    print(f"{arguments.sets:,} sets, no difference: {asdict(comparison.figures)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
