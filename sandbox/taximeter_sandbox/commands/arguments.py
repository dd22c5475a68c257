"""What the commands of this folder take. Nothing here imports a command, so that `--help` costs little."""

import argparse
from pathlib import Path
from typing import Final

from taximeter.config_option import add_config_option

EVENTS: Final = 1_000_000
CUSTOMERS: Final = 1_000
SANDBOX_EVENTS: Final = 20_000
SANDBOX_CUSTOMERS: Final = 10
_BROKER_PORT: Final = 9092
_BROKER_DATA: Final = Path(".taximeter") / "broker"
_GATEWAY_PORT: Final = 8080
_STRIPE_PORT: Final = 12111
_PAGE_PORT: Final = 4242
KEY_VARIABLE: Final = "STRIPE_PUBLISHABLE_KEY"


def demo(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter demo`."""
    parser.add_argument("--events", type=int, help=f"how many events to emit (default {EVENTS:,}; {SANDBOX_EVENTS:,} with --stripe-key)")
    parser.add_argument("--customers", type=int, help=f"for how many customers (default {CUSTOMERS:,}; {SANDBOX_CUSTOMERS} with --stripe-key)")
    parser.add_argument("--kafka", metavar="HOST:PORT|docker|apache|embedded", default="embedded", help="which Kafka (default: the embedded broker)")
    parser.add_argument("--stripe-key", metavar="sk_test_...", help="report to this sandbox of Stripe instead of the simulator; test keys only")
    parser.add_argument(
        "--stripe-api", choices=("v1", "v2_stream"), default="v1", help="report one meter event a call, or by the meter event stream (default v1)"
    )
    parser.add_argument("--seed", type=int, default=1, help="seed of the load and of the simulator's faults (default 1)")
    parser.add_argument("--keep", action="store_true", help="leave everything running at the end, print the addresses, and wait for Ctrl-C")


def quickstart(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter quickstart`."""
    parser.add_argument("--port", type=int, default=_GATEWAY_PORT, help="port of the gateway; 0 for a free one (default %(default)s)")
    parser.add_argument("--kafka-port", type=int, default=_BROKER_PORT, metavar="PORT", help="port of the embedded broker (default %(default)s)")
    parser.add_argument("--stripe-port", type=int, default=_STRIPE_PORT, metavar="PORT", help="port of the simulator (default %(default)s)")
    parser.add_argument("--folder", type=Path, help="keep everything there, and go on with it when started again (default: a temporary one)")
    parser.add_argument("--json", action="store_true", help="print a JSON object a line: when all is ready, each time the bill moves, the verdict")
    parser.epilog = "All listens on 127.0.0.1 only. Ctrl-C stops the gateway, lets what came in be billed, proves it, and ends everything."


def broker(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter broker`."""
    kinds = ("embedded", "apache")
    parser.add_argument("--kafka", choices=kinds, default="embedded", help="the embedded broker, or Apache Kafka on Java (default %(default)s)")
    parser.add_argument("--brokers", type=int, default=1, help="with --kafka apache: 1, or a cluster of 3 to 9 (default %(default)s)")
    parser.add_argument("--data", type=Path, default=_BROKER_DATA, help="folder that holds everything; made if missing (default %(default)s)")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=int, default=_BROKER_PORT, help="port for clients, 0 for a free one; a cluster takes one after the other")


def demo_page(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter stripe demo-page`."""
    add_config_option(parser)
    parser.add_argument("--port", type=int, default=_PAGE_PORT, help="on 127.0.0.1; 0 for a free one (default %(default)s)")
    parser.add_argument(
        "--publishable-key", metavar="KEY", help=f"pk_test_... of the same account (default: ${KEY_VARIABLE}); only with Stripe itself"
    )
    parser.add_argument("--price", metavar="KEY_OR_ID", help="what is sold (default: the only price of the settings file)")
    parser.epilog = "A page to look at and to take from, for test keys only; Ctrl-C ends it. With the simulator, a plain form replaces Stripe's own."
