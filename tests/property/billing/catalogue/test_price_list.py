"""What units come to: against a price that is worked out for every possible total, by Stripe's simulator's own arithmetic."""

from dataclasses import replace
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_sandbox.stripe.invoicing.amounts import AmountRules, line_amount
from taximeter_sandbox.stripe.selling.prices import Package as SimulatedPackage
from taximeter_sandbox.stripe.selling.prices import Tier as SimulatedTier

from billing.catalogue.account import Terms
from billing.catalogue.price_list import price_range
from billing.catalogue.pricing import Package, Tier
from tests.support.billing_catalogue import FOUND_PRICE
from tests.support.stripe_amounts import price

TERMS = replace(FOUND_PRICE.terms, package=None)
USED_MAX = 60
TIERS = st.lists(st.tuples(st.integers(1, 12), st.integers(0, 9), st.integers(0, 20)), min_size=1, max_size=4)


def _terms(rows: list[tuple[int, int, int]], mode: str) -> Terms:
    ends = [sum(width for width, _, _ in rows[: place + 1]) for place in range(len(rows))]
    tiers = tuple(Tier(None if place == len(rows) - 1 else ends[place], Decimal(unit), Decimal(flat)) for place, (_, unit, flat) in enumerate(rows))
    return replace(TERMS, unit_amount=None, tiers_mode=mode, tiers=tiers)


@settings(max_examples=60, deadline=None)
@given(TIERS, st.sampled_from(["graduated", "volume"]), st.integers(-20, 20))
def test_a_range_of_tiers_is_what_every_earlier_usage_gives(rows: list[tuple[int, int, int]], mode: str, units: int) -> None:
    terms = _terms(rows, mode)
    simulated = price(
        mode="graduated" if mode == "graduated" else "volume",
        rows=tuple(SimulatedTier(tier.up_to, str(tier.unit_amount), str(tier.flat_amount)) for tier in terms.tiers),
    )
    costs = [line_amount(simulated, total, AmountRules()) for total in range(USED_MAX + 21)]
    more = [costs[used + units] - costs[used] for used in range(max(0, -units), USED_MAX)]
    assert price_range(terms, units) == (Decimal(min(more)), Decimal(max(more)))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.sampled_from(["up", "down"]), st.integers(-20, 20))
def test_a_range_of_packages_is_what_every_earlier_usage_gives(size: int, way: str, units: int) -> None:
    simulated = price("4", SimulatedPackage(size, "up" if way == "up" else "down"))
    costs = [line_amount(simulated, total, AmountRules()) for total in range(USED_MAX + 21)]
    more = [costs[used + units] - costs[used] for used in range(max(0, -units), USED_MAX)]
    assert price_range(replace(TERMS, package=Package(size, way)), units) == (Decimal(min(more)), Decimal(max(more)))
