"""What has to be done at Stripe: the comparison of the settings file with the account."""

from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from billing.catalogue.account import Account
from billing.catalogue.plan import (
    ArchivePrice,
    ChangeProduct,
    CreateMeter,
    CreatePrice,
    CreateProduct,
    Plan,
    ReactivateMeter,
    ReactivatePrice,
    RenameMeter,
    plan,
)
from billing.catalogue.plan_text import plan_json, plan_lines
from billing.catalogue.pricing import Package, Tier
from tests.support.billing_catalogue import COMPLETE, FOUND_METER, FOUND_PRICE, FOUND_PRODUCT, METER, PRICE, PRODUCT, WANTED, with_meter, with_price


def test_an_empty_account_gets_meters_then_products_then_prices() -> None:
    assert plan(WANTED, Account()).actions == (CreateMeter(METER), CreateProduct(PRODUCT), CreatePrice(PRICE))


def test_an_account_that_has_all_needs_nothing() -> None:
    assert plan(WANTED, COMPLETE) == Plan(unchanged=3)
    assert plan(WANTED, COMPLETE).is_empty


def test_what_other_programs_made_is_not_looked_at() -> None:
    other = replace(FOUND_METER, id="mtr_other", event_name="other")
    assert plan(WANTED, replace(COMPLETE, meters=(other, FOUND_METER))).is_empty


def test_a_display_name_is_changed_and_one_that_the_file_does_not_give_is_left_alone() -> None:
    assert plan(WANTED, with_meter(display_name="Old")).actions == (RenameMeter("mtr_0", "tokens", "Old", "Tokens"),)
    silent = replace(WANTED, meters=(replace(METER, display_name="tokens"),))
    assert plan(silent, with_meter(display_name="A nice name")).is_empty


def test_an_inactive_meter_is_reactivated() -> None:
    assert plan(WANTED, with_meter(active=False)).actions == (ReactivateMeter("mtr_0", "tokens"),)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"formula": "count"}, "formula is 'count', the settings file needs 'sum'"),
        ({"customer_key": "cus"}, "customer_mapping[event_payload_key] is 'cus'"),
        ({"value_key": "tokens"}, "value_settings[event_payload_key] is 'tokens'"),
        ({"event_time_window": "hour"}, "Stripe keeps only the last one it receives, so most usage would be lost"),
    ],
)
def test_what_a_meter_keeps_for_ever_is_an_obstacle_with_a_way_out(changes: dict[str, Any], said: str) -> None:
    (obstacle,) = plan(WANTED, with_meter(**changes)).obstacles
    assert said in obstacle.difference
    assert "another event_name" in obstacle.way_out


def test_a_renamed_or_archived_product_is_changed() -> None:
    named = replace(COMPLETE, products=(replace(FOUND_PRODUCT, name="Old", active=False),))
    assert plan(WANTED, named).actions == (ChangeProduct("prod_0", "ai", "Old", "AI usage", was_active=False),)


def test_two_products_with_one_key_are_an_obstacle() -> None:
    twice = replace(COMPLETE, products=(FOUND_PRODUCT, replace(FOUND_PRODUCT, id="prod_1")))
    (obstacle,) = plan(WANTED, twice).obstacles
    assert "prod_0, prod_1" in obstacle.difference


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"unit_amount": Decimal(5)}, "0.04 usd per 1,000, rounded up -> 0.05 usd per 1,000, rounded up"),
        ({"package": None}, "0.04 usd per 1,000, rounded up -> 0.04 usd per unit"),
        ({"package": Package(1000, "down")}, "0.04 usd per 1,000, rounded up -> 0.04 usd per 1,000, rounded down"),
        ({"currency": "eur"}, "currency: 'usd' -> 'eur'"),
        ({"interval": "day"}, "interval: 'month' -> 'day'"),
        ({"interval_count": 3}, "interval_count: 1 -> 3"),
        (
            {"unit_amount": None, "package": None, "tiers_mode": "graduated", "tiers": (Tier(None, Decimal("0.004"), Decimal(100)),)},
            "graduated tiers: 0.00004 + 1.00 up to any",
        ),
    ],
)
def test_a_changed_price_is_replaced_by_one_that_takes_its_key_and_then_archived(changes: dict[str, Any], said: str) -> None:
    wanted = with_price(**changes)
    changed = plan(wanted, COMPLETE)
    create, archive = changed.actions
    assert isinstance(create, CreatePrice)
    assert (create.price, create.replaces) == (wanted.prices[0], "price_0")
    assert said in "; ".join(create.differences)
    assert archive == ArchivePrice("price_0", "monthly")
    assert "subscriptions that are running keep the old price (price_0)" in changed.notes[0]


def test_the_same_amount_written_otherwise_is_no_change() -> None:
    assert plan(with_price(unit_amount=Decimal("4.000")), COMPLETE).is_empty


def test_an_archived_price_is_used_again_when_it_is_the_same() -> None:
    archived = replace(COMPLETE, prices=(replace(FOUND_PRICE, active=False),))
    assert plan(WANTED, archived).actions == (ReactivatePrice("price_0", "monthly"),)


def test_an_archived_price_that_differs_is_replaced_and_not_archived_again() -> None:
    archived = replace(COMPLETE, prices=(replace(FOUND_PRICE, active=False),))
    assert [type(action) for action in plan(with_price(currency="eur"), archived).actions] == [CreatePrice]


def test_a_price_of_another_meter_or_product_is_replaced() -> None:
    elsewhere = replace(FOUND_PRICE, terms=replace(FOUND_PRICE.terms, meter="mtr_9"))
    create = plan(WANTED, replace(COMPLETE, prices=(elsewhere,))).actions[0]
    assert isinstance(create, CreatePrice)
    assert create.differences == ("meter: 'mtr_9' -> 'mtr_0'",)


def test_what_an_interrupted_run_left_is_archived() -> None:
    replaced = replace(FOUND_PRICE, id="price_old", key="")
    assert plan(WANTED, replace(COMPLETE, prices=(replaced, FOUND_PRICE))).actions == (ArchivePrice("price_old", "monthly"),)


def test_what_is_no_longer_in_the_file_is_named_and_left_alone() -> None:
    left = plan(replace(WANTED, products=(), prices=()), COMPLETE)
    assert left.is_empty
    assert [note.partition(";")[0] for note in left.notes] == [
        "product ai (prod_0) is not in the settings file",
        "price monthly (price_0) is not in the settings file",
    ]


def test_a_plan_is_told_in_lines_with_what_is_in_the_way_first() -> None:
    lines = plan_lines(plan(with_price(currency="eur"), with_meter(formula="last")))
    assert [line.sign for line in lines] == ["!", "+", "-"]
    assert str(lines[0]).startswith("! meter tokens: formula is 'last'")
    assert str(plan_lines(plan(WANTED, Account()))[2]) == "+ price monthly: create for tokens: 0.04 usd per 1,000, rounded up, each month"


def test_a_plan_is_told_as_json() -> None:
    document = plan_json(plan(WANTED, with_meter(formula="count", active=False)))
    assert document["actions"] == []
    assert document["obstacles"][0]["subject"] == "meter tokens"
    assert [each["action"] for each in plan_json(plan(WANTED, Account()))["actions"]] == ["create_meter", "create_product", "create_price"]
