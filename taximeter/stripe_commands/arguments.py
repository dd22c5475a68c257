"""What the commands of this folder take. Nothing here imports a command, so that `--help` costs little."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

from taximeter.config_option import add_config_option

SETUP_EXIT_CODES: Final = """exit codes:
  0  Stripe has all that is wanted, or has it after this run
  1  a call failed, or the answer was no: running it again continues where it stopped
  2  something differs that cannot be changed; with --dry-run: anything differs
  3  wrong arguments or settings, or no terminal to ask on and no --yes
  4  Stripe does not take the key"""
WAIT_S: Final = 180.0
BILLED_WARNING: Final = "this event is billed to the customer, and it is not in Taximeter's ledger: `taximeter reconcile` shows it as extra"
LAG: Final = "Stripe's summaries lag behind what was sent, by seconds to minutes: what is missing now may be there later."
SECRETS_VARIABLE: Final = "STRIPE_WEBHOOK_SECRETS"
ERRORS_HOURS: Final = 72.0
_HOURS_MAX: Final = 24 * 366
_INTEGER_MAX: Final = 2**63 - 1
_SUBSCRIBE_EPILOG: Final = """\
A billing period begins and ends at any second, by default at the one at which the subscription is made; Taximeter sums usage by the UTC minute.
--anchor minute (or month-start) makes periods end on a full minute, so that no minute's usage lies on both sides of an end. --backdate bills usage
from before the subscription too.

The pending SetupIntent waits for payment details. Give its client secret to that customer's browser, and to nobody else, where Stripe.js finishes
it: stripe.elements({clientSecret}), then stripe.confirmSetup(...). `taximeter stripe demo-page` shows it done; `taximeter stripe checkout` does
without."""


def setup(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter stripe setup`."""
    add_config_option(parser)
    parser.add_argument("--dry-run", action="store_true", help="only show what would be done; exit code 2 if that is anything")
    parser.add_argument("--yes", action="store_true", help="do not ask before anything is changed")
    parser.add_argument("--json", action="store_true", help="the plan and what came of it as JSON")
    parser.epilog = SETUP_EXIT_CODES
    parser.formatter_class = argparse.RawDescriptionHelpFormatter


def doctor(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter stripe doctor`."""
    add_config_option(parser)
    parser.add_argument("--webhook-url", metavar="URL", help="where Stripe is to deliver events, such as https://example.com/webhooks/stripe")
    parser.add_argument("--json", action="store_true", help="the checks as JSON")


def customer_create(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter stripe customer create`."""
    add_common_options(parser)
    parser.add_argument("--name", required=True, help="as it stands on invoices")
    parser.add_argument("--email", help="where Stripe sends invoices")
    parser.add_argument("--key", help="your own name for the customer; a second `create` with it prints the id of the first")
    parser.add_argument("--metadata", type=pair, action="append", default=[], metavar="NAME=VALUE", help="kept with the customer; may be repeated")
    parser.add_argument("--idempotency-key", help="a repetition with the same one makes nothing new for 24 hours (default: from --key, else random)")


def customer_list(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter stripe customer list`."""
    add_common_options(parser)
    parser.add_argument("--email", help="only customers with this address")


def customer_show(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter stripe customer show`."""
    add_common_options(parser)
    parser.add_argument("customer", metavar="CUSTOMER", help="id, cus_...")


def subscribe(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter stripe subscribe`."""
    add_common_options(parser)
    parser.add_argument("customer", metavar="CUSTOMER", help="id, cus_...")
    parser.add_argument(
        "--price", action="append", default=[], metavar="KEY_OR_ID", help="may be repeated (default: the only one of the settings file)"
    )
    parser.add_argument("--anchor", type=_anchor, metavar="WHEN", help="end of the first period: month-start, minute, or an RFC 3339 time")
    parser.add_argument("--backdate", type=moment, metavar="TIME", help="RFC 3339: bill usage since then")
    parser.add_argument("--again", action="store_true", help="although the customer has the price already")
    parser.add_argument("--show-client-secret", action="store_true", help="print the SetupIntent's client secret, or put it into the JSON")
    parser.add_argument("--client-secret-file", type=Path, metavar="FILE", help="write it to a new file that only you can read")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = _SUBSCRIBE_EPILOG


def checkout(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter stripe checkout`."""
    add_common_options(parser)
    parser.add_argument("--customer", metavar="ID", help="who subscribes (default: Stripe makes a new customer)")
    parser.add_argument(
        "--price", action="append", default=[], metavar="KEY_OR_ID", help="may be repeated (default: the only one of the settings file)"
    )
    parser.add_argument(
        "--success-url", required=True, metavar="URL", help="where Stripe sends the customer then; {CHECKOUT_SESSION_ID} is filled in"
    )
    parser.add_argument("--cancel-url", required=True, metavar="URL", help="where Stripe sends who turns back")
    parser.epilog = "The address is for one customer and one use, for 24 hours. The webhook checkout.session.completed says that it was used."


def send_test_event(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter stripe send-test-event`."""
    add_common_options(parser)
    parser.add_argument("customer", metavar="CUSTOMER", help="id, cus_...")
    parser.add_argument("--meter", help="event name of the meter (default: the only one of the settings file)")
    parser.add_argument("--value", type=natural, default=1, metavar="N", help="how many units (default %(default)s)")
    parser.add_argument("--dimension", type=pair, action="append", default=[], metavar="NAME=VALUE", help="a dimension of the meter; may be repeated")
    parser.add_argument("--at", type=moment, metavar="TIME", help="RFC 3339; at most 35 days back (default: now)")
    parser.add_argument("--live", action="store_true", help="do it with a live key: it costs a real customer money")
    parser.add_argument(
        "--wait", action="store_true", help=f"wait until Stripe's summaries show it, at most {WAIT_S:g} s; exit code 5 if they do not"
    )
    parser.epilog = f"Mind: {BILLED_WARNING}."


def usage(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter stripe usage`."""
    add_common_options(parser)
    parser.add_argument("customer", metavar="CUSTOMER", help="id, cus_...")
    parser.add_argument("--meter", help="event name of the meter (default: every meter of the settings file)")
    parser.add_argument(
        "--by", choices=("hour", "day", "total"), default="day", help="a row for each hour, each UTC day, or one (default %(default)s)"
    )
    parser.add_argument("--from", dest="start", type=moment, metavar="TIME", help="RFC 3339 (default: the start of the customer's billing period)")
    parser.add_argument("--to", dest="end", type=moment, metavar="TIME", help="RFC 3339 (default: now)")
    parser.epilog = (
        "Without --from: the current billing period of the subscription that bills the meter; where there is none, the last 24 hours by hour, "
        f"else the last 30 days. {LAG}"
    )


def errors(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter stripe errors`."""
    add_common_options(parser)
    parser.add_argument("--hours", type=_hours, default=ERRORS_HOURS, help="how far back (default %(default)g)")
    parser.epilog = "Stripe names only a sample of what it refuses. Exit code 2 when any of it was not sent again by a correction."


def listen(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter stripe listen`."""
    add_common_options(parser)
    parser.add_argument("--port", type=_port, default=4242, help="port to listen on, 0 for a free one (default %(default)s)")
    parser.add_argument(
        "--secret", action="append", default=[], metavar="whsec_...", help=f"signing secret (also in ${SECRETS_VARIABLE}); repeatable"
    )
    parser.add_argument(
        "--url", metavar="PUBLIC_URL", help="register this address with Stripe, and remove it at the end; it must lead to the port here"
    )
    parser.add_argument("--events", type=_types, default=(), metavar="A,B", help="only these types (default: all snapshot events)")
    parser.add_argument("--thin", action="store_true", help="also the thin events about meters; those named by --events that are thin need no --thin")
    parser.epilog = "With the simulator the address here is registered by itself. A secret on the command line is seen by others on this machine."


def preview(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter stripe preview`."""
    add_common_options(parser)
    parser.add_argument("customer", metavar="CUSTOMER", nargs="?", help="id, cus_...: all of its subscriptions")
    parser.add_argument("--subscription", metavar="ID", help="id, sub_...: only this one")
    parser.epilog = f"With --json, amounts are in the currency's smallest unit. {LAG}"


def add_common_options(parser: argparse.ArgumentParser) -> None:
    """`--config` and `--json`."""
    add_config_option(parser)
    parser.add_argument("--json", action="store_true", help="JSON instead of text")


def moment(text: str) -> int:
    """Unix seconds of an RFC 3339 time with its offset, such as 2026-11-22T10:00:00Z. For argparse."""
    try:
        read = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a time like 2026-11-22T10:00:00Z") from None
    if read.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} does not say its offset: end it with Z for UTC, or with +01:00 and the like")
    if read.microsecond:
        raise argparse.ArgumentTypeError(f"{text!r} is not on a full second")
    return int((read - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds())


def pair(text: str) -> tuple[str, str]:
    """NAME=VALUE. For argparse."""
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    return name, value


def natural(text: str) -> int:
    """A positive integer. For argparse."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= _INTEGER_MAX:
        raise argparse.ArgumentTypeError(f"{text[:30]!r} is not a whole number from 1 up")
    return int(text)


def _anchor(text: str) -> int | Literal["month-start", "minute"]:
    if text == "month-start":
        return "month-start"
    return "minute" if text == "minute" else moment(text)


def _hours(text: str) -> float:
    try:
        hours = float(text)
    except ValueError:
        hours = 0.0
    if not 0 < hours <= _HOURS_MAX:
        raise argparse.ArgumentTypeError(f"{text[:30]!r} is not a number of hours from 0 to {_HOURS_MAX}")
    return hours


def _types(text: str) -> tuple[str, ...]:
    found = tuple(kind.strip() for kind in text.split(",") if kind.strip())
    if not found:
        raise argparse.ArgumentTypeError("names no type of event")
    return found


def _port(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text[:20]!r} is not a port")
    return int(text)
