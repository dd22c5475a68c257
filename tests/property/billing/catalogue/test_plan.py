"""Plans that are interrupted anywhere, against a model of Stripe's account."""

from collections.abc import Callable
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from billing.catalogue.account import Account
from billing.catalogue.plan import plan
from billing.catalogue.pricing import Package, Price, Product, Wanted
from metering.records.meters import Meter
from tests.support.billing_account_model import after


def prices(key: str) -> st.SearchStrategy[Price]:
    return st.builds(
        Price,
        key=st.just(key),
        product=st.sampled_from(["ai", "other"]),
        meter=st.sampled_from(["tokens", "images"]),
        currency=st.sampled_from(["usd", "jpy"]),
        interval=st.sampled_from(["month", "day"]),
        unit_amount=st.sampled_from([Decimal(4), Decimal("0.004")]),
        package=st.sampled_from([None, Package(1000, "up")]),
    )


def wanteds() -> st.SearchStrategy[Wanted]:
    def names(make: Callable[[str], Any]) -> st.SearchStrategy[Any]:
        return st.sampled_from([make("First"), make("Second")])

    return st.builds(
        Wanted,
        st.tuples(
            names(lambda name: Meter("tokens", ("t",), display_name=name)),
            names(lambda name: Meter("images", ("i",), display_name=name)),
        ),
        st.tuples(names(lambda name: Product("ai", name)), names(lambda name: Product("other", name))),
        st.tuples(prices("one"), prices("two")),
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(wanteds(), st.integers(0, 12)), min_size=1, max_size=5), wanteds())
def test_after_any_interrupted_runs_one_whole_run_ends_with_all_that_is_wanted(before: list[tuple[Wanted, int]], wanted: Wanted) -> None:
    account = Account()
    for earlier, interrupted_after in before:
        account = after(account, plan(earlier, account).actions[:interrupted_after])
    account = after(account, plan(wanted, account).actions)
    assert plan(wanted, account).is_empty
    assert len(account.meters) <= 2
    assert len(account.products) <= 2
    # Nobody can subscribe to a price that the file does not have.
    assert {price.key for price in account.prices if price.active} == {"one", "two"}
    assert sum(price.active for price in account.prices) == 2
