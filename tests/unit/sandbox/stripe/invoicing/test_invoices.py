"""From a period's end to a paid invoice: which usage is on it, when things happen, and what is lost."""

import dataclasses
from typing import Any, Literal

import pytest
from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.http.errors import ApiError
from taximeter_sandbox.stripe.invoicing.billing_settings import BillingSettings
from taximeter_sandbox.stripe.invoicing.invoices import Invoice
from taximeter_sandbox.stripe.metering.processing import Processing
from taximeter_sandbox.stripe.selling.customers import read_changes
from taximeter_sandbox.stripe.state.assumptions import Assumptions

from tests.support.stripe_account import add_customer, add_meter, form, make_account
from tests.support.stripe_shop import (
    PACKAGE,
    add_price,
    at,
    current,
    invoices,
    seconds,
    shop,
    subscribe,
    told,
    use,
)

START = "2027-01-31T10:30:07"
END = "2027-02-28T10:30:07"


def facts(invoice: Invoice) -> tuple[str, str, int]:
    return invoice.status, invoice.lines[0].quantity, invoice.total


def refusal(call: Any, *arguments: Any, **keywords: Any) -> ApiError:
    with pytest.raises(ApiError) as caught:
        call(*arguments, **keywords)
    return caught.value


def late(account: Account, invoice: Invoice) -> tuple[str, int]:
    found = account.billing.invoicing.usage.late(invoice.lines[0], invoice)
    return str(found.quantity), found.events


def test_a_period_is_billed_once_its_grace_is_over_with_what_came_until_then() -> None:
    account, subscription = shop(START)
    use(account, at("2027-02-01"), "1500")
    use(account, at(END) - 1000, "400", seconds(END) - 1)
    assert invoices(account) == []
    account.advance(at(END))
    [draft] = invoices(account)
    assert facts(draft) == ("draft", "1900", 8)
    assert (draft.period_start, draft.period_end, draft.finalizes_at) == (seconds(START), seconds(END), seconds(END) + 3600)
    use(account, at(END) + 1000, "101", seconds(END) - 1)  # late, but inside the grace
    use(account, at(END) + 2000, "50000", seconds(END))  # of the next period
    use(account, at(END) + 3_599_000, "7", seconds(START))
    account.advance(at(END) + 3_600_000)
    [billed] = invoices(account)
    assert facts(billed) == ("paid", "2008", 12)
    assert (billed.finalized_at, billed.paid_at) == (seconds(END) + 3600, seconds(END) + 3600)
    use(account, at(END) + 3_600_001, "1000", seconds(END) - 1)
    assert late(account, billed) == ("1000", 1)
    account.advance(at("2027-03-31T10:30:07") + 3_600_000)
    assert [facts(invoice) for invoice in invoices(account)] == [("paid", "2008", 12), ("paid", "50000", 200)]
    assert current(account, subscription).period_end == seconds("2027-04-30T10:30:07")


def test_a_clock_that_jumps_over_many_periods_bills_each_at_its_own_time() -> None:
    account, subscription = shop(START)
    for month, day, value in ((2, 20, "1"), (3, 20, "1001"), (4, 20, "2001")):
        use(account, at(f"2027-0{month}-{day}"), value)
    account.advance(at("2027-07-15"))
    ends = [f"2027-{end}T10:30:07" for end in ("02-28", "03-31", "04-30", "05-31", "06-30")]
    assert [(invoice.total, invoice.finalized_at) for invoice in invoices(account)] == [
        (cents, seconds(end) + 3600) for cents, end in zip((4, 8, 12, 0, 0), ends, strict=True)
    ]
    assert [invoice.number for invoice in invoices(account)] == [f"{(invoices(account)[0].number or '')[:8]}-{n:04d}" for n in range(1, 6)]
    assert current(account, subscription).period_start == seconds(ends[-1])
    kinds = ("invoice.upcoming", "invoice.created", "customer.subscription.updated", "invoice.finalized", "invoice.paid")
    expected = []
    for end in ends:
        due = seconds(end)
        expected += list(zip(kinds, (due - 7 * 86_400, due, due, due + 3600, due + 3600), strict=True))
    assert told(account, *kinds) == [*expected, ("invoice.upcoming", seconds("2027-07-31T10:30:07") - 7 * 86_400)][: len(expected)]


def test_jumping_and_walking_come_to_the_same_bills() -> None:
    bills = []
    for step_ms in (3_600_000 // 4, 90 * 86_400_000):
        account, _ = shop(START)
        for hour in range(0, 24 * 30, 7):
            use(account, at(START) + hour * 3_600_000, str(hour + 1))
        now = at(START) + 24 * 30 * 3_600_000
        while now < at("2027-04-15"):
            now = min(now + step_ms, at("2027-04-15"))
            account.advance(now)
        bills.append([(i.total, i.number, i.finalized_at, i.paid_at, i.lines[0].quantity) for i in invoices(account)])
    assert bills[0] == bills[1]
    assert len(bills[0]) == 2


@pytest.mark.parametrize(
    ("reading", "quantities"),
    [("exclusive", ["3", "12"]), ("inclusive", ["7", "8"])],
)
def test_usage_exactly_at_a_periods_end_is_on_one_invoice_whichever_way(reading: Any, quantities: list[str]) -> None:
    account = make_account(assumptions=Assumptions(period_end=reading))
    add_customer(account)
    subscribe(account, at(START), add_price(account, at(START), unit_amount="1"))
    use(account, at(START), "1")
    use(account, at(END) - 1000, "2")
    use(account, at(END), "4")
    use(account, at(END) + 1000, "8")
    account.advance(at("2027-04-15"))
    assert [invoice.lines[0].quantity for invoice in invoices(account)] == quantities


def test_usage_that_processing_has_not_reached_is_unseen_in_a_draft_and_billed_all_the_same() -> None:
    account = make_account(processing=Processing(120_000, 120_000))
    add_customer(account)
    subscription = subscribe(account, at(START), add_price(account, at(START), **PACKAGE))
    use(account, at(END) - 60_000, "1500")
    preview = account.billing.invoicing.preview(current(account, subscription), at(END) - 30_000)
    assert (preview.lines[0].quantity, preview.total) == ("0", 0)
    account.advance(at(END))
    assert facts(invoices(account)[0]) == ("draft", "0", 0)
    account.advance(at(END) + 60_000)
    assert facts(account.billing.invoicing.current(invoices(account)[0])) == ("draft", "1500", 8)
    use(account, at(END) + 3_599_999, "501", seconds(END) - 1)
    account.advance(at(END) + 3_600_000)
    assert facts(invoices(account)[0]) == ("paid", "2001", 12)


def test_the_grace_is_a_setting_and_shorter_than_the_period() -> None:
    account, _ = shop(START)
    account.billing_settings = BillingSettings(finalization_grace_hours=72, upcoming_days=3)
    account.advance(at(END))
    assert invoices(account)[0].finalizes_at == seconds(END) + 72 * 3600
    add_customer(account, "cus_2")
    daily = add_price(account, at("2027-03-02"), unit_amount="1", **{"recurring[interval]": "day"})
    subscribe(account, at("2027-03-02"), daily, customer="cus_2")
    account.advance(at("2027-03-03"))
    assert invoices(account)[-1].finalizes_at == seconds("2027-03-03T01:00:00")
    for wrong in ({"finalization_grace_hours": 0}, {"finalization_grace_hours": 73}, {"upcoming_days": 0}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            BillingSettings(**wrong)


def test_cancelled_and_dropped_usage_is_not_billed() -> None:
    account, _ = shop(START)
    use(account, at("2027-02-01"), "1000")
    use(account, at("2027-02-01"), "5", customer="cus_unknown")
    event = account.events[0]
    account.cancel("tokens", event.identifier, at("2027-02-01") + 1000)
    use(account, at("2027-02-02"), "300")
    account.advance(at(END) + 3_600_000)
    assert facts(invoices(account)[0]) == ("paid", "300", 4)


def test_count_and_last_meters_and_windows_bill_by_their_own_rule() -> None:
    account = make_account()
    add_customer(account)
    add_meter(account, "calls", **{"default_aggregation[formula]": "count"})
    add_meter(account, "seats", **{"default_aggregation[formula]": "last"})
    add_meter(account, "hourly", event_time_window="hour")
    prices = [add_price(account, at(START), name, unit_amount="1") for name in ("calls", "seats", "hourly")]
    subscribe(account, at(START), *prices)
    noon = seconds("2027-02-10T12:00:00")
    for name in ("calls", "seats", "hourly"):
        for value, timestamp in (("70", noon + 60), ("30", noon + 30), ("5", noon + 4000)):
            use(account, at("2027-02-11"), value, timestamp, event_name=name)
    account.advance(at(END) + 3_600_000)
    assert [line.quantity for line in invoices(account)[0].lines] == ["3", "5", "35"]
    assert invoices(account)[0].total == 43


@pytest.mark.parametrize(("reading", "quantity"), [("timestamp", "5"), ("receipt", "30")])
def test_a_last_meter_bills_by_timestamp_or_by_receipt(reading: Literal["timestamp", "receipt"], quantity: str) -> None:
    account = make_account(assumptions=Assumptions(last_goes_by=reading))
    add_customer(account)
    add_meter(account, "seats", **{"default_aggregation[formula]": "last"})
    subscribe(account, at(START), add_price(account, at(START), "seats", unit_amount="1"))
    noon = seconds("2027-02-10T12:00:00")
    for value, timestamp in (("70", noon), ("5", noon + 60), ("30", noon + 30)):
        use(account, at("2027-02-11"), value, timestamp, event_name="seats")
    account.advance(at(END) + 3_600_000)
    assert [line.quantity for line in invoices(account)[0].lines] == [quantity]


def test_each_line_is_rounded_once() -> None:
    account = make_account()
    add_customer(account)
    add_meter(account, "input")
    add_meter(account, "output")
    prices = [add_price(account, at(START), name, unit_amount_decimal="0.4") for name in ("input", "output")]
    subscribe(account, at(START), *prices)
    for name in ("input", "output"):
        for _ in range(3):
            use(account, at("2027-02-02"), "1", event_name=name)
    account.advance(at(END) + 3_600_000)
    assert [line.amount for line in invoices(account)[0].lines] == [1, 1]  # 1.2 each, not 2.4 and not six times 0.4


@pytest.mark.parametrize("card", [None, "pm_card_chargeCustomerFail"])
def test_an_invoice_that_cannot_be_charged_stays_open_until_it_is_paid(card: str | None) -> None:
    account, subscription = shop(START, card=card)
    use(account, at("2027-02-01"), "1500")
    account.advance(at(END) + 3_600_000)
    [invoice] = invoices(account)
    assert (facts(invoice), invoice.attempt_count) == (("open", "1500", 8), 1)
    assert current(account, subscription).status == "past_due"
    pay = account.billing.invoicing.pay
    later = at(END) + 4_000_000
    assert refusal(pay, invoice.id, None, later, out_of_band=False).status == (400 if card is None else 402)
    assert refusal(pay, invoice.id, "pm_card_chargeDeclined", later, out_of_band=False).code == "card_declined"
    paid = pay(invoice.id, "pm_card_visa", later, out_of_band=False)
    assert (paid.status, paid.paid_at) == ("paid", later // 1000)
    assert current(account, subscription).status == "active"
    assert refusal(pay, invoice.id, None, later, out_of_band=False).status == 400
    kinds = [kind for kind, _ in told(account, "invoice.finalized", "invoice.payment_failed", "invoice.paid", "customer.subscription.updated")]
    assert kinds[:4] == ["customer.subscription.updated", "invoice.finalized", "invoice.payment_failed", "customer.subscription.updated"]
    assert kinds[-2:] == ["invoice.paid", "customer.subscription.updated"]


def test_nothing_to_pay_is_paid_without_a_card() -> None:
    account, subscription = shop(START, card=None)
    account.advance(at(END) + 3_600_000)
    assert facts(invoices(account)[0]) == ("paid", "0", 0)
    assert current(account, subscription).status == "active"


def test_an_invoice_that_is_sent_waits_for_its_due_date() -> None:
    account = make_account()
    add_customer(account)
    price = add_price(account, at(START), **PACKAGE)
    subscription = subscribe(account, at(START), price, card=None, collection_method="send_invoice", days_until_due=30)
    assert subscription.pending_setup_intent is None
    use(account, at("2027-02-01"), "1")
    account.advance(at(END) + 3_600_000)
    [invoice] = invoices(account)
    assert (facts(invoice), invoice.due_date) == (("open", "1", 4), seconds(END) + 3600 + 30 * 86_400)
    assert account.billing.invoicing.pay(invoice.id, None, at(END) + 4_000_000, out_of_band=True).status == "paid"


def test_a_subscription_that_ends_with_its_period_gets_a_last_invoice() -> None:
    account, subscription = shop(START)
    account.billing.subscriptions.put(dataclasses.replace(subscription, cancel_at_period_end=True, canceled_at=seconds(START)), at(START))
    use(account, at("2027-02-01"), "1500")
    account.advance(at("2027-06-01"))
    assert [facts(invoice) for invoice in invoices(account)] == [("paid", "1500", 8)]
    ended = current(account, subscription)
    assert (ended.status, ended.ended_at, ended.latest_invoice) == ("canceled", seconds(END), invoices(account)[0].id)


@pytest.mark.parametrize(
    ("invoice_now", "reading", "bills"),
    [(False, "lost", []), (True, "lost", [("paid", "1500", 8)]), (False, "invoiced", [("paid", "1500", 8)])],
)
def test_cancelling_at_once_bills_what_was_used_only_if_asked_or_assumed(
    *, invoice_now: bool, reading: Any, bills: list[tuple[str, str, int]]
) -> None:
    account, subscription = shop(START)
    account.assume(Assumptions(cancelled_usage=reading))
    use(account, at("2027-02-10"), "1500")
    account.billing.subscribing.cancel(subscription.id, at("2027-02-10"), invoice_now=invoice_now)
    account.advance(at("2027-06-01"))
    assert [facts(invoice) for invoice in invoices(account)] == bills
    assert refusal(account.billing.subscribing.cancel, subscription.id, at("2027-06-01"), invoice_now=False).status == 404


def test_a_deleted_customers_subscriptions_end_unbilled() -> None:
    account, subscription = shop(START)
    use(account, at("2027-02-01"), "1500")
    account.delete_customer("cus_1", at("2027-02-02"))
    account.advance(at("2027-06-01"))
    assert invoices(account) == []
    assert current(account, subscription).status == "canceled"
    assert [kind for kind, _ in told(account)][-2:] == ["customer.subscription.deleted", "customer.deleted"]


@pytest.mark.parametrize(
    ("reading", "bills"),
    [("first_period", [("subscription_cycle", "1500")]), ("first_invoice", [("subscription_create", "1400"), ("subscription_cycle", "100")])],
)
def test_usage_before_the_subscription_comes_in_by_backdating(reading: Any, bills: list[tuple[str, str]]) -> None:
    account = make_account(assumptions=Assumptions(backdated_usage=reading))
    add_customer(account)
    price = add_price(account, at("2027-01-20"), **PACKAGE)
    use(account, at("2027-01-20"), "9000")
    use(account, at("2027-01-25"), "1400")
    subscribe(account, at(START), price, backdate_start_date=seconds("2027-01-25"))
    use(account, at("2027-02-01"), "100")
    account.advance(at(END) + 3_600_000)
    assert [(invoice.billing_reason, invoice.lines[0].quantity) for invoice in invoices(account)] == bills


def test_a_cycle_can_be_anchored_within_the_first_period() -> None:
    account = make_account()
    add_customer(account)
    price = add_price(account, at(START), **PACKAGE)
    subscribe(account, at(START), price, anchor=seconds("2027-02-15"))
    account.advance(at("2027-05-01"))
    assert [invoice.period_end for invoice in invoices(account)] == [seconds(f"2027-0{month}-15") for month in (2, 3, 4)]
    now = at("2027-05-01")
    assert refusal(subscribe, account, now, price, anchor=now // 1000).param == "billing_cycle_anchor"
    assert refusal(subscribe, account, now, price, anchor=seconds("2027-06-02")).param == "billing_cycle_anchor"
    assert refusal(subscribe, account, now, price, backdate_start_date=seconds("2027-05-02")).param == "backdate_start_date"


def test_classic_billing_starts_with_an_empty_invoice() -> None:
    account = make_account()
    add_customer(account)
    subscription = subscribe(account, at(START), add_price(account, at(START), **PACKAGE), billing_mode="classic")
    [invoice] = invoices(account)
    assert (facts(invoice), invoice.billing_reason, subscription.latest_invoice) == (("paid", "0", 0), "subscription_create", invoice.id)


def test_a_draft_can_be_finalised_before_its_time() -> None:
    account, _ = shop(START)
    use(account, at("2027-02-01"), "1500")
    account.advance(at(END))
    [draft] = invoices(account)
    billed = account.billing.invoicing.finalize(draft.id, at(END) + 60_000)
    assert facts(billed) == ("paid", "1500", 8)
    assert refusal(account.billing.invoicing.finalize, draft.id, at(END) + 60_000).status == 400
    use(account, at(END) + 120_000, "1500", seconds(END) - 1)
    account.advance(at(END) + 7_200_000)
    assert facts(invoices(account)[0]) == ("paid", "1500", 8)
    assert late(account, billed) == ("1500", 1)


def test_a_reset_that_keeps_the_catalogue_keeps_prices_and_forgets_subscriptions() -> None:
    account, _ = shop(START)
    account.advance(at(END))
    account.reset(keep_catalogue=True)
    account.advance(at("2027-06-01"))
    assert invoices(account) == []
    assert len(account.billing.selling.prices) == 1
    assert len(account.billing.subscriptions) == 0


def test_a_customers_default_card_pays_where_the_subscription_has_none() -> None:
    account, subscription = shop(START, card=None)
    method = account.billing.paying.attach("pm_card_visa", "cus_1", at(START), livemode=False)
    account.change_customer("cus_1", read_changes(form(**{"invoice_settings[default_payment_method]": method.id})), at(START))
    use(account, at("2027-02-10"), "1500")
    account.advance(at(END) + 3_600_000)
    assert facts(invoices(account)[0]) == ("paid", "1500", 8)
    assert subscription.pending_setup_intent is not None
