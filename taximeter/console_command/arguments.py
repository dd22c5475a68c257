"""What `taximeter console` takes."""

import argparse

from taximeter.config_option import add_config_option


def console(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter console`."""
    parser.add_argument("--rebuild", action="store_true", help="delete the store first: it is built anew from the log")
    add_config_option(parser)
