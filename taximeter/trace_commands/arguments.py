"""What the commands of this folder take. Nothing here imports a command, so that `--help` costs little."""

import argparse
from pathlib import Path
from typing import Final

from taximeter.commands.arguments import time_ms
from taximeter.config_option import add_config_option

TRACE_HOURS: Final = 48
EVENT_FORMATS: Final = ("csv", "ndjson", "parquet")


def trace(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter trace`."""
    add_config_option(parser)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("event_id", nargs="?", metavar="EVENT_ID", help="the id that the client gave the event")
    what.add_argument("--offset", type=_place, metavar="P:N", help="the record of usage.events at offset N of partition P")
    what.add_argument("--identifier", metavar="tm-...", help="a meter event, by its identifier at Stripe")
    parser.add_argument("--source", default="", metavar="NAME", help="the source of the event, if it has one")
    parser.add_argument("--customer", metavar="ID", help="the customer of the event: then one partition is read, not all")
    parser.add_argument(
        "--from", dest="from_ms", type=time_ms, metavar="TIME", help=f"Kafka took it at this time or later (default: {TRACE_HOURS} hours ago)"
    )
    parser.add_argument("--to", dest="to_ms", type=time_ms, metavar="TIME", help="Kafka took it before this time (RFC 3339; default: now)")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")
    parser.epilog = "Exit code 0 when something was found, 1 when not. An event may be in the log more than once: each copy is shown."


def explain(parser: argparse.ArgumentParser) -> None:
    """The options of `taximeter explain`."""
    add_config_option(parser)
    parser.add_argument("--customer", required=True, metavar="ID", help="whose usage")
    parser.add_argument("--meter", required=True, metavar="NAME", help="of which meter")
    parser.add_argument("--from", dest="from_ms", type=time_ms, metavar="TIME", help="usage of this minute or later (default: 24 hours ago)")
    parser.add_argument("--to", dest="to_ms", type=time_ms, metavar="TIME", help="usage before this minute (default: now)")
    parser.add_argument("--events", type=Path, metavar="FILE", help="write every event there; its name says the form, or --format")
    parser.add_argument("--format", choices=EVENT_FORMATS, help="the form of the events: in FILE, or without --events on stdout (not parquet)")
    parser.add_argument("--sums", action="store_true", help="only what the tallies say, by hour and dimensions: no event is read")
    parser.add_argument("--json", action="store_true", help="the sums as JSON")
    parser.epilog = "Exit code 2 when the events do not make the sum of the tallies."


def _place(text: str) -> tuple[int, int]:
    partition, colon, offset = text.partition(":")
    if not colon or not partition.isdecimal() or not offset.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not PARTITION:OFFSET, such as 3:80113")
    return int(partition), int(offset)
