"""`taximeter meters explain`: what one event feeds, what is free or unknown, and what it costs.

By the meters of the settings file. Reads no log.
"""

import argparse
import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from taximeter_emitter.wire.errors import EventRejected
from taximeter_emitter.wire.event import UsageEvent, parse_event, parse_json

from billing.catalogue.account import FoundPrice
from billing.catalogue.plan import terms_of
from billing.catalogue.price_list import PriceList
from billing.catalogue.pricing import parse_wanted
from metering.configuration.settings import SettingsError
from metering.formulas.meter_formulas import Aggregate
from metering.process.service_command import load_configuration
from metering.records.meters import Catalogue, FieldVerdict, MatchingMeters, below_zero_text, catalogue_of, catalogue_problems, where_text
from metering.stripe.settings import stripe_is_configured
from taximeter.account_prices import PlanMoney, plan_money
from taximeter.exit_codes import DISCREPANCY, OK, USAGE
from taximeter.stripe_commands.running import print_json

EXPLAINED_SCHEMA: Final = "taximeter.explained-event/1"
_EVENT_BYTES_MAX: Final = 1_000_000


def run(arguments: argparse.Namespace) -> int:
    """Exit code 0 when the event would be counted and all of it is known; 2 when it, or a part of it, would not be billed."""
    try:
        file = load_configuration({}, environ=os.environ, file=arguments.config, check_file=catalogue_problems).file
        event = _read(arguments.event)
    except SettingsError as error:
        print(*(f"taximeter: {problem}" for problem in error.problems), sep="\n", file=sys.stderr)
        return USAGE
    except (OSError, EventRejected) as error:
        print(f"taximeter: {arguments.event}: {error}", file=sys.stderr)
        return USAGE
    catalogue = catalogue_of(file)
    money = _money(arguments, file)
    found = explained(event, catalogue)
    units = [(each["meter"], each["quantity"]) for each in found["meters"] if each["aggregate"] != Aggregate.LAST.value] if found["counted"] else []
    if arguments.json:
        print_json({"schema": EXPLAINED_SCHEMA, **found, "money": money.as_json(units)})
    else:
        _show(found, money, units)
    return OK if found["counted"] and not found["unknown"] else DISCREPANCY


def explained(event: UsageEvent, catalogue: Catalogue) -> dict[str, Any]:
    """What the event feeds, and what becomes of each of its quantities."""
    meters = catalogue.of(event.dimensions)
    below = meters.below_zero(event.usage)
    unknown = meters.unknown_in(event.usage)
    refused = None
    if meters.knows_nothing_of(event.usage):
        refused = {"reason": "unknown_usage_field", "detail": meters.why_unknown(unknown[0][0])}
    elif below is not None:
        refused = {"reason": "below_zero", "detail": below_zero_text(below, event.usage)}
    return {
        "customer": event.customer,
        "dimensions": dict(event.dimensions),
        "usage": dict(event.usage),
        "counted": refused is None,
        "refused": refused,
        "meters": _fed(event, catalogue, meters),
        "free": [name for name, quantity in event.usage if meters.judge_field(name, quantity) is FieldVerdict.FREE],
        "unknown": [{"field": name, "quantity": quantity, "why": meters.why_unknown(name)} for name, quantity in unknown],
        "overlaps": _overlaps(event, meters),
    }


def _fed(event: UsageEvent, catalogue: Catalogue, meters: MatchingMeters) -> list[dict[str, Any]]:
    """Each meter that takes the event, also those that it adds nothing to."""
    parts = {catalogue.meters[position].event_name: part for rows in meters.rows for position, part in rows}
    usage = dict(event.usage)
    return [
        {
            "meter": meter.event_name,
            "quantity": meter.formula.units(usage),
            "formula": meter.formula.text,
            "aggregate": meter.aggregate.value,
            "where": where_text(meter.where) if meter.where else None,
            "dimensions": dict(parts[meter.event_name]),
        }
        for meter in meters.meters
    ]


def _overlaps(event: UsageEvent, meters: MatchingMeters) -> list[dict[str, Any]]:
    """Usage fields that more than one meter adds up: billed as often, unless that is meant."""
    sums = [meter for meter in meters.meters if meter.formula.adds]
    adding: Mapping[str, list[str]] = {name: [m.event_name for m in sums if name in set(m.fields) - set(m.less)] for name, _ in event.usage}
    taken_off = Counter(name for meter in meters.meters for name in meter.less)
    return [{"field": name, "meters": names} for name, names in adding.items() if dict(event.usage)[name] and len(names) - taken_off[name] > 1]


def _read(path: str) -> UsageEvent:
    """Raises OSError or EventRejected."""
    if path == "-":
        text = sys.stdin.buffer.read(_EVENT_BYTES_MAX)
    else:
        with Path(path).open("rb") as file:
            text = file.read(_EVENT_BYTES_MAX)
    return parse_event(parse_json(text), arrival_ms=time.time_ns() // 1_000_000)


def _money(arguments: argparse.Namespace, file: Mapping[str, Any]) -> PlanMoney:
    """The account's prices where there is a key; otherwise those of the settings file."""
    if stripe_is_configured(file, os.environ):
        return asyncio.run(plan_money(arguments))
    wanted, problems = parse_wanted(file)
    if wanted is None:
        return PlanMoney(None, "; ".join(problems))
    if not wanted.prices:
        return PlanMoney(None, "there is no Stripe key here to read prices with (STRIPE_API_KEY), and the settings file has none")
    found: dict[str, list[FoundPrice]] = {}
    for price in wanted.prices:
        terms = terms_of(price, product=price.product, meter=price.meter)
        found.setdefault(price.meter, []).append(FoundPrice("", price.key, price.key, active=True, terms=terms))
    return PlanMoney(PriceList({meter: tuple(prices) for meter, prices in found.items()}), whose="the settings file's")


def _show(found: Mapping[str, Any], money: PlanMoney, units: list[tuple[str, int]]) -> None:
    if found["refused"]:
        print(f"not counted: {found['refused']['reason']}: {found['refused']['detail']}")
    for each in found["meters"]:
        by = "".join(f", {name} {value}" for name, value in each["dimensions"].items())
        where = f" where {each['where']}" if each["where"] else ""
        print(f"{each['meter']}: {each['quantity']:,} ({each['formula']}{where}){by}")
    if not found["meters"]:
        print("no meter takes an event of these dimensions")
    for name in found["free"]:
        print(f"free: {name}, {found['usage'][name]:,}")
    for each in found["unknown"]:
        print(f"unknown: {each['field']}, {each['quantity']:,}: {each['why']}")
    for each in found["overlaps"]:
        print(f"added up more than once: {each['field']}, by {', '.join(each['meters'])}")
    if units:
        print(*money.lines(units), sep="\n")
