"""`taximeter broker`: the embedded broker in the foreground, for development."""

import argparse
import importlib.util
import os
import sys
from pathlib import Path
from typing import Final

from taximeter.exit_codes import PRECONDITION

BROKER_PORT: Final = 9092
DATA: Final = Path(".taximeter") / "broker"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter broker`."""
    parser.add_argument("--data", type=Path, default=DATA, help="folder that holds everything; made if missing (default %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=BROKER_PORT, help="port for clients, 0 for a free one (default %(default)s)")


def run(arguments: argparse.Namespace) -> int:
    """Become the broker: returns only when it cannot be had, and raises OSError when it cannot be started."""
    if importlib.util.find_spec("kio") is None:
        print("taximeter: the embedded broker needs the extra: pip install 'taximeter[simulators]'", file=sys.stderr)
        return PRECONDITION
    options = ["--data", str(arguments.data), "--host", arguments.host, "--port", str(arguments.port)]
    sys.stdout.flush()
    return os.execv(sys.executable, [sys.executable, "-m", "simulators.kafka", *options])  # noqa: S606  # our own module, no shell
