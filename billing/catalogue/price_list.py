"""What units of a meter come to in money, at the account's prices. Pure: `billing.catalogue.account_reading.read_price_list` reads them.

    prices = await read_price_list(client)
    for amount in prices.amounts([("alpaca_ai_tokens", 1_200), ("alpaca_ai_tokens", -40)]):
        print(amount.text)  # 0.00 to 0.08 USD

The question is always how much more, or less, an invoice comes to. Where a price has packages or tiers, that depends on what the customer used
before in its period, which is not asked: an amount is then a range, of which both ends are exact. With a plain price they are equal.

For every command that shows the money of a plan; `taximeter.account_prices` has the list where a Stripe key is configured.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact
from typing import Any, Final, NamedTuple

from billing.catalogue.account import FoundPrice, Terms
from billing.money import main_units

_EXACT: Final = Context(prec=80, traps=[Inexact])
_NOTHING: Final = Decimal(0)


class AmountRange(NamedTuple):
    """At least `low` and at most `high`, in smallest units of the currency; negative amounts are given back."""

    currency: str
    low: Decimal
    high: Decimal

    @property
    def text(self) -> str:
        """In the currency's main unit: `0.04 USD`, or `0.00 to 0.04 USD`."""
        low, high = main_units(self.low, self.currency), main_units(self.high, self.currency)
        return f"{low} {self.currency.upper()}" if low == high else f"{low} to {high} {self.currency.upper()}"

    def as_json(self) -> dict[str, Any]:
        """For `--json`; amounts as strings, in the main unit."""
        return {"currency": self.currency, "low": main_units(self.low, self.currency), "high": main_units(self.high, self.currency)}


@dataclass(frozen=True, slots=True)
class PriceList:
    """The active prices by the event name of their meter. A meter may have several, of which a customer pays one: the range covers them all.

    Subscriptions at archived prices are not looked at: they pay what they were sold.
    """

    prices: Mapping[str, tuple[FoundPrice, ...]]

    def amounts(self, units: Iterable[tuple[str, int]]) -> tuple[AmountRange, ...]:
        """What these units cost more (or less, where they are negative), by currency.

        Each entry is a meter and the units of one customer in one billing period: packages and tiers are of a period. Meters without a price
        add nothing; `unpriced` names them. Where a meter has prices in two currencies, both are given: a customer pays one of them.
        """
        lows: Counter[tuple[str, int]] = Counter(units)
        ends: dict[str, tuple[Decimal, Decimal]] = {}
        for (meter, quantity), times in lows.items():
            for currency, low, high in self._of(meter, quantity):
                sum_low, sum_high = ends.get(currency, (_NOTHING, _NOTHING))
                ends[currency] = _EXACT.add(sum_low, _times(low, times)), _EXACT.add(sum_high, _times(high, times))
        return tuple(AmountRange(currency, *ends[currency]) for currency in sorted(ends))

    def totals(self, units: Iterable[tuple[str, int]]) -> tuple[AmountRange, ...]:
        """What a whole billing period of one customer costs, by currency: each entry is a meter and all units of the period. Exact where a meter has
        one price; from the least to the most where it has several.
        """
        ends: dict[str, tuple[Decimal, Decimal]] = {}
        for meter, quantity in units:
            costs: dict[str, list[Decimal]] = {}
            for price in self.prices.get(meter, ()):
                costs.setdefault(price.terms.currency, []).append(period_cost(price.terms, quantity))
            for currency, found in costs.items():
                low, high = ends.get(currency, (_NOTHING, _NOTHING))
                ends[currency] = _EXACT.add(low, min(found)), _EXACT.add(high, max(found))
        return tuple(AmountRange(currency, *ends[currency]) for currency in sorted(ends))

    def unpriced(self, meters: Iterable[str]) -> tuple[str, ...]:
        """Those of the meters that no active price bills, sorted."""
        return tuple(sorted(meter for meter in set(meters) if not self.prices.get(meter)))

    def _of(self, meter: str, units: int) -> list[AmountRange]:
        ranges: dict[str, tuple[Decimal, Decimal]] = {}
        for price in self.prices.get(meter, ()):
            low, high = price_range(price.terms, units)
            known = ranges.get(price.terms.currency, (low, high))
            ranges[price.terms.currency] = min(known[0], low), max(known[1], high)
        return [AmountRange(currency, low, high) for currency, (low, high) in ranges.items()]


def price_range(terms: Terms, units: int) -> tuple[Decimal, Decimal]:
    """The least and the most that `units` more cost at a price, in smallest units, over all that may have been used before in the period.

    Negative units were used before, and are taken out.
    """
    if units < 0:
        low, high = price_range(terms, -units)
        return -high, -low
    if terms.tiers:
        # The cost is a straight line between the tiers' ends, so it differs most where one of the two totals is at such an end.
        ends = [tier.up_to for tier in terms.tiers if tier.up_to is not None]
        totals = {0, *ends, *(end + 1 for end in ends), *(end - units for end in ends), *(end - units + 1 for end in ends)}
        more = [_EXACT.subtract(_tiered(terms, used + units), _tiered(terms, used)) for used in totals if used >= 0]
        return min(more), max(more)
    amount = terms.unit_amount or _NOTHING
    if terms.package is None:
        return _times(amount, units), _times(amount, units)
    return _times(amount, units // terms.package.units), _times(amount, -(-units // terms.package.units))


def period_cost(terms: Terms, total: int) -> Decimal:
    """What all units of a billing period cost at a price, in smallest units of the currency. Below zero nothing is due."""
    total = max(0, total)
    if terms.tiers:
        return _tiered(terms, total) if total else _NOTHING
    if terms.package is None:
        return _times(terms.unit_amount or _NOTHING, total)
    begun = -(-total // terms.package.units) if terms.package.round == "up" else total // terms.package.units
    return _times(terms.unit_amount or _NOTHING, begun)


def _tiered(terms: Terms, total: int) -> Decimal:
    """What a total of a period costs: each unit at the amount of its tier, or all at the amount of the tier that the total is in."""
    if terms.tiers_mode == "volume":
        tier = next(tier for tier in terms.tiers if tier.up_to is None or total <= tier.up_to)
        return _EXACT.add(_times(tier.unit_amount, total), tier.flat_amount)
    cost, below = _NOTHING, 0
    for tier in terms.tiers:
        if total > below or below == 0:
            top = total if tier.up_to is None else min(total, tier.up_to)
            cost = _EXACT.add(cost, _EXACT.add(_times(tier.unit_amount, top - below), tier.flat_amount))
        if tier.up_to is None or total <= tier.up_to:
            break
        below = tier.up_to
    return cost


def _times(amount: Decimal, count: int) -> Decimal:
    return _EXACT.multiply(amount, Decimal(count))
