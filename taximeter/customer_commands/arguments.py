"""What the commands of this folder take. Nothing here imports a command, so that `--help` costs little."""

import argparse
from pathlib import Path

from metering.folds.metadata_links import DEFAULT_FIELD
from taximeter.config_option import add_config_option


def link(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter customers link`."""
    add_config_option(parser)
    parser.add_argument("customer", metavar="CUSTOMER", help="as events name it: an organisation, a project, the owner of a key")
    parser.add_argument("stripe_customer", metavar="STRIPE_CUSTOMER", help="who is billed for it from now on: cus_...")
    _add_writing(parser)
    _explain(
        parser,
        """\
Shows what changes, asks, and links. Reporters follow within seconds; usage that waited for the link is reported once. What was reported before
stays with whom it was billed to; to move it, see taximeter replay plan move.
exit codes:
  0  linked, or it was linked so already
  1  nothing was done: you said no
  2  Stripe has no such customer; --unchecked links all the same""",
    )


def unlink(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter customers unlink`."""
    add_config_option(parser)
    parser.add_argument("customer", metavar="CUSTOMER", help="as events name it")
    _add_writing(parser, checks=False)
    parser.epilog = "From then on its usage is held. An id that Stripe gave is its own link again."


def import_file(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter customers import`."""
    add_config_option(parser)
    parser.add_argument("file", metavar="FILE.csv", type=Path, help="with a first line customer,stripe_customer and a line for each link")
    _add_writing(parser)
    _explain(
        parser,
        """\
Shows what changes, asks, and writes what is new. After an interruption the same command goes on with what is left.
exit codes:
  0  all are linked
  1  nothing was done: you said no
  2  a line cannot be used, or Stripe does not have a customer; nothing was written""",
    )


def sync(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter customers sync`."""
    add_config_option(parser)
    parser.add_argument("--field", default=DEFAULT_FIELD, metavar="NAME", help=f"the metadata field (default: {DEFAULT_FIELD})")
    parser.add_argument("--by", metavar="NAME", help="who (default: the name of your account on this machine)")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="what was done as JSON; asks nothing, so it needs --yes")
    _explain(
        parser,
        """\
Reads all customers of Stripe. The field has the customers for which one is billed, separated by commas. Shows what changes, asks, and links. What an
earlier sync linked and no customer of Stripe says any more, as after a deletion, is unlinked. Run it as often as you like, with --yes.
exit codes:
  0  linked as Stripe's customers say
  1  nothing was done: you said no
  2  two customers of Stripe claim one customer, or a link cannot be used; nothing was written""",
    )


def list_links(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter customers list`."""
    add_config_option(parser)
    parser.add_argument("--held", action="store_true", help="customers whose usage waits for a link, with units and age")
    parser.add_argument("--json", action="store_true", help="as JSON")


def show(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter customers show`."""
    add_config_option(parser)
    parser.add_argument("customer", metavar="CUSTOMER", help="as events name it, or a Stripe customer: then for whom it is billed")
    parser.add_argument("--json", action="store_true", help="as JSON")


def _add_writing(parser: argparse.ArgumentParser, *, checks: bool = True) -> None:
    parser.add_argument("--reason", metavar="TEXT", help="why; it is kept in the log")
    parser.add_argument("--by", metavar="NAME", help="who (default: the name of your account on this machine)")
    if checks:
        parser.add_argument("--unchecked", action="store_true", help="do not ask Stripe whether it has the customer")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="what was done as JSON; asks nothing, so it needs --yes")


def _explain(parser: argparse.ArgumentParser, text: str) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = text
