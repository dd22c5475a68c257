"""`python -m tests.chaos --minutes 3 [--seed N] [--kafka apache|embedded] [--brokers 3] [--actions a,b] [--json FILE]`."""

import argparse
import asyncio
import secrets
import shutil
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from random import Random

import orjson
from taximeter_sandbox.brokers.choose import choose_broker
from taximeter_sandbox.brokers.interface import BrokerUnavailable

from tests.chaos.actions import ACTIONS, BY_NAME, CLUSTER_ACTIONS
from tests.chaos.run import AT_ONCE, Chaos, ChaosPlan, ChaosResult, brokers_of


def main() -> int:
    """Exit code 0 only if nothing was lost, nothing billed twice, and nothing ended that was not killed."""
    arguments = _parser().parse_args()
    names = [name for name in arguments.actions.split(",") if name]
    unknown = [name for name in names if name not in BY_NAME]
    if unknown:
        print(f"chaos: no such action: {', '.join(unknown)}; there are {', '.join(BY_NAME)}", file=sys.stderr)
        return 3
    kind = arguments.kafka or ("apache" if choose_broker().broker.name == "apache" else "embedded")
    plan = ChaosPlan(
        seconds=arguments.minutes * 60,
        seed=arguments.seed if arguments.seed is not None else secrets.randbelow(1_000_000),
        events_per_second=arguments.rate,
        stripe_api=arguments.stripe_api,
        at_once=arguments.at_once,
        actions=[replace(BY_NAME[name], weight=BY_NAME[name].weight or 1) for name in names]
        or (CLUSTER_ACTIONS if arguments.brokers > 1 else ACTIONS),
    )
    folder = Path(tempfile.mkdtemp(prefix="taximeter-chaos-"))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)

    say(f"seed {plan.seed}, {arguments.minutes:g} minutes, files in {folder}")
    try:
        random = Random(plan.seed)
        brokers = brokers_of(kind, arguments.brokers, folder, random)
        result = asyncio.run(_run(Chaos(plan, folder, brokers, random, say)))
    except BrokerUnavailable as error:
        print(f"chaos: {error}", file=sys.stderr)
        return 4
    _show(result)
    if arguments.json:
        arguments.json.write_bytes(orjson.dumps(result.as_json(), option=orjson.OPT_INDENT_2))
    if result.holds and not arguments.keep:
        shutil.rmtree(folder)
    else:
        print(f"files: {folder}")
    return 0 if result.holds else 1


async def _run(chaos: Chaos) -> ChaosResult:
    try:
        return await chaos.run()
    finally:
        await chaos.close()


def _show(result: ChaosResult) -> None:
    print(f"\n{result.broker}; seed {result.seed}; {result.seconds:.0f} s")
    for name, count in sorted(result.counts.items()):
        if not name.startswith("action "):
            print(f"  {count:6,} x {name}")
    for name, fact in result.facts.items():
        print(f"  {name}: {fact:,}" if isinstance(fact, int) else f"  {name}: {fact}")
    for meter in result.meters:
        differ = f"{len(meter.customers_that_differ)} customers differ"
        print(f"  {meter.meter}: {meter.expected:,} units emitted, {meter.in_stripe:,} in Stripe's books; {differ}")
    for problem in result.problems:
        print(f"- {problem}")
    print(f"lost {result.lost:,}, double {result.double:,}: {'EXACT' if result.holds else 'NOT EXACT'}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description="Break real processes on a real broker, and compare the books.")
    parser.add_argument("--minutes", type=float, default=3.0, help="how long things are broken (default %(default)g)")
    parser.add_argument("--seed", type=int, help="what is broken when (the processes' own timing is not repeatable)")
    parser.add_argument("--kafka", choices=("apache", "embedded"), help="default: Apache Kafka where this machine can run it")
    parser.add_argument("--brokers", type=int, choices=(1, 3), default=1, help="3: a cluster of Apache Kafka, three copies (default %(default)d)")
    parser.add_argument("--rate", type=int, default=1_500, metavar="EVENTS", help="events a second (default %(default)d)")
    parser.add_argument("--at-once", type=int, default=AT_ONCE, metavar="N", help="actions at the same time (default %(default)d)")
    parser.add_argument("--actions", default="", metavar="A,B", help="only these")
    parser.add_argument("--stripe-api", choices=("v1", "v2_stream"), default="v1", help="how meter events reach Stripe (default %(default)s)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON, too")
    parser.add_argument("--keep", action="store_true", help="keep logs and data although all went well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
