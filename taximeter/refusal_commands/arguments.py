"""What the commands of this folder take. Nothing here imports a command, so that `--help` costs little."""

import argparse
from pathlib import Path
from typing import Final

from taximeter.config_option import add_config_option
from taximeter.selection import add_selection

DAYS: Final = 35.0


def rejected_list(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter rejected list`."""
    add_config_option(parser)
    _selection(parser)
    parser.add_argument("--open", action="store_true", help="only those about which something is left to do")
    parser.add_argument("--json", action="store_true", help="every meter event as JSON")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """\
exit codes:
  0  nothing is left to do
  2  something was refused, lost or is in doubt, and nothing was done about it yet"""


def correct(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter correct`."""
    parser.add_argument("identifier", nargs="?", help="one meter event's identifier at Stripe, tm-...; without it, all that are selected")
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--undo", action="store_true", help="Stripe has it and should not: cancel it, or negate it when it is too late for that")
    what.add_argument("--resend", action="store_true", help="Stripe certainly does not have it and should, because what made it refuse is mended")
    what.add_argument("--to-customer", metavar="ID", help="as --resend, and bill another customer: the successor of one that was deleted")
    what.add_argument("--apply", type=Path, metavar="DIR", help="do what `taximeter reconcile --plan DIR` has written down")
    _selection(parser)
    parser.add_argument("--plan", action="store_true", help="with a selection: only show what would be done")
    parser.add_argument("--reason", help="why; it is kept in the ledger (needed, but with --plan)")
    parser.add_argument("--by", metavar="NAME", help="who; it is kept in the ledger (default: the name of your account on this machine)")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--wait", type=float, metavar="SECONDS", help="wait so long for the reporter to do it and for its outcome")
    parser.add_argument("--json", action="store_true", help="what would be done, or was, as JSON; asks nothing, so it needs --yes or --plan")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """\
A selection takes what Stripe refused by name, and what is parked and Stripe's sums have decided. Each meter event is corrected once, however often
the command is given.
exit codes:
  0  all of it is done, or, with --plan, would be
  1  nothing was done, or Stripe refused it again
  2  a part cannot be done; the reasons are shown
  5  it is on its way"""
    add_config_option(parser)


def _selection(parser: argparse.ArgumentParser) -> None:
    add_selection(parser, "customer", "meter", "partition", "log_time")
    parser.add_argument("--code", action="append", default=[], metavar="CODE", help="refused with this code of Stripe's, or `parked`")
    parser.add_argument("--days", type=float, default=DAYS, metavar="N", help="how far back the ledger is read without --from (default %(default)g)")
