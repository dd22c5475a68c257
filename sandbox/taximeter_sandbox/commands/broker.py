"""`taximeter broker`: run the embedded Kafka-protocol broker in the foreground."""

import argparse
import importlib.util
import os
import sys

from taximeter.exit_codes import PRECONDITION


def run(arguments: argparse.Namespace) -> int:
    """Become the broker: returns only when it cannot be had, and raises OSError when it cannot be started."""
    if importlib.util.find_spec("kio") is None:
        print("taximeter: the embedded broker needs the extra: pip install 'taximeter[simulators]'", file=sys.stderr)
        return PRECONDITION
    options = ["--data", str(arguments.data), "--host", arguments.host, "--port", str(arguments.port)]
    sys.stdout.flush()
    return os.execv(sys.executable, [sys.executable, "-m", "taximeter_sandbox.kafka", *options])  # noqa: S606  # our own module, no shell
