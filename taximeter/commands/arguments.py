"""What the commands of this folder take. Nothing here imports a command, so that `--help` costs little."""

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from taximeter.config_option import add_config_option

SHELLS: Final = ("bash", "zsh", "fish")
HOURS: Final = 24.0
RUNBOOKS: Final = "docs/runbooks"
WORKERS_MAX: Final = 256
PATIENCE_SECONDS: Final = 30.0


def topics(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter topics create` and `check`."""
    add_config_option(parser)


def api_keys_create(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter api-keys create`."""
    parser.add_argument("--tenant", required=True, help="whom the key is for")
    parser.add_argument("--file", type=Path, required=True, help="the file of keys, of the gateway or the console; made if missing")
    whose = parser.add_mutually_exclusive_group(required=True)
    whose.add_argument("--customer", action="append", default=[], help="a customer that it may send for, or read; several may be given")
    whose.add_argument("--all-customers", action="store_true", help="it may send for, or read, all customers")
    parser.add_argument("--source", action="append", default=[], help="a source of the events that it may send; several may be given (default: any)")
    parser.add_argument("--name", help="what metrics and dead letters call it (default: its id)")
    parser.add_argument(
        "--expires", type=until, metavar="90d|DATE", help="when it is refused: so many days from now, or 2027-03-01 or a time with a zone"
    )
    parser.add_argument("--events-per-second", type=int, help="how many events a second it may send (default: no limit)")


def until(text: str) -> int:
    """A time to come (Unix ms): days from now such as `90d`, a day in UTC, or RFC 3339."""
    now = datetime.now(UTC)
    try:
        found = now + timedelta(days=int(text.removesuffix("d"))) if text.endswith("d") else datetime.fromisoformat(text)
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            f"{text!r} is neither days such as 90d, nor a day or time such as 2027-03-01 or 2027-03-01T12:00:00Z"
        ) from None
    if len(text) == len("2027-03-01"):
        found = found.replace(tzinfo=UTC)
    if found.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text} has no zone: add Z for UTC")
    if found <= now:
        raise argparse.ArgumentTypeError(f"{text} is not in the future")
    return int(found.timestamp()) * 1000


def api_keys_list(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter api-keys list`."""
    parser.add_argument("--file", type=Path, required=True, help="the file of keys")
    parser.add_argument("--json", action="store_true", help="as JSON")


def api_keys_one(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter api-keys revoke`."""
    parser.add_argument("id", metavar="ID", help="the twelve digits after tmk_, as `taximeter api-keys list` shows them")
    parser.add_argument("--file", type=Path, required=True, help="the file of keys")


def api_keys_rotate(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter api-keys rotate`."""
    api_keys_one(parser)
    parser.add_argument("--name", help="what metrics and dead letters call the new one (default: its id)")
    parser.add_argument(
        "--expires", type=until, metavar="90d|DATE", help="when the new one is refused (default: never; must be said if the other expires)"
    )


def console(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter console`."""
    parser.add_argument("--rebuild", action="store_true", help="delete the store first: it is built again from the log")
    add_config_option(parser)


def export(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter export`."""
    parser.add_argument("what", choices=("tallies", "ledger", "events"), help="what was counted, what was reported with its outcomes, or events")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR", help="where the files are; a further export adds what is new")
    parser.add_argument("--from", dest="since_ms", type=time_ms, metavar="TIME", help="at the first export: nothing that Kafka took before")
    add_config_option(parser)


def status(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter status`."""
    add_config_option(parser)
    parser.add_argument("--hours", type=float, default=HOURS, help="how far back outcomes are counted (default %(default)g)")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")


def doctor(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter doctor`."""
    add_config_option(parser)
    parser.add_argument("--hours", type=float, default=HOURS, help="how far back outcomes and comparisons are read (default %(default)g)")
    parser.add_argument("--runbooks", default=RUNBOOKS, metavar="URL", help="where the runbooks are (default: %(default)s of the repository)")
    parser.add_argument(
        "--gateway", action="append", default=[], metavar="URL", help="ask a gateway, too, at its admin port, as http://gateway:9101; again for each"
    )
    parser.add_argument("--watch", action="store_true", help="look again every few seconds, until it is interrupted")
    parser.add_argument("--json", action="store_true", help="JSON instead of a page; with --watch a line for each look")


def corrections(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter corrections`."""
    parser.add_argument("--partition", type=int, help="of this partition only")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")
    add_config_option(parser)


def repair_accept_loss(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter repair accept-loss`."""
    parser.add_argument("partition", type=int, metavar="PARTITION", help="the partition that stopped with HistoryLost")
    parser.add_argument("--reason", help="why; it is kept in the chain. Without a reason, what is lost is shown and nothing is done")
    parser.add_argument("--by", metavar="NAME", help="who; it is kept in the chain (default: the name of your account on this machine)")
    parser.add_argument(
        "--ids",
        action="store_true",
        help="accept also that the ids of events counted before are not known; events with ids that may repeat them are set aside as past_horizon",
    )
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="what is lost as JSON; asks nothing, so with a reason it needs --yes")
    add_config_option(parser)


def repair_skip(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter repair skip`."""
    parser.add_argument("--partition", type=int, required=True, help="the partition that stopped")
    parser.add_argument("--offset", type=int, required=True, help="the offset at which it stands, as its reason and `status` say it")
    parser.add_argument(
        "--topic",
        choices=("events", "tallies", "ledger"),
        default="events",
        help="the topic that has the offset; in the last two, a record that no version of Taximeter wrote, or a damaged batch (default %(default)s)",
    )
    parser.add_argument("--reason", help="why; it is kept in the chain. Without a reason, what stands there is shown and nothing is done")
    parser.add_argument("--by", metavar="NAME", help="who; it is kept in the chain (default: the name of your account on this machine)")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help="what stands there as JSON; asks nothing, so with a reason it needs --yes")
    add_config_option(parser)


def spool_list(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter spool list`."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="the spool_dir of emitters")
    parser.add_argument("--json", action="store_true", help="JSON instead of a table")


def spool_send(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter spool send`."""
    parser.add_argument("directory", type=Path, metavar="DIR", help="the spool_dir of emitters")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument(
        "--patience", type=float, metavar="SECONDS", default=PATIENCE_SECONDS, help="stop after so long without any progress (default %(default)g)"
    )
    parser.add_argument("--refused", action="store_true", help="also what a gateway refused")
    parser.add_argument("--gateway", metavar="URL", help="send to this gateway, and not to Kafka itself")
    parser.add_argument("--api-key-file", type=Path, metavar="FILE", help="what holds the API key for the gateway")
    parser.add_argument("--json", action="store_true", help="the plan and what was done as JSON; asks nothing, so it needs --yes")
    add_config_option(parser)


def verify(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter verify`."""
    add_config_option(parser)
    parser.add_argument("--from", dest="from_ms", type=time_ms, metavar="TIME", help="what was counted at this log time or later (RFC 3339)")
    parser.add_argument("--to", dest="to_ms", type=time_ms, metavar="TIME", help="what was counted before this log time (RFC 3339)")
    parser.add_argument(
        "--with-stripe", action="store_true", help="compare every customer with Stripe's summaries, too, as `taximeter reconcile --all` does"
    )
    parser.add_argument(
        "--workers", type=worker_count, default=1, metavar="N", help="share the partitions among this many processes (default %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="the whole report as JSON")


def completion(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter completion`."""
    parser.add_argument("shell", choices=SHELLS, help="for which shell")
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = """\
bash: eval "$(taximeter completion bash)"         in ~/.bashrc
zsh:  eval "$(taximeter completion zsh)"          in ~/.zshrc, after compinit
fish: taximeter completion fish | source          in ~/.config/fish/config.fish"""


def worker_count(text: str) -> int:
    """How many processes share the work."""
    if not text.isascii() or not text.isdigit() or not 0 < int(text) <= WORKERS_MAX:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number from 1 to {WORKERS_MAX}")
    return int(text)


def time_ms(text: str) -> int:
    """An RFC 3339 time with a zone, as Unix ms."""
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is no time such as 2026-03-31T22:00:00Z") from None
    if moment.tzinfo is None:
        raise argparse.ArgumentTypeError(f"{text!r} has no time zone: add Z for UTC")
    return (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1)
