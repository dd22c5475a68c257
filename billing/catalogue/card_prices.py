"""`[rate_cards.prices]`: the amounts of a page of prices, which make a product for each model and a price for each kind of usage.

    [rate_cards.prices]
    currency = "usd"
    interval = "month"
    per = 1_000_000                      # optional: the units that an amount is for; each is billed, none is rounded

    [rate_cards.prices.amounts]          # in the currency's main unit, as texts; every kind of every model
    alpaca-7b = {input = "0.20", cached_input = "0.05", output = "0.60"}
    alpaca-70b = {input = "0.90", cached_input = "0.25", output = "2.70"}

The key of a price is the event name of its meter and the interval: `alpaca-7b_input_month`. A card without this table makes meters only.
"""

from collections.abc import Mapping, Sequence
from decimal import Context, Decimal, DecimalException, Inexact
from typing import Any, Final, NamedTuple

from metering.formulas.rate_cards import CardMeter

_KEYS: Final = frozenset({"currency", "interval", "per", "amounts"})
_PER_MAX: Final = 10**9
_EXACT: Final = Context(prec=40, traps=[Inexact])


class SoldByCard(NamedTuple):
    """What `[[products]]` and `[[prices]]` tables would say, each with its place in the file, and what is wrong."""

    products: Sequence[tuple[str, Mapping[str, Any]]]
    prices: Sequence[tuple[str, Mapping[str, Any]]]
    problems: Sequence[str]


def read_card_prices(document: Mapping[str, Any], meters: Sequence[CardMeter]) -> SoldByCard:
    """All that the rate cards sell. `meters` are those of the cards that have no problems."""
    products: dict[str, tuple[str, Mapping[str, Any]]] = {}
    prices: list[tuple[str, Mapping[str, Any]]] = []
    problems: list[str] = []
    for number in sorted({each.card for each in meters}):
        table, place = document["rate_cards"][number].get("prices"), f"rate_cards[{number + 1}].prices"
        mine = [each for each in meters if each.card == number]
        if table is None:
            continue
        found = _table_problems(table, place, mine)
        problems += found
        for each in [] if found else mine:
            here = f"{place}.amounts.{each.model}.{each.kind}"
            amount, wrong = _amount_of_one(table["amounts"][each.model][each.kind], table.get("per", 1))
            problems += [f"{here}: {wrong}"] if wrong else []
            products[each.model] = here, {"key": each.model, "name": each.model}
            prices += [] if wrong else [(here, _entry(table, each, amount))]
    return SoldByCard(list(products.values()), prices, problems)


def _table_problems(table: object, place: str, meters: Sequence[CardMeter]) -> list[str]:
    if not isinstance(table, dict):
        return [f"{place}: must be a table, is {table!r}"]
    problems = [f"{place}: unknown key {key!r}; known are {', '.join(sorted(_KEYS))}" for key in sorted(table.keys() - _KEYS)]
    per = table.get("per", 1)
    if not isinstance(per, int) or isinstance(per, bool) or not 1 <= per <= _PER_MAX:
        problems.append(f"{place}.per: must be a whole number from 1 to {_PER_MAX}, is {per!r}")
    amounts = table.get("amounts")
    if not isinstance(amounts, dict) or not all(isinstance(row, dict) for row in amounts.values()):
        return [*problems, f'{place}.amounts: must have a table for each model, such as alpaca-7b = {{input = "0.20"}}, is {amounts!r}']
    wanted = {(each.model, each.kind) for each in meters}
    given = {(model, kind) for model, row in amounts.items() for kind in row}
    problems += [f'{place}.amounts.{model}: has no {kind}; write {kind} = "0" if it is free' for model, kind in sorted(wanted - given)]
    return problems + [f"{place}.amounts.{model}.{kind}: the card has no such model and kind" for model, kind in sorted(given - wanted)]


def _amount_of_one(amount: object, per: int) -> tuple[str, str]:
    """What one unit costs, as a `[[prices]]` table says it; or what is wrong."""
    if not isinstance(amount, str) or not amount.isascii() or not amount.replace(".", "", 1).isdigit():
        return "", f'must be a text of digits with at most one point, such as "0.20", is {amount!r}'
    try:
        return f"{_EXACT.divide(Decimal(amount), Decimal(per)).normalize():f}", ""
    except DecimalException:
        return "", f"{amount} for {per:,} is no exact amount of one unit"


def _entry(table: Mapping[str, Any], meter: CardMeter, amount: str) -> Mapping[str, Any]:
    name = str(meter.entry["event_name"])
    terms = {key: table[key] for key in ("currency", "interval") if key in table}
    return {"key": f"{name}_{table.get('interval')}", "product": meter.model, "meter": name, "amount": amount, **terms}
