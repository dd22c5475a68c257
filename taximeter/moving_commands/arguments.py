"""What the commands of this folder take. Nothing here imports a command, so that `--help` costs little."""

import argparse
from pathlib import Path

from taximeter.config_option import add_config_option


def topics_copy(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter topics copy`."""
    _add_other_cluster(parser, "to", "where the copy is made")
    parser.add_argument("--follow", action="store_true", help="go on until interrupted: a standing copy, behind by about a second")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="the plan and what was copied as JSON; asks nothing, so it needs --yes")
    add_config_option(parser)


def topics_catch_up(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter topics catch-up`."""
    _add_other_cluster(parser, "from", "which cluster was left")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="the plan and what was brought over as JSON; asks nothing, so it needs --yes")
    add_config_option(parser)


def repair_adopt(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter repair adopt`."""
    _add_other_cluster(parser, "from", "which cluster is left; it is closed, and the rest copied")
    parser.add_argument(
        "--old-gone",
        action="store_true",
        help="the cluster that is left cannot be reached and will not be again: what its reporters told Stripe behind the copy is not known",
    )
    parser.add_argument(
        "--reopen",
        action="store_true",
        help="this cluster was closed, and its copy was never adopted and never will be: open it again",
    )
    parser.add_argument("--reason", help="why; it is kept in the ledger. Without a reason, what would be done is shown and nothing is done")
    parser.add_argument("--by", metavar="NAME", help="who; it is kept in the ledger (default: the name of your account on this machine)")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="the plan and what was done as JSON; asks nothing, so with a reason it needs --yes")
    add_config_option(parser)


def _add_other_cluster(parser: argparse.ArgumentParser, direction: str, what: str) -> None:
    parser.add_argument(f"--{direction}", dest="servers", metavar="SERVERS", help=f"{what}, as host:port,...; reached with the settings of this one")
    parser.add_argument(
        f"--{direction}-config", dest="servers_file", type=Path, metavar="FILE", help="or a settings file that says how to reach it, by itself alone"
    )
