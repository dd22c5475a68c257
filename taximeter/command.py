"""What a command is before anything of it is imported, and a parser that imports a command's arguments when the command is named.

So `taximeter --help` costs a table of names, and a command costs what it needs itself.
"""

import argparse
import difflib
import pkgutil
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final, NoReturn

from taximeter.exit_codes import USAGE

# The package of the commands that come with a distribution of their own.
SANDBOX: Final = "taximeter_sandbox.commands"

_ARGPARSE_USAGE: Final = 2


@dataclass(frozen=True, slots=True)
class Command:
    """A command. `arguments` gives a parser its arguments, `run` returns the exit code; both are references, `module:function`."""

    name: str
    summary: str
    arguments: str
    run: str


@dataclass(frozen=True, slots=True)
class CommandGroup:
    """A name for a group of other commands."""

    name: str
    summary: str
    commands: tuple["Command | CommandGroup", ...]


class SandboxMissing(Exception):
    """The command belongs to the sandbox, which is not installed; the message says how to install it."""

    def __init__(self) -> None:
        super().__init__("the sandbox is not installed: pip install taximeter-sandbox")


def resolve(reference: str) -> Callable[..., Any]:
    """The function behind `module:function`; imports the module. Raises SandboxMissing."""
    try:
        found: Callable[..., Any] = pkgutil.resolve_name(reference)
    except ModuleNotFoundError as error:
        # Something else that is missing is a defect, and must look like one.
        if error.name is not None and f"{SANDBOX}.".startswith(f"{error.name}."):
            raise SandboxMissing from None
        raise
    return found


class CommandParser(argparse.ArgumentParser):
    """The parser of one command or group. It has no arguments until it parses, or until `walk` comes by.

    argparse ends with 2 when arguments are wrong; here 2 says that something does not agree, so this ends with 3.
    """

    def __init__(self, *, command: Command | CommandGroup | None = None, **options: Any) -> None:
        super().__init__(**options)
        self._undefined = command
        self._commands: dict[str, CommandParser] = {}

    def add_commands(self, commands: Iterable[Command | CommandGroup]) -> None:
        """Subcommands; which one was named is then `run` of the parsed arguments, a reference."""
        subparsers = self.add_subparsers(metavar="COMMAND", required=True)
        for command in commands:
            description = f"{command.summary[0].upper()}{command.summary[1:]}."
            self._commands[command.name] = subparsers.add_parser(command.name, help=command.summary, description=description, command=command)

    def walk(self) -> Iterator["CommandParser"]:
        """This parser and all below it, with their arguments. Imports them all; a command that is not installed has none."""
        try:
            self._define()
        except SandboxMissing:
            return
        yield self
        for parser in self._commands.values():
            yield from parser.walk()

    def actions(self) -> list[argparse.Action]:
        """The arguments that were added."""
        return self._actions

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """As argparse does, but what is not known is an error here, where the names that come near are known."""
        self._define()
        words = sys.argv[1:] if args is None else list(args)
        if self._commands and words and not words[0].startswith("-") and words[0] not in self._commands:
            self.error(f"there is no command {words[0]!r}{_nearest(words[:1], self._commands)} (commands: {', '.join(self._commands)})")
        parsed, unknown = super().parse_known_args(words, namespace)
        if unknown:
            self.error(f"unrecognized arguments: {' '.join(unknown)}{_nearest(unknown, self._option_string_actions)}")
        return parsed, unknown

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        """As argparse does, with 3 for wrong arguments."""
        super().exit(USAGE if status == _ARGPARSE_USAGE else status, message)

    def _define(self) -> None:
        command, self._undefined = self._undefined, None
        if isinstance(command, CommandGroup):
            self.add_commands(command.commands)
        elif command is not None:
            self.set_defaults(run=command.run)
            resolve(command.arguments)(self)


def _nearest(given: Iterable[str], known: Iterable[str]) -> str:
    near = [name for word in given for name in difflib.get_close_matches(word.partition("=")[0], known, n=1)]
    return f"; did you mean {' '.join(near)}?" if near else ""
