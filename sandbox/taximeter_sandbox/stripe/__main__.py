"""Command line: `python -m taximeter_sandbox.stripe`. Prints its address, serves until SIGTERM or SIGINT."""

import argparse
import asyncio
import signal
import sys
from pathlib import Path

import orjson
import uvloop
from aiohttp import web

from taximeter_sandbox.stripe.app import make_app
from taximeter_sandbox.stripe.configuration import Settings, changed
from taximeter_sandbox.stripe.simulator import Simulator
from taximeter_sandbox.stripe.traffic.limits import PROFILES

BACKLOG = 1024
KEEPALIVE_S = 75.0
SHUTDOWN_S = 2.0


def parse_arguments(arguments: list[str]) -> argparse.Namespace:
    """The command line, or exit 2 with what is wrong with it."""
    parser = argparse.ArgumentParser(prog="python -m taximeter_sandbox.stripe", description="A stand-in for Stripe's usage-based billing API.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port (default)")
    parser.add_argument("--port-file", type=Path, help="write the port number here once calls are taken")
    parser.add_argument("--config", type=Path, help="JSON settings, as POST /_control/config takes them")
    parser.add_argument("--seed", type=int, default=0, help="seed of faults, latencies, lags and ids (default 0)")
    parser.add_argument("--profile", choices=sorted(PROFILES), default="live", help="rate limits to start with (default live)")
    parser.add_argument("--data", type=Path, help="journal file; with it the state survives a kill")
    return parser.parse_args(arguments)


def load_simulator(options: argparse.Namespace) -> Simulator:
    """The simulator that the command line asks for. Raises OSError and ValueError for unreadable or wrong files."""
    settings = Settings(limits=PROFILES[options.profile])
    if options.config is not None:
        document = orjson.loads(options.config.read_bytes())
        if not isinstance(document, dict):
            raise ValueError("the settings must be a JSON object")
        names = [route.name for route in Simulator(seed=options.seed, settings=settings).routes]  # of a simulator without a journal
        settings = changed(settings, document, names)
    return Simulator(seed=options.seed, settings=settings, data=options.data)


def write_port(path: Path, port: int) -> None:
    """Leave the port number in a file that is either absent or complete."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(f"{port}\n", encoding="ascii")
    partial.replace(path)


async def serve(simulator: Simulator, options: argparse.Namespace) -> None:
    """Take calls until a signal to stop. Raises OSError when the address cannot be bound."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    runner = web.AppRunner(make_app(simulator), access_log=None, keepalive_timeout=KEEPALIVE_S, shutdown_timeout=SHUTDOWN_S)
    await runner.setup()
    try:
        await web.TCPSite(runner, options.host, options.port, backlog=BACKLOG).start()
        port = runner.addresses[0][1]
        print(f"stripe simulator on http://{options.host}:{port} ({options.profile} limits, seed {options.seed})", flush=True)
        if options.data is not None:
            print(f"journal {options.data}: {simulator.restored} entries restored", flush=True)
        if options.port_file is not None:
            write_port(options.port_file, port)
        await stop.wait()
    finally:
        await runner.cleanup()


def main() -> int:
    """Exit code 0 after an orderly stop, 2 for settings or files that are wrong."""
    options = parse_arguments(sys.argv[1:])
    try:
        simulator = load_simulator(options)
    except (OSError, ValueError) as error:
        print(f"stripe simulator: {error}", file=sys.stderr)
        return 2
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(simulator, options))
    except OSError as error:
        print(f"stripe simulator: {error}", file=sys.stderr)
        return 2
    finally:
        simulator.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
