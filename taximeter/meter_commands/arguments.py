"""What the commands of this folder take. Nothing here imports a command, so that `--help` costs little."""

import argparse

from taximeter.config_option import add_config_option


def explain(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter meters explain`."""
    add_config_option(parser)
    parser.add_argument("event", metavar="EVENT.json", help="a file with one event as JSON; - reads it from stdin")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")
    parser.epilog = "Exit code 2 when the event, or a quantity of it, would not be billed."


def plan(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter meters plan`."""
    add_config_option(parser)
    _add_drop(parser)
    parser.add_argument("--json", action="store_true", help="the plan as JSON")
    _explain(
        parser,
        """\
Compares [[meters]] and [usage] of the settings file with the newest version in the log. Writes nothing.
exit codes:
  0  nothing would change, or all of it may be applied
  2  a meter would be dropped that was not named with --drop""",
    )


def apply(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter meters apply`."""
    add_config_option(parser)
    _add_drop(parser)
    parser.add_argument(
        "--from",
        dest="from_time",
        metavar="TIME",
        help="the log time from which it holds, as 2026-12-01T00:00:00Z, 15 minutes ahead or more (default: 20 minutes ahead)",
    )
    parser.add_argument("--reason", metavar="TEXT", help="why; it is kept in the log")
    parser.add_argument("--by", metavar="NAME", help="who (default: the name of your account on this machine)")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="what was done as JSON; asks nothing, so it needs --yes")
    _explain(
        parser,
        """\
Shows the plan, asks, and publishes the meters of the settings file. Services follow without a restart.
exit codes:
  0  published, or nothing to publish
  1  it was not published, and the message says why
  2  a meter would be dropped that was not named with --drop""",
    )


def list_versions(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter meters list`."""
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="as JSON")


def show(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter meters show`."""
    add_config_option(parser)
    parser.add_argument("version", metavar="VERSION", help="its number, or its digest")
    parser.add_argument("--json", action="store_true", help="as JSON")


def _add_drop(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--drop", action="append", default=[], metavar="METER", help="a meter that the new version may leave out; may be repeated")


def _explain(parser: argparse.ArgumentParser, text: str) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = text
