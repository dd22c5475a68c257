"""Subscriptions, payment details and checkout: what is taken, what is refused, and how full is full."""

from collections.abc import Callable
from typing import Any

import pytest
from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.checkout.checking_out import landing_url
from taximeter_sandbox.stripe.checkout.sessions import read_session_draft, session_object
from taximeter_sandbox.stripe.http.errors import ApiError
from taximeter_sandbox.stripe.http.parameters import Parameters
from taximeter_sandbox.stripe.invoicing import periods
from taximeter_sandbox.stripe.selling.customers import read_changes
from taximeter_sandbox.stripe.selling.prices import Price
from taximeter_sandbox.stripe.selling.subscription_drafts import read_subscription_change, read_subscription_draft, read_subscription_filter
from taximeter_sandbox.stripe.selling.subscriptions import Subscription
from taximeter_sandbox.stripe.state.assumptions import Assumptions

from tests.support.stripe_account import MemoryJournal, add_customer, add_meter, form, make_account
from tests.support.stripe_shop import (
    PACKAGE,
    add_price,
    after_a_kill,
    at,
    current,
    invoices,
    seconds,
    shop,
    subscribe,
    tiers,
    told,
    use,
)

START = "2027-02-01"


def refusal(call: Callable[..., object], *arguments: Any, **keywords: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call(*arguments, **keywords)
    return caught.value


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"customer": ""}, "customer"),
        ({"items[0][price]": ""}, "items"),
        ({"items[0][quantity]": "1"}, "items[0][quantity]"),
        ({"items[0][colour]": "red"}, "items[0][colour]"),
        ({f"items[{number}][price]": f"price_{number}" for number in range(21)}, "items"),
        ({"collection_method": "send_invoice"}, "days_until_due"),
        ({"days_until_due": "3"}, "days_until_due"),
        ({"collection_method": "send_invoice", "days_until_due": "-1"}, "days_until_due"),
        ({"payment_behavior": "hope"}, "payment_behavior"),
        ({"billing_mode[type]": "modern"}, "billing_mode[type]"),
        ({"cancel_at_period_end": "yes"}, "cancel_at_period_end"),
        ({"payment_settings[save_default_payment_method]": "always"}, "payment_settings[save_default_payment_method]"),
    ],
)
def test_parameters_of_a_subscription_that_make_no_sense_are_refused_by_name(fields: dict[str, str], param: str) -> None:
    usual = {"customer": "cus_1", "items[0][price]": "price_1"}
    given = {name: value for name, value in {**usual, **fields}.items() if value}
    assert refusal(read_subscription_draft, form(**given)).param == param


def licensed(account: Account) -> Price:
    return add_price(account, at(START), unit_amount="1", **{"recurring[usage_type]": "", "recurring[meter]": ""})


def once(account: Account) -> Price:
    fields = ("recurring[usage_type]", "recurring[meter]", "recurring[interval]")
    return add_price(account, at(START), unit_amount="1", **dict.fromkeys(fields, ""))


def inactive(account: Account) -> Price:
    return add_price(account, at(START), unit_amount="1", active="false")


@pytest.mark.parametrize("wrong", [licensed, once, inactive])
def test_only_active_metered_prices_are_subscribed_to(wrong: Callable[[Account], Price]) -> None:
    account = make_account()
    add_customer(account)
    assert refusal(subscribe, account, at(START), wrong(account)).param == "items[0][price]"


def test_prices_of_one_subscription_agree_on_currency_and_interval_and_differ_otherwise() -> None:
    account = make_account()
    add_customer(account)
    usd = add_price(account, at(START), unit_amount="1")
    eur = add_price(account, at(START), unit_amount="1", currency="eur")
    yearly = add_price(account, at(START), unit_amount="1", **{"recurring[interval]": "year"})
    for other in (eur, yearly, usd):
        assert refusal(subscribe, account, at(START), usd, other).param == "items[1][price]"
    assert refusal(subscribe, account, at(START), usd, customer="cus_none", card=None).param == "customer"
    assert len(account.billing.subscriptions) == 0


def test_a_setup_intent_is_declined_then_succeeds_and_the_subscription_keeps_the_card() -> None:
    account = make_account()
    add_customer(account)
    price = add_price(account, at(START), **PACKAGE)
    subscription = subscribe(account, at(START), price, card=None, saves_payment_method=True)
    paying = account.billing.paying
    intent = subscription.pending_setup_intent or ""
    assert paying.intents.get(intent).client_secret.startswith(f"{intent}_secret_")
    assert refusal(paying.confirm, intent, None, at(START)).param == "payment_method"
    assert refusal(paying.confirm, intent, "pm_card_chargeDeclined", at(START)).status == 402
    assert paying.intents.get(intent).declined
    assert refusal(paying.confirm, intent, "pm_card_unheard_of", at(START)).code == "resource_missing"
    done = paying.confirm(intent, "pm_card_visa", at(START))
    assert (done.status, done.declined) == ("succeeded", False)
    after = current(account, subscription)
    assert (after.pending_setup_intent, after.default_payment_method) == (None, done.payment_method)
    assert refusal(paying.confirm, intent, "pm_card_visa", at(START)).code == "setup_intent_unexpected_state"
    kinds = ("setup_intent.created", "setup_intent.setup_failed", "setup_intent.succeeded", "customer.subscription.updated")
    assert [kind for kind, _ in told(account, *kinds)] == list(kinds)


def test_a_card_belongs_to_one_customer() -> None:
    account = make_account()
    add_customer(account)
    add_customer(account, "cus_2")
    method = account.billing.paying.attach("pm_card_visa", "cus_1", at(START), livemode=False)
    assert refusal(account.billing.paying.attach, method.id, "cus_2", at(START), livemode=False).param == "payment_method"
    change = read_changes(form(**{"invoice_settings[default_payment_method]": method.id}))
    assert refusal(account.change_customer, "cus_2", change, at(START)).status == 400
    assert account.change_customer("cus_1", change, at(START)).default_payment_method == method.id


def test_a_customer_is_changed_field_by_field() -> None:
    account = make_account()
    add_customer(account)
    account.change_customer("cus_1", read_changes(form(name="A", email="a@example.com", **{"metadata[k]": "v"})), at(START))
    changed = account.change_customer("cus_1", read_changes(form(name="", phone="1")), at(START))
    assert (changed.name, changed.email, changed.phone, changed.metadata) == (None, "a@example.com", "1", (("k", "v"),))
    assert account.change_customer("cus_1", read_changes(form(metadata="")), at(START)).metadata == ()
    assert refusal(read_changes, form(email="nobody")).code == "email_invalid"
    account.delete_customer("cus_1", at(START))
    assert refusal(account.change_customer, "cus_1", read_changes(form(name="B")), at(START)).status == 404


def test_a_cancellation_at_the_periods_end_can_be_taken_back() -> None:
    account, subscription = shop(START)
    change = account.billing.subscribing.change
    leaving = change(subscription.id, read_subscription_change(form(cancel_at_period_end="true", description="d")), at("2027-02-10"))
    assert (leaving.cancel_at_period_end, leaving.canceled_at) == (True, seconds("2027-02-10"))
    staying = change(subscription.id, read_subscription_change(form(cancel_at_period_end="false", description="")), at("2027-02-11"))
    assert (staying.cancel_at_period_end, staying.canceled_at, staying.description) == (False, None, None)
    account.advance(at("2027-03-02"))
    assert current(account, subscription).runs
    account.billing.subscribing.cancel(subscription.id, at("2027-03-02"), invoice_now=False)
    assert refusal(change, subscription.id, read_subscription_change(form(description="d")), at("2027-03-02")).status == 400


def test_an_update_that_changes_nothing_tells_nobody() -> None:
    account, subscription = shop(START)
    before = len(told(account))
    account.billing.subscribing.change(subscription.id, read_subscription_change(form(cancel_at_period_end="false")), at(START))
    assert len(told(account)) == before


def found(account: Account, **fields: str) -> list[str]:
    return [item.id for item in account.billing.subscriptions.listed(read_subscription_filter(form(**fields)))]


def test_a_list_leaves_out_what_has_ended_unless_it_is_asked_for() -> None:
    account, first = shop(START)
    second = subscribe(account, at("2027-02-02"), account.billing.selling.price(first.items[0].price))
    account.billing.subscribing.cancel(first.id, at("2027-02-03"), invoice_now=False)
    assert found(account) == [second.id]
    assert found(account, status="canceled") == found(account, status="ended") == [first.id]
    assert found(account, status="all") == [second.id, first.id]
    assert found(account, status="all", customer="cus_2") == []
    assert found(account, price="price_other") == []


SESSION = {"mode": "subscription", "line_items[0][price]": "price_1", "success_url": "https://example.com"}


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"mode": "payment"}, "mode"),
        ({"success_url": ""}, "success_url"),
        ({"success_url": "javascript:alert(1)"}, "success_url"),
        ({"cancel_url": "example.com"}, "cancel_url"),
        ({"cancel_url": "http://["}, "cancel_url"),
        ({"cancel_url": "https://example.com/\r\nSet-Cookie: a=b"}, "cancel_url"),
        ({"ui_mode": "embedded_page"}, "return_url"),
        ({"ui_mode": "hosted"}, "ui_mode"),
        ({"line_items[0][quantity]": "1"}, "line_items[0][quantity]"),
        ({"customer": "cus_1", "customer_email": "a@example.com"}, "customer_email"),
    ],
)
def test_parameters_of_a_session_that_make_no_sense_are_refused_by_name(fields: dict[str, str], param: str) -> None:
    given = {name: value for name, value in {**SESSION, **fields}.items() if value}
    assert refusal(read_session_draft, form(**given)).param == param


def test_an_embedded_session_has_a_secret_in_place_of_an_address() -> None:
    account = make_account()
    price = add_price(account, at(START), **PACKAGE)
    fields = {**SESSION, "line_items[0][price]": price.id, "ui_mode": "embedded_page", "return_url": "https://example.com/{CHECKOUT_SESSION_ID}"}
    del fields["success_url"]
    session = account.billing.checking_out.create(read_session_draft(form(**fields)), "http://127.0.0.1:1", at(START), livemode=False)
    shown = session_object(session)
    assert (shown["url"], str(shown["client_secret"]).partition("_secret_")[0]) == (None, session.id)
    done = account.billing.checking_out.complete(session.id, at(START))
    assert landing_url(done) == f"https://example.com/{session.id}"
    assert session_object(done)["client_secret"] is None
    late = form(**{**fields, "expires_at": str(seconds(START) + 60)})
    error = refusal(account.billing.checking_out.create, read_session_draft(late), "http://127.0.0.1:1", at(START), livemode=False)
    assert error.status == 400


@pytest.mark.parametrize("killed", [False, True])
def test_an_open_session_expires_also_after_a_kill(*, killed: bool) -> None:
    journal = MemoryJournal()
    account = make_account(journal)
    price = add_price(account, at(START), **PACKAGE)
    draft = read_session_draft(form(**{**SESSION, "line_items[0][price]": price.id}))
    session = account.billing.checking_out.create(draft, "http://127.0.0.1:1", at(START), livemode=False)
    account = after_a_kill(journal) if killed else account
    account.advance(at("2027-02-01T23:59:59"))
    assert account.billing.checking_out.sessions.get(session.id).status == "open"
    account.advance(at("2027-02-02"))
    assert account.billing.checking_out.sessions.get(session.id).status == "expired"
    assert told(account, "checkout.session.expired") == [("checkout.session.expired", seconds("2027-02-02"))]


@pytest.mark.parametrize(
    ("assumptions", "value", "cents"),
    [
        (Assumptions(), "1", 1),  # half a cent
        (Assumptions(amount_rounding="half_even"), "1", 0),
        (Assumptions(), "2", 1),  # two halves
        (Assumptions(tier_rounding="tier"), "2", 2),
    ],
)
def test_assumptions_about_rounding_reach_the_invoice(assumptions: Assumptions, value: str, cents: int) -> None:
    rows = tiers(("1", "0.5", ""), ("inf", "0.5", ""))
    account, _ = shop(START, **{name: text for name, text in rows.items() if text})
    account.assume(assumptions)
    use(account, at("2027-02-02"), value)
    account.advance(at("2027-03-02"))
    assert invoices(account)[0].total == cents


@pytest.mark.parametrize(("reading", "cents"), [("charged", 700), ("free", 0)])
def test_a_flat_fee_without_usage_is_as_assumed(reading: Any, cents: int) -> None:
    account, _ = shop(START, **{name: value for name, value in tiers(("10", "", "700"), ("inf", "1", "")).items() if value})
    account.assume(Assumptions(flat_fee_at_zero=reading))
    account.advance(at("2027-03-02"))
    assert invoices(account)[0].total == cents


def test_with_no_room_for_invoices_periods_end_no_more_and_calls_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("taximeter_sandbox.stripe.invoicing.lifecycle.INVOICES_MAX", 2)
    account, subscription = shop(START)
    account.advance(at("2027-06-01"))
    assert len(invoices(account)) == 2
    assert current(account, subscription).period_end == seconds("2027-05-01")
    assert refusal(account.billing.ready, at("2027-06-01")).outcome == "simulator_full"
    use(account, at("2027-06-01"), "5")  # metering goes on
    assert len(account.events) == 1


def test_a_usage_meter_that_is_deactivated_is_billed_for_what_it_took() -> None:
    account, _ = shop(START)
    use(account, at("2027-02-02"), "1500")
    meter = account.meters.by_event_name("tokens")
    assert meter is not None
    account.deactivate_meter(meter.id, at("2027-02-03"))
    account.advance(at("2027-03-02"))
    assert invoices(account)[0].total == 8


def test_subscriptions_are_read_back_as_they_were() -> None:
    journal = MemoryJournal()
    account, subscription = shop(START, journal)
    add_meter(account, "other")
    again = after_a_kill(journal)
    assert list(again.billing.subscriptions) == [subscription]
    assert list(again.billing.paying.methods) == list(account.billing.paying.methods)
    assert isinstance(next(iter(again.billing.subscriptions)), Subscription)
    assert periods.next_boundary(subscription.anchor, "month", 1, subscription.period_start) == subscription.period_end


def test_leftover_parameters_are_refused() -> None:
    parameters: Parameters = form(customer="cus_1", colour="red", **{"items[0][price]": "price_1"})
    read_subscription_draft(parameters)
    assert refusal(parameters.finish).code == "parameter_unknown"
