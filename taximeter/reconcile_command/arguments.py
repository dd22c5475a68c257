"""What the commands of this folder take. Nothing here imports a command, so that `--help` costs little."""

import argparse
from pathlib import Path
from typing import Final

from taximeter.commands.arguments import time_ms
from taximeter.config_option import add_config_option

SETTLE_SECONDS: Final = 600.0


def reconcile(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter reconcile`."""
    add_config_option(parser)
    who = parser.add_mutually_exclusive_group(required=True)
    who.add_argument("--customer", action="append", default=[], metavar="ID", help="this customer; may be repeated")
    who.add_argument("--all", action="store_true", help="every customer that the ledger has")
    parser.add_argument("--meter", action="append", default=[], metavar="NAME", help="this meter only; may be repeated (default: all)")
    parser.add_argument("--from", dest="from_ms", type=time_ms, metavar="TIME", help="usage of this time or later (RFC 3339; default: 24 hours ago)")
    parser.add_argument("--to", dest="to_ms", type=time_ms, metavar="TIME", help="usage before this time (RFC 3339; default: now)")
    parser.add_argument("--by", choices=("hour", "day"), help="how finely to compare, in UTC (default: hour for four days or less, else day)")
    parser.add_argument(
        "--settle-seconds",
        type=float,
        default=SETTLE_SECONDS,
        metavar="S",
        help="how long Stripe's summaries may lag: what was sent later and is not shown is still arriving (default %(default)g)",
    )
    parser.add_argument(
        "--calls-per-second", type=float, metavar="N", help="calls to Stripe a second (default: 20 with a live key, else 5; of Stripe's 100 and 25)"
    )
    noted = parser.add_mutually_exclusive_group()
    noted.add_argument("--save", type=Path, metavar="FILE", help="keep what is done there; the same command again goes on behind it")
    noted.add_argument("--record", action="store_true", help="note what was found in the ledger, as evidence; by hour")
    noted.add_argument(
        "--plan",
        type=Path,
        metavar="DIR",
        help="as --record, and write into this directory what would be sent again; `taximeter correct --apply DIR` does it",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask before more than a thousand calls")
    parser.add_argument("--json", action="store_true", help="every cell as JSON, settled ones too")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """\
exit codes:
  0  every cell is settled: Stripe has what the ledger says
  2  a cell differs, cannot be decided or cannot be read
  5  no cell differs, and some are still arriving"""
