"""``python -m taximeter_sandbox.kafka --data DIR``: run the embedded broker."""

import argparse
import asyncio
import logging
import sys
from pathlib import Path

import uvloop

from taximeter_sandbox.kafka.server import DataFolderInUse, serve
from taximeter_sandbox.kafka.settings import BrokerSettings
from taximeter_sandbox.kafka.storage.recovery import CorruptLog


def main() -> int:
    """Run until SIGTERM or SIGINT. Returns the exit code: 0 after an orderly stop, 1 when the broker could not start."""
    arguments = _parser().parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    settings = BrokerSettings(
        data=arguments.data,
        host=arguments.host,
        port=arguments.port,
        advertised_port=arguments.advertised_port,
        control_port=arguments.control_port,
        partitions_default=arguments.partitions,
        message_bytes_max=arguments.message_max_bytes,
        fsync_each_append=arguments.fsync == "always",
        session_timeout_ms_min=arguments.session_timeout_min_ms,
    )
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(serve(settings, arguments.port_file))
    except (DataFolderInUse, CorruptLog, OSError, ValueError) as error:
        print(f"taximeter_sandbox.kafka: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m taximeter_sandbox.kafka", description="A Kafka-protocol broker for development and tests.")
    parser.add_argument("--data", type=Path, required=True, help="folder that holds everything; made if missing")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on and to tell clients (default %(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port for clients, 0 for a free one (default)")
    parser.add_argument("--advertised-port", type=int, help="port to tell clients, where a proxy listens (default: the same)")
    parser.add_argument("--port-file", type=Path, help="JSON file to write when clients can connect")
    parser.add_argument("--control-port", type=int, help="port for fault commands, 0 for a free one (default: none)")
    parser.add_argument("--partitions", type=int, default=8, help="partitions of a topic that does not say (default %(default)s)")
    parser.add_argument("--message-max-bytes", type=int, default=1_048_588, help="largest record batch (default %(default)s)")
    parser.add_argument("--fsync", choices=("never", "always"), default="never", help="force each append to the disk (default %(default)s)")
    parser.add_argument("--session-timeout-min-ms", type=int, default=500, help="shortest session of a group member (default %(default)s)")
    return parser


if __name__ == "__main__":
    sys.exit(main())
