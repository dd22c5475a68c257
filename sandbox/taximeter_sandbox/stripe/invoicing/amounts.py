"""What a quantity costs at a price: exact decimals until one rounding to the smallest currency unit."""

import math
from collections.abc import Iterator
from decimal import ROUND_HALF_EVEN, ROUND_HALF_UP, Decimal
from typing import NamedTuple

from taximeter_sandbox.stripe.metering.quantities import EXACT, Quantity, add
from taximeter_sandbox.stripe.selling.prices import Package, Price, Tier


class AmountRules(NamedTuple):
    """Open questions of Stripe's arithmetic, as the assumptions answer them."""

    half_even: bool = False
    rounds_each_tier: bool = False
    flat_fee_at_zero: bool = True


def line_amount(price: Price, quantity: Quantity, rules: AmountRules) -> int:
    """The amount of one invoice line in the smallest currency unit. A negative quantity costs nothing."""
    used: Quantity = max(quantity, 0)
    if price.tiers:
        parts = list(_graduated(price.tiers, used, rules) if price.tiers_mode == "graduated" else _by_volume(price.tiers, used, rules))
        if rules.rounds_each_tier:
            return sum(_rounded(part, rules) for part in parts)
        total: Quantity = 0
        for part in parts:
            total = add(total, part)
        return _rounded(Decimal(total), rules)
    assert price.unit_amount is not None, "a price without tiers has a unit amount"
    return _rounded(_times(price.unit_amount, used if price.package is None else packages(price.package, used)), rules)


def packages(package: Package, quantity: Quantity) -> int:
    """Whole packages. The divisor is a whole number, so rounding the quantity to a whole number first changes nothing."""
    if package.round == "up":
        return -(-math.ceil(quantity) // package.divide_by)
    return math.floor(quantity) // package.divide_by


def _graduated(tiers: tuple[Tier, ...], quantity: Quantity, rules: AmountRules) -> Iterator[Decimal]:
    """Each tier's units at the tier's amount, and its flat fee once it is reached."""
    below: Quantity = 0
    for tier in tiers:
        if quantity > below or (quantity == 0 and below == 0 and rules.flat_fee_at_zero):
            top = quantity if tier.up_to is None else min(quantity, tier.up_to)
            yield _tier_amount(tier, add(top, -below))
        if tier.up_to is None or quantity <= tier.up_to:
            return
        below = tier.up_to


def _by_volume(tiers: tuple[Tier, ...], quantity: Quantity, rules: AmountRules) -> Iterator[Decimal]:
    """All units at the amount of the tier that the whole quantity falls into, and that tier's flat fee."""
    if quantity > 0 or rules.flat_fee_at_zero:
        yield next(_tier_amount(tier, quantity) for tier in tiers if tier.up_to is None or quantity <= tier.up_to)


def _tier_amount(tier: Tier, units: Quantity) -> Decimal:
    return EXACT.add(_times(tier.unit_amount or "0", units), Decimal(tier.flat_amount or "0"))


def _times(amount: str, units: Quantity) -> Decimal:
    return EXACT.multiply(Decimal(amount), Decimal(units))


def _rounded(amount: Decimal, rules: AmountRules) -> int:
    return int(amount.to_integral_value(rounding=ROUND_HALF_EVEN if rules.half_even else ROUND_HALF_UP))
