"""`python -m benchmarks.peers [--peers taximeter,kafka-streams] [--events 200000] [--runs 1] [--kafka KIND] [--json FILE]`."""

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import orjson
from rich.console import Console
from taximeter_sandbox.brokers.choose import choose_broker
from taximeter_sandbox.brokers.interface import BrokerUnavailable

from benchmarks.paths import Arena
from benchmarks.peers.catalogue import PEERS, chosen
from benchmarks.peers.measuring import EVENTS, path_of
from benchmarks.report import as_json, table_of
from benchmarks.running import run_path


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure some of the peers. Exit code 3 for what cannot be asked for, 4 without a broker."""
    options = _parser().parse_args(arguments)
    try:
        peers = chosen([name for name in options.peers.split(",") if name])
        choice = choose_broker(options.kafka)
        with tempfile.TemporaryDirectory(prefix="taximeter-peers-") as folder:
            bootstrap = choice.broker.start()
            try:
                _say(f"broker: {choice}")
                arena = Arena(bootstrap, Path(folder), options.events / EVENTS)
                results = asyncio.run(run_path(path_of(peers), arena, runs=options.runs, say=_say))
            finally:
                choice.broker.stop()
    except ValueError as error:
        _say(f"benchmarks.peers: {error}")
        return 3
    except BrokerUnavailable as error:
        _say(f"benchmarks.peers: {error}")
        return 4
    Console(width=200).print(table_of(results, title=f"Peers, on {choice.broker.describe()}; compared with {peers[0].name}"))
    if options.json:
        options.json.write_bytes(orjson.dumps(as_json(results, broker=choice.broker.describe()), option=orjson.OPT_INDENT_2))
    return 0


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description="Taximeter's aggregator beside other stream processors.")
    parser.add_argument("--peers", default="", metavar="NAME,...", help=f"by the beginning of their names: {', '.join(peer.name for peer in PEERS)}")
    parser.add_argument("--events", type=int, default=EVENTS, help="events measured; half as many come before, a quarter after (default 200000)")
    parser.add_argument("--runs", type=int, default=1, help="rounds; the table has their medians (default 1)")
    parser.add_argument("--kafka", metavar="KIND", help="docker, apache, embedded or HOST:PORT; otherwise the first that there is")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as well")
    return parser


if __name__ == "__main__":
    sys.exit(main())
