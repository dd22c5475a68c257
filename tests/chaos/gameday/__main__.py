"""`python -m tests.chaos.gameday`: exit code 0 if every alert came and went in time and the bill is exact, 1 otherwise, 4 without the tools."""

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from pathlib import Path
from random import Random

import orjson
from taximeter_sandbox.brokers.choose import choose_broker
from taximeter_sandbox.brokers.interface import BrokerUnavailable

from tests.chaos.gameday.faults import FAULTS
from tests.chaos.gameday.game_day import GameDay, as_json, table
from tests.chaos.gameday.watchtower import ToolMissing
from tests.chaos.run import ChaosResult, brokers_of


def main() -> int:
    """Parse, play, tell."""
    arguments = _parser().parse_args()
    faults = [fault for fault in FAULTS if not arguments.faults or fault.name in arguments.faults.split(",")]
    folder = Path(tempfile.mkdtemp(prefix="taximeter-gameday-"))
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"[{time.monotonic() - began:6.1f} s] {text}", flush=True)

    try:
        kind = arguments.kafka or ("apache" if choose_broker().broker.name == "apache" else "embedded")
        brokers = brokers_of(kind, 1, folder, Random(1))
        day = GameDay(faults, arguments.rate, folder=folder, brokers=brokers, say=say)
        result = asyncio.run(_run(day))
    except (BrokerUnavailable, ToolMissing) as error:
        print(f"gameday: {error}", file=sys.stderr)
        return 4
    print(f"\n{result.broker}; {result.seconds:.0f} s\n\n{table(day.outcomes)}\n")
    for problem in result.problems:
        print(f"- {problem}")
    print(f"the bill: lost {result.lost:,}, double {result.double:,}: {'EXACT' if result.lost == result.double == 0 else 'NOT EXACT'}")
    if arguments.json:
        document = {**result.as_json(), "outcomes": as_json(day.outcomes)}
        arguments.json.write_bytes(orjson.dumps(document, option=orjson.OPT_INDENT_2))
    if result.holds and not arguments.keep:
        shutil.rmtree(folder)
    else:
        print(f"files: {folder}")
    return 0 if result.holds else 1


async def _run(day: GameDay) -> ChaosResult:
    try:
        return await day.run()
    finally:
        await day.close()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos.gameday", description="Faults in turn, their alerts, the doctor, and the bill.")
    parser.add_argument("--faults", default="", metavar="A,B", help=f"only these of {', '.join(fault.name for fault in FAULTS)}")
    parser.add_argument("--kafka", choices=("apache", "embedded"), help="default: Apache Kafka where this machine can run it")
    parser.add_argument("--rate", type=int, default=100, metavar="EVENTS", help="events a second (default %(default)d)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON, too")
    parser.add_argument("--keep", action="store_true", help="keep logs and data although all went well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
