"""What the commands of this folder take. Nothing here imports a command, so that `--help` costs little."""

import argparse
from typing import Final

from taximeter.config_option import add_config_option
from taximeter.selection import add_selection

LETTER_COLUMNS: Final = ("reason", "field", "source", "key", "customer", "day", "partition")


def list_groups(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter deadletters list`."""
    _select_letters(parser)
    parser.add_argument(
        "--by",
        type=_letter_columns,
        default=LETTER_COLUMNS[:3],
        metavar="A,B",
        help=f"group by these, of {', '.join(LETTER_COLUMNS)} (default {','.join(LETTER_COLUMNS[:3])})",
    )
    parser.add_argument("--json", action="store_true", help="the groups as JSON")
    parser.epilog = "Exit code 2 when something is open, 0 when all was taken back, or nothing was ever set aside."


def show(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter deadletters show`."""
    _select_letters(parser)
    parser.add_argument("--limit", type=int, default=20, metavar="N", help="how many events to show (default %(default)s)")
    parser.add_argument("--all", action="store_true", help="also those that were taken back")
    parser.add_argument("--json", action="store_true", help="the events as JSON")


def redrive(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter deadletters redrive`."""
    _select_letters(parser)
    parser.add_argument("--rename", type=_renaming, action="append", default=[], metavar="OLD=NEW", help="call a usage field otherwise")
    parser.add_argument("--drop", action="append", default=[], metavar="FIELD", help="leave a usage field out; may be repeated")
    parser.add_argument("--set-customer", default="", metavar="ID", help="count the events for this customer")
    parser.add_argument(
        "--without-ids", action="store_true", help="count events although others with their identity count; for ids that meant nothing"
    )
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, and do nothing")
    parser.add_argument("--reason", help="why; it is kept in the log (needed, but with --dry-run)")
    parser.add_argument("--by", metavar="NAME", help="who; it is kept in the log (default: the name of your account on this machine)")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="what would be done, or was, as JSON; asks nothing, so it needs --yes or --dry-run")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """\
Each event is taken back once, whoever asks and however often. One that is younger than ids are remembered counts unless its id was counted.
An older one is looked for in the log first, which reads all that is kept of its partition.
exit codes:
  0  all that was selected is taken back, or would be
  2  some would be set aside again: the plan says why
  1  nothing was done"""


def _select_letters(parser: argparse.ArgumentParser) -> None:
    """The options that select set-aside events."""
    add_config_option(parser)
    add_selection(parser, "why", "field", "source", "customer", "partition", "offset", "log_time", "event_time")


def _letter_columns(text: str) -> tuple[str, ...]:
    names = tuple(text.split(","))
    wrong = [name for name in names if name not in LETTER_COLUMNS]
    if wrong:
        raise argparse.ArgumentTypeError(f"{wrong[0]!r} is not one of {', '.join(LETTER_COLUMNS)}")
    return names


def _renaming(text: str) -> tuple[str, str]:
    old, equals, new = text.partition("=")
    if not old or not equals or not new:
        raise argparse.ArgumentTypeError(f"{text!r} is not OLD=NEW")
    return old, new
