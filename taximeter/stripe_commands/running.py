"""What the commands under `taximeter stripe` have in common: how they run, how they print, what they take from the settings file."""

import argparse
import os
import sys
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any, Final

import orjson
from rich.console import Console

from billing.calls import NotPossible
from billing.catalogue.pricing import parse_wanted
from metering.records.meters import Meter
from taximeter.exit_codes import PRECONDITION, USAGE
from taximeter.stripe_commands.stripe_connection import CannotDo, StripeConnection, run_with_stripe

_PLAIN_WIDTH: Final = 140


def run_billing(arguments: argparse.Namespace, command: Callable[[StripeConnection], Coroutine[Any, Any, int]]) -> int:
    """Run a command against Stripe; refusals of `billing` go to stderr."""

    async def guarded(connection: StripeConnection) -> int:
        try:
            return await command(connection)
        except NotPossible as error:
            raise CannotDo(str(error)) from None

    return run_with_stripe(arguments, guarded)


def print_json(document: object) -> None:
    """On stdout, indented."""
    print(orjson.dumps(document, option=orjson.OPT_INDENT_2).decode(), flush=True)


def console() -> Console:
    """Where tables go: stdout, as wide as the terminal, or fixed when it is none."""
    return Console(width=None if sys.stdout.isatty() else _PLAIN_WIDTH, no_color="NO_COLOR" in os.environ or None, highlight=False, markup=False)


def shown(seconds: int | None) -> str:
    """A time in UTC, to the second."""
    return "-" if seconds is None else datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def meter_of(connection: StripeConnection, event_name: str | None) -> Meter:
    """The meter of the settings file with this event name, or the only one there is. Raises CannotDo."""
    catalogue = connection.catalogue
    known = ", ".join(catalogue.by_name)
    if event_name is None:
        if len(catalogue.meters) == 1:
            return catalogue.meters[0]
        raise CannotDo(f"which meter? Say --meter; the settings file has {known}", USAGE)
    meter = catalogue.by_name.get(event_name)
    if meter is None:
        raise CannotDo(f"the settings file has no meter {event_name!r}; it has {known}", USAGE)
    return meter


def price_keys(connection: StripeConnection, asked: list[str]) -> list[str]:
    """The prices that were asked for, or the only one of the settings file. Raises CannotDo."""
    if asked:
        return asked
    wanted, problems = parse_wanted(connection.configuration.file)
    if wanted is None:
        raise CannotDo("\ntaximeter: ".join(problems), USAGE)
    keys = [price.key for price in wanted.prices]
    if len(keys) == 1:
        return keys
    if keys:
        raise CannotDo(f"which price? Say --price; the settings file has {', '.join(keys)}", USAGE)
    raise CannotDo("which price? Say --price with a lookup key or an id, or describe the price as [[prices]] in the settings file", PRECONDITION)
