"""What the commands of this folder take. Nothing here imports a command, so that `--help` costs little."""

import argparse
from pathlib import Path
from typing import Final

from taximeter.commands.arguments import worker_count
from taximeter.config_option import add_config_option
from taximeter.import_commands.import_arguments import add_import_apply, add_import_plan
from taximeter.selection import add_selection

RECORDS_PER_SECOND: Final = 100_000


def plan(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter replay plan`."""
    add_config_option(parser)
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--count", metavar="METER", help="count events of the past by this meter of the settings file, as if it had always been there")
    what.add_argument("--take-out", action="store_true", help="take out what was counted and should not be billed")
    what.add_argument("--move-to", metavar="ID", help="move what was counted for others to this customer")
    add_import_plan(parser, what)
    what.add_argument("--rows", type=Path, metavar="FILE", help="add these amounts, one JSON object a line: customer, meter, time, quantity")
    what.add_argument("--resume", type=Path, metavar="DIR", help="go on with a plan that was interrupted")
    add_selection(parser, "customer", "source", "meter", "partition", "offset", "log_time", "event_time")
    parser.add_argument("--evidence", metavar="TEXT", help="with --rows: on what the amounts rest; it is kept in the log")
    _add_into_current(parser)
    parser.add_argument("--out", type=Path, metavar="DIR", help="the directory of the plan; it must be new or empty")
    parser.add_argument("--workers", type=worker_count, default=1, metavar="N", help="derive so many partitions side by side (default %(default)s)")
    parser.add_argument(
        "--derive", type=_partitions, metavar="A-B", help="derive only these partitions here, the others on other machines (default: all)"
    )
    parser.add_argument(
        "--records-per-second",
        type=float,
        default=RECORDS_PER_SECOND,
        metavar="N",
        help="read no faster, in all, to spare the brokers; 0: as fast as it goes (default %(default)s)",
    )
    parser.add_argument("--json", action="store_true", help="the plan as JSON")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """\
A plan writes nothing to the log. Without --count, --take-out or --move-to it says what waits to be billed and needs no plan.
exit codes:
  0  the plan is complete, and all of it can be billed; or there is nothing to do
  2  a part cannot be billed, or another plan is in the way
  5  partitions are left to derive
130  interrupted: --resume goes on"""


def apply(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter replay apply`."""
    add_config_option(parser)
    parser.add_argument("directory", type=Path, metavar="DIR", help="the directory of the plan")
    _add_author(parser)
    add_import_apply(parser)
    parser.add_argument("--rate", type=float, metavar="N", help="write at most so many rows, or events of a file, a second (default: as it goes)")
    parser.add_argument(
        "--no-brake",
        action="store_true",
        help="write without waiting for the reporter; live usage then waits behind the plan",
    )
    parser.add_argument(
        "--past-closing",
        action="store_true",
        help="write also what may come when its invoice is closed, and is billed to nobody then",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="what was done as JSON; asks nothing, so it needs --yes")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """\
Each part is written once, whoever applies the plan and however often. It may be interrupted at any point, and given again.
exit codes:
  0  every part is in the log
  2  the plan is stale: something about the same usage changed since it was made; or it is not through before an invoice closes
  1  nothing was done
130  interrupted: the same command goes on"""


def revert(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter replay revert`."""
    add_config_option(parser)
    parser.add_argument("plan", metavar="PLAN", help="the plan to take back, or the first digits of its name")
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="the directory of the plan that takes it back; it must be new or empty"
    )
    _add_into_current(parser)
    parser.add_argument("--json", action="store_true", help="the plan as JSON")
    parser.epilog = "It makes a plan and writes nothing to the log: `taximeter replay apply DIR` does. Exit code 2 when a part cannot be billed."


def abandon(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter replay abandon`."""
    add_config_option(parser)
    parser.add_argument("plan", metavar="PLAN", help="the plan that is not to go on, or the first digits of its name")
    _add_author(parser)
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="what was done as JSON; asks nothing, so it needs --yes")
    parser.epilog = "The parts that are in the log stay: `taximeter replay revert` takes them back."


def list_plans(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter replay list`."""
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    parser.epilog = "Exit code 5 when a plan is unfinished, 0 otherwise."


def show(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter replay show`."""
    add_config_option(parser)
    parser.add_argument("plan", metavar="PLAN", help="the plan, or the first digits of its name, or a plan's directory")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")


def _partitions(text: str) -> range:
    """Both ends are included. Raises ValueError, which argparse tells."""
    first, _, last = text.partition("-")
    found = range(int(first), int(last or first) + 1)
    if not found or found.start < 0:
        raise ValueError(text)
    return found


def _add_into_current(parser: argparse.ArgumentParser) -> None:
    text = "bill in the current period what is of a period whose invoice is final, or older than Stripe takes"
    parser.add_argument("--into-current", action="store_true", help=text)


def _add_author(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--reason", help="why; it is kept in the log")
    parser.add_argument("--by", metavar="NAME", help="who; it is kept in the log (default: the name of your account on this machine)")
