"""What the commands of this folder take. Nothing here imports a command, so that `--help` costs little."""

import argparse

from taximeter.config_option import add_config_option


def explain(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter meters explain`."""
    add_config_option(parser)
    parser.add_argument("event", metavar="EVENT.json", help="a file with one event as JSON; - reads it from stdin")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")
    parser.epilog = "Exit code 2 when the event, or a quantity of it, would not be billed."
