"""The `taximeter` command line: from arguments to the exit code."""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any, Final

from taximeter.command import CommandParser, SandboxMissing, resolve
from taximeter.command_table import COMMANDS
from taximeter.exit_codes import FAILED, INTERRUPTED, PRECONDITION

EXIT_CODES: Final = """exit codes:
  0 all is well   1 it failed   2 something does not agree   3 wrong arguments or configuration
  4 Kafka, a topic or the installation is not as it must be   5 all holds, and something is still on its way   130 interrupted"""


class _Version(argparse.Action):
    """argparse's own wants the text beforehand, and reading it would slow down every command."""

    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        from importlib.metadata import version  # noqa: PLC0415  # see above

        print(f"taximeter {version('taximeter')}")
        parser.exit()


def parser() -> CommandParser:
    """The parser of the whole command line."""
    root = CommandParser(
        prog="taximeter",
        description="Usage metering from Kafka to Stripe, with a proof of every number.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    root.add_argument("--version", action=_Version, nargs=0, default=argparse.SUPPRESS, help="print the version and exit")
    root.add_commands(COMMANDS)
    return root


def main(arguments: Sequence[str] | None = None, *, around: Callable[[], AbstractContextManager[None]] = nullcontext) -> int:
    """Parse, import what runs the command, run it within `around`, and return the exit code.

    Raises SystemExit for wrong arguments and for help.
    """
    try:
        parsed = parser().parse_args(arguments)
        run = resolve(parsed.run)
    except SandboxMissing as error:
        print(f"taximeter: {error}", file=sys.stderr)
        return PRECONDITION
    try:
        with around(), _few_lines_of_libraries():
            code: int = run(parsed)
    except KeyboardInterrupt:
        print("taximeter: interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _few_lines_of_libraries() -> AbstractContextManager[None]:
    from metering.process.logs import repeated_lines_left_out  # noqa: PLC0415  # help and version do without

    return repeated_lines_left_out()


def run_process() -> int:
    """`main` for a process that then ends: an output that nobody reads any more is no error. Returns the exit code."""
    code = FAILED
    try:
        try:
            code = main(around=_interrupted_by_exception)
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else FAILED
        # Here, where it can be caught; the interpreter would do it at its end.
        for stream in (sys.stdout, sys.stderr):
            print(end="", file=stream, flush=True)
    except BrokenPipeError:
        # The reader of our output has seen enough. The interpreter flushes once more when it ends: into nothing.
        nothing = os.open(os.devnull, os.O_WRONLY)
        for stdout_or_stderr in (1, 2):
            os.dup2(nothing, stdout_or_stderr)
    return code


@contextmanager
def _interrupted_by_exception() -> Iterator[None]:
    """While a command runs it can clean up after Ctrl-C, and asyncio must see that nobody else handles it."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before):
        # Ignored, as a shell arranges for what runs in the background.
        yield
        return
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        yield
    finally:
        signal.signal(signal.SIGINT, before)
