"""The options by which commands select usage and events: one syntax for all of them. Nothing here imports a command."""

import argparse
from collections.abc import Callable, Mapping
from typing import Final

from metering.plans.usage_selector import UsageSelector
from metering.records.tally import Range
from taximeter.commands.arguments import time_ms

OFFSETS_MAX: Final = 1_000
"""Ranges of offsets that one command may select by."""


def add_selection(parser: argparse.ArgumentParser, *conditions: str) -> None:
    """Options for these conditions, of `CONDITIONS`. Each may be given more than once: one of its values is enough."""
    for name in conditions:
        CONDITIONS[name](parser)


def selector_of(arguments: argparse.Namespace) -> UsageSelector:
    """What the options say; a condition that the command does not have is not given."""

    def several(name: str) -> frozenset[str]:
        return frozenset(getattr(arguments, name, ()))

    return UsageSelector(
        customers=several("customer"),
        sources=several("source"),
        meters=several("meter"),
        reasons=several("why"),
        fields=several("field"),
        partitions=frozenset(getattr(arguments, "partition", ())),
        offsets=tuple(sorted(getattr(arguments, "offset", ()))),
        from_ms=getattr(arguments, "from_ms", None),
        to_ms=getattr(arguments, "to_ms", None),
        event_from_ms=getattr(arguments, "event_from_ms", None),
        event_to_ms=getattr(arguments, "event_to_ms", None),
    )


def offset_range(text: str) -> Range:
    """`17`, or `17-40` with both ends."""
    first, _, last = text.partition("-")
    if not first.isdecimal() or not (last or first).isdecimal() or int(last or first) < int(first):
        raise argparse.ArgumentTypeError(f"{text!r} is no offset, nor a range such as 17-40")
    return int(first), int(last or first)


def _named(option: str, metavar: str, summary: str) -> Callable[[argparse.ArgumentParser], None]:
    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument(option, action="append", default=[], metavar=metavar, help=summary)

    return add


def _partition(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--partition", action="append", default=[], type=int, metavar="P", help="in this partition of usage.events")


def _offset(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--offset", action="append", default=[], type=offset_range, metavar="N", help="in the record at this offset, or in N-M")


def _log_time(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--from", dest="from_ms", type=time_ms, metavar="TIME", help="that Kafka took at this time or later (RFC 3339)")
    parser.add_argument("--to", dest="to_ms", type=time_ms, metavar="TIME", help="that Kafka took before this time (RFC 3339)")


def _event_time(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--event-from", dest="event_from_ms", type=time_ms, metavar="TIME", help="that happened at this time or later (RFC 3339)")
    parser.add_argument("--event-to", dest="event_to_ms", type=time_ms, metavar="TIME", help="that happened before this time (RFC 3339)")


CONDITIONS: Final[Mapping[str, Callable[[argparse.ArgumentParser], None]]] = {
    "why": _named("--why", "REASON", "set aside for this reason; each option may be repeated"),
    "field": _named("--field", "FIELD", "because of this field, as `show` names it"),
    "source": _named("--source", "NAME", "of this source, or of this emitter"),
    "customer": _named("--customer", "ID", "of this customer"),
    "meter": _named("--meter", "NAME", "of this meter"),
    "partition": _partition,
    "offset": _offset,
    "log_time": _log_time,
    "event_time": _event_time,
}
