"""A subcommand, and how a parser gets some."""

import argparse
from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Command:
    """A subcommand: what it is called, its summary, how it takes arguments, what runs it and returns the exit code."""

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[argparse.Namespace], int]


def add_commands(parser: argparse.ArgumentParser, commands: Iterable[Command], *, parser_class: type[argparse.ArgumentParser]) -> None:
    """Give a parser its subcommands; which one was asked for is then `run` of the parsed arguments."""
    subparsers = parser.add_subparsers(metavar="COMMAND", required=True, parser_class=parser_class)
    for command in commands:
        one = subparsers.add_parser(command.name, help=command.summary, description=command.summary[0].upper() + command.summary[1:] + ".")
        # Before its arguments: a command with subcommands of its own lets each of them say what runs it.
        one.set_defaults(run=command.run)
        command.add_arguments(one)
