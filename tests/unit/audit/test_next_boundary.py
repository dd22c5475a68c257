"""What `taximeter status` says of the next billing boundary, and what it says when Stripe does not."""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from audit import next_boundary
from audit.next_boundary import PAGES_ASKED_MAX, WINDOWS_S, NextBoundary, find_next_boundary
from metering.stripe.settings import stripe_is_configured
from reporter.planning.billing_periods import Span
from reporter.stripe.subscriptions import SubscriptionPage, SubscriptionsUnavailable

NOW = 1_780_000_000
HOUR, DAY = 3_600, 86_400


def subscription(number: int, end: int, *, metered: bool = True) -> dict[str, Any]:
    price = {"recurring": {"usage_type": "metered" if metered else "licensed"}}
    return {
        "id": f"sub_{number}",
        "customer": f"cus_{number}",
        "items": {"data": [{"price": price, "current_period_start": NOW - DAY, "current_period_end": NOW + end}]},
    }


class Account:
    """Subscriptions, in pages of two, with Stripe's filter."""

    def __init__(self, subscriptions: Sequence[Mapping[str, Any]], *, fails: SubscriptionsUnavailable | None = None, silent: bool = False) -> None:
        self.subscriptions = subscriptions
        self.fails = fails
        self.silent = silent
        self.windows: list[Span | None] = []
        self.begun: list[Mapping[str, Any]] = []

    async def page(self, after: str | None = None, *, ends: Span | None = None, starts: Span | None = None) -> SubscriptionPage:
        if self.silent:
            await asyncio.Event().wait()
        if self.fails is not None:
            raise self.fails
        if starts is not None:
            return SubscriptionPage([one for one in self.begun if starts[0] <= one["items"]["data"][0]["current_period_start"] <= starts[1]], None)
        assert ends is not None
        self.windows.append(ends)
        found = [one for one in self.subscriptions if ends[0] <= one["items"]["data"][0]["current_period_end"] <= ends[1]]
        start = next((place + 1 for place, one in enumerate(found) if one["id"] == after), 0)
        rows = found[start : start + 2]
        return SubscriptionPage(rows, rows[-1]["id"] if start + 2 < len(found) else None)

    async def close(self) -> None:
        """Nothing is open."""


async def test_the_soonest_end_and_whose_it_is_are_found_in_the_first_window_that_has_one() -> None:
    account = Account([subscription(1, 3 * DAY), subscription(2, 2 * DAY), subscription(3, 2 * DAY), subscription(4, 60 * DAY)])
    found = await find_next_boundary(account, NOW, HOUR)
    assert found == NextBoundary(NOW + 2 * DAY, 2, True, HOUR)
    assert account.windows == [(NOW + 1, NOW + window) for window in (*WINDOWS_S[:3], WINDOWS_S[2])]


async def test_what_is_not_read_is_said() -> None:
    many = Account([subscription(number, HOUR - number) for number in range(1, 4 * PAGES_ASKED_MAX)])
    found = await find_next_boundary(many, NOW, HOUR)
    assert (found.complete, found.customers, len(many.windows)) == (False, 1, PAGES_ASKED_MAX)
    assert "at the latest in" in found.as_text(NOW)
    assert "at least 1 customer)" in found.as_text(NOW)


async def test_without_a_metered_price_there_is_none() -> None:
    found = await find_next_boundary(Account([subscription(1, HOUR, metered=False)]), NOW, HOUR)
    assert found.as_text(NOW) == "next billing boundary unknown: no subscription has a metered price and a period that ends"
    many = Account([subscription(number, HOUR, metered=False) for number in range(4 * PAGES_ASKED_MAX)])
    assert "more than 10 pages" in (await find_next_boundary(many, NOW, HOUR)).problem


async def test_stripes_silence_and_refusals_are_answers() -> None:
    account = Account([], fails=SubscriptionsUnavailable("PermissionError: no", lasting=True))
    assert (await find_next_boundary(account, NOW, HOUR)).as_text(NOW) == "next billing boundary unknown: PermissionError: no"


async def test_it_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(next_boundary, "SECONDS_MAX", 0.01)
    assert (await find_next_boundary(Account([], silent=True), NOW, HOUR)).problem == "Stripe did not answer within 0.01 s"


@pytest.mark.parametrize(
    ("away", "text"),
    [
        (3 * HOUR + 12 * 60 + 5, "in 3 h 12 min ("),
        (2 * DAY, "in 2 d ("),
        (DAY + 60, "in 1 d ("),
        (125, "in 2 min 5 s ("),
        (0, "in 0 s ("),
        (-5, "in 0 s ("),
    ],
)
def test_times_are_said_in_two_units(away: int, text: str) -> None:
    told = NextBoundary(NOW + away, 14, True, HOUR).as_text(NOW)
    assert text in told
    assert told.endswith("14 customers), invoices are final 1 h later")


def test_json_has_both_times() -> None:
    assert NextBoundary(NOW, 14, True, HOUR).as_json() == {
        "at": "2026-05-28T20:26:40Z",
        "customers": 14,
        "complete": True,
        "invoices_final_at": "2026-05-28T21:26:40Z",
        "problem": "",
        "ended_at": None,
        "ended_customers": 0,
        "ended_final_at": None,
    }
    assert NextBoundary(None, 0, False, HOUR, "why").as_json()["at"] is None


@pytest.mark.parametrize(
    ("file", "environ", "configured"),
    [
        ({}, {}, False),
        ({"stripe": {"api_base": "http://localhost:1"}}, {"TAXIMETER_STRIPE_API_BASE": "x"}, False),
        ({"stripe": {"api_key": "sk"}}, {}, True),
        ({}, {"STRIPE_API_KEY": "sk"}, True),
        ({}, {"TAXIMETER_STRIPE_API_KEY_FILE": "/run/key"}, True),
        ({"stripe": 3}, {"STRIPE_API_KEY": ""}, False),
    ],
)
def test_only_a_key_makes_it_ask(file: dict[str, Any], environ: dict[str, str], configured: bool) -> None:
    assert stripe_is_configured(file, environ) is configured


async def test_a_period_that_has_just_ended_is_named_until_its_invoice_is_final() -> None:
    account = Account([subscription(1, 3 * DAY)])
    ages = {1: 600, 2: 900, 3: HOUR + 1}
    account.begun = [begun(number, NOW - age) for number, age in ages.items()]
    account.begun.append(begun(4, NOW - 60, is_new=True))
    found = await find_next_boundary(account, NOW, HOUR)
    assert (found.at_s, found.ended_s, found.ended_customers) == (NOW + 3 * DAY, NOW - 900, 2)
    assert found.ended_text(NOW).startswith("the period of 2 customers ended 15 min ago (")
    assert found.ended_text(NOW).endswith("the first invoice is final in 45 min")
    assert (await find_next_boundary(account, NOW, 0)).ended_text(NOW) == ""


def begun(number: int, start: int, *, is_new: bool = False) -> dict[str, Any]:
    made = subscription(number, 30 * DAY)
    made["start_date"] = start if is_new else start - 30 * DAY
    made["items"]["data"][0]["current_period_start"] = start
    return made
