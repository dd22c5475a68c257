"""`taximeter stripe ...`: everything on Stripe's side."""

import argparse
from typing import Final

from taximeter.command import Command, add_commands
from taximeter.exit_codes import USAGE

COMMANDS: Final[tuple[Command, ...]] = ()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The subcommands."""
    add_commands(parser, COMMANDS, parser_class=type(parser))


def run(_: argparse.Namespace) -> int:
    """Never reached: a subcommand is required and runs instead."""
    return USAGE
