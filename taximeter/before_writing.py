"""What every command that writes settles before it writes: who does it and why, whether anybody can be asked, and the answer."""

import argparse
import getpass
import sys
from collections.abc import Iterable

from metering.records.ledger_records import BY_CHARS_MAX, REASON_CHARS_MAX


def author(arguments: argparse.Namespace) -> str:
    """Who writes: `--by`, or the name of the account on this machine."""
    return arguments.by or getpass.getuser()


def writing_problems(arguments: argparse.Namespace, *, instead: str = "") -> list[str]:
    """What is wrong with `--reason` and `--by`, or that nobody can be asked and `--yes` is missing; empty when it may go on.

    `instead` is the option that shows what would be done and writes nothing, if the command has one.
    """
    problems = []
    for name, text, bound in (("--reason", arguments.reason or "", REASON_CHARS_MAX), ("--by", author(arguments), BY_CHARS_MAX)):
        if not text.strip() or len(text) > bound:
            problems.append(f"{name} must be 1 to {bound} characters" + (f"; {instead} shows what would be done without it" if instead else ""))
    return problems + asking_problems(arguments, instead=instead)


def asking_problems(arguments: argparse.Namespace, *, instead: str = "") -> list[str]:
    """That nobody can be asked and `--yes` is missing: with `--json`, or where the input is no terminal; else empty."""
    if arguments.yes or not (arguments.json or not sys.stdin.isatty()):
        return []
    return ["nobody can be asked here: add --yes" + (f", or {instead}" if instead else "")]


def told(problems: Iterable[str]) -> bool:
    """Say them on stderr; whether there were any."""
    found = list(problems)
    for problem in found:
        print(f"taximeter: {problem}", file=sys.stderr)
    return bool(found)


def agreed(question: str = "Do it?") -> bool:
    """Ask on the terminal; no answer is a no. Blocks until there is one."""
    try:
        return input(f"{question} [y/N] ").strip().lower() in {"y", "yes"}
    except EOFError:
        return False
