"""Products and prices: what Stripe takes, what it refuses, and what it shows."""

from typing import Any

import pytest
from taximeter_sandbox.stripe.http.errors import ApiError
from taximeter_sandbox.stripe.http.forms import nest
from taximeter_sandbox.stripe.http.parameters import Parameters
from taximeter_sandbox.stripe.selling.price_drafts import read_price_draft
from taximeter_sandbox.stripe.selling.prices import price_object, read_change_of_price
from taximeter_sandbox.stripe.selling.products import read_changes, read_draft

from tests.support.stripe_account import NOW_MS, MemoryJournal, add_meter, form, make_account
from tests.support.stripe_shop import PACKAGE, add_price, after_a_kill, price_fields, tiers, told


def refusal(call: Any, *arguments: Any, **keywords: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call(*arguments, **keywords)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"currency": ""}, "currency"),
        ({"currency": "dollars"}, "currency"),
        ({"product_data[name]": ""}, "product"),
        ({"product": "prod_1"}, "product_data"),
        ({"unit_amount": ""}, "unit_amount"),
        ({"unit_amount": "-1"}, "unit_amount"),
        ({"unit_amount": "1.5"}, "unit_amount"),
        ({"unit_amount_decimal": "0.5"}, "unit_amount"),
        ({"unit_amount": "", "unit_amount_decimal": "0.0000000000001"}, "unit_amount_decimal"),
        ({"unit_amount": "", "unit_amount_decimal": "1e3"}, "unit_amount_decimal"),
        ({"transform_quantity[divide_by]": "0", "transform_quantity[round]": "up"}, "transform_quantity[divide_by]"),
        ({"transform_quantity[divide_by]": "10", "transform_quantity[round]": "half"}, "transform_quantity[round]"),
        ({"transform_quantity[divide_by]": "10"}, "transform_quantity[round]"),
        ({"recurring[meter]": ""}, "recurring[meter]"),
        ({"recurring[usage_type]": "licensed"}, "recurring[meter]"),
        ({"recurring[interval]": "hour"}, "recurring[interval]"),
        ({"recurring[interval_count]": "37"}, "recurring[interval_count]"),
        ({"tiers_mode": "volume"}, "billing_scheme"),
        ({**tiers(("inf", "1", "")), "unit_amount": "4"}, "unit_amount"),
        (
            {**tiers(("inf", "1", "")), "unit_amount": "", **{key: value for key, value in PACKAGE.items() if key != "unit_amount"}},
            "transform_quantity",
        ),
        ({"billing_scheme": "tiered", "tiers_mode": "volume", "unit_amount": ""}, "tiers"),
        ({**tiers(("inf", "1", "")), "tiers_mode": "", "unit_amount": ""}, "tiers_mode"),
        ({**tiers(("10", "1", "")), "unit_amount": ""}, "tiers"),
        ({**tiers(("10", "1", ""), ("5", "1", ""), ("inf", "1", "")), "unit_amount": ""}, "tiers"),
        ({**tiers(("inf", "1", ""), ("inf", "1", "")), "unit_amount": ""}, "tiers"),
        ({**tiers(("inf", "", "")), "unit_amount": ""}, "tiers"),
        ({"metadata[" + "k" * 41 + "]": "v"}, "metadata[" + "k" * 40 + "]"),
    ],
)
def test_a_price_that_makes_no_sense_is_refused_by_the_name_of_what_is_wrong(fields: dict[str, str], param: str) -> None:
    given = {name: value for name, value in price_fields("mtr_1", **{"unit_amount": "4", **fields}).items() if value}
    error = refusal(read_price_draft, form(**given))
    assert (error.status, error.param) == (400, param)


def test_lists_of_hashes_may_be_numbered_or_not() -> None:
    pairs = [("tiers[][up_to]", "5"), ("tiers[][unit_amount]", "2"), ("tiers[][up_to]", "inf"), ("tiers[][flat_amount]", "9")]
    numbered = tiers(("5", "2", ""), ("inf", "", "9"))
    usual = price_fields("mtr_1", billing_scheme="tiered", tiers_mode="graduated")
    unnumbered = read_price_draft(Parameters(nest([*usual.items(), *pairs])))
    assert unnumbered.tiers == read_price_draft(form(**price_fields("mtr_1", **{k: v for k, v in numbered.items() if v}))).tiers


def test_a_metered_price_needs_an_active_meter() -> None:
    account = make_account()
    create = account.billing.selling.create_price
    missing = read_price_draft(form(**price_fields("mtr_none", unit_amount="4")))
    assert refusal(create, missing, livemode=False, now_ms=NOW_MS).param == "recurring[meter]"
    meter = add_meter(account)
    account.deactivate_meter(meter.id, NOW_MS)
    inactive = read_price_draft(form(**price_fields(meter.id, unit_amount="4")))
    assert refusal(create, inactive, livemode=False, now_ms=NOW_MS).param == "recurring[meter]"
    assert len(account.billing.selling.products) == 0  # nothing was made on the way to the refusal


def test_a_lookup_key_belongs_to_one_price_until_it_is_transferred() -> None:
    account = make_account()
    first = add_price(account, NOW_MS, unit_amount="4", lookup_key="tokens")
    assert refusal(add_price, account, NOW_MS, unit_amount="5", lookup_key="tokens").param == "lookup_key"
    second = add_price(account, NOW_MS, unit_amount="5", lookup_key="tokens", transfer_lookup_key="true")
    assert account.billing.selling.price(first.id).lookup_key is None
    assert second.lookup_key == "tokens"
    change = account.billing.selling.change_price
    assert refusal(change, first.id, read_change_of_price(form(lookup_key="tokens")), NOW_MS).param == "lookup_key"
    assert change(first.id, read_change_of_price(form(lookup_key="tokens", transfer_lookup_key="true", active="false")), NOW_MS).active is False
    assert account.billing.selling.price(second.id).lookup_key is None
    assert change(first.id, read_change_of_price(form(lookup_key="", nickname="Old")), NOW_MS).lookup_key is None


def test_what_a_price_costs_cannot_change() -> None:
    assert refusal(read_change_of_price, form(unit_amount="5")).code == "parameter_unknown"


def test_amounts_are_shown_whole_where_they_are_whole_and_tiers_only_when_expanded() -> None:
    account = make_account()
    whole, part = add_price(account, NOW_MS, **PACKAGE), add_price(account, NOW_MS, unit_amount_decimal="0.0040")
    tiered = add_price(account, NOW_MS, **{key: value for key, value in tiers(("10", "5", ""), ("inf", "0.25", "3")).items() if value})
    assert [(price_object(price)["unit_amount"], price_object(price)["unit_amount_decimal"]) for price in (whole, part, tiered)] == [
        (4, "4"),
        (None, "0.004"),
        (None, None),
    ]
    assert "tiers" not in price_object(tiered)
    assert price_object(tiered, with_tiers=True)["tiers"] == [
        {"flat_amount": None, "flat_amount_decimal": None, "unit_amount": 5, "unit_amount_decimal": "5", "up_to": 10},
        {"flat_amount": 3, "flat_amount_decimal": "3", "unit_amount": None, "unit_amount_decimal": "0.25", "up_to": None},
    ]


def test_a_product_is_changed_and_kept_while_it_has_prices() -> None:
    account = make_account()
    selling = account.billing.selling
    product = selling.create_product(read_draft(form(id="alpaca", name="Alpaca", **{"metadata[a]": "1"})), livemode=False, now_ms=NOW_MS)
    assert (
        refusal(selling.create_product, read_draft(form(id="alpaca", name="Again")), livemode=False, now_ms=NOW_MS).code == "resource_already_exists"
    )
    changes = form(name="Llama", description="", active="false", **{"metadata[a]": "", "metadata[b]": "2"})
    changed = selling.change_product(product.id, read_changes(changes), NOW_MS + 5000)
    assert (changed.name, changed.active, changed.metadata, changed.updated - changed.created) == ("Llama", False, (("b", "2"),), 5)
    add_price(account, NOW_MS, unit_amount="4", product="alpaca", **{"product_data[name]": ""})
    assert refusal(selling.delete_product, "alpaca", NOW_MS).status == 400
    other = selling.create_product(read_draft(form(name="Other")), livemode=False, now_ms=NOW_MS)
    assert selling.delete_product(other.id, NOW_MS).deleted
    assert refusal(selling.product, other.id).status == 404
    kinds = [kind for kind, _ in told(account, "product.created", "product.updated", "product.deleted", "price.created")]
    assert kinds == ["product.created", "product.updated", "price.created", "product.created", "product.deleted"]


def test_the_catalogue_survives_a_kill() -> None:
    journal = MemoryJournal()
    account = make_account(journal)
    price = add_price(account, NOW_MS, **{key: value for key, value in tiers(("10", "5", ""), ("inf", "0.25", "3")).items() if value}, lookup_key="k")
    again = after_a_kill(journal)
    assert list(again.billing.selling.prices) == [price]
    assert list(again.billing.selling.products) == list(account.billing.selling.products)
