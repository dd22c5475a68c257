"""The course of a subscription as a whole: every unit accounted for, whatever is killed, looked at or done again."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulators.stripe.account import Account
from simulators.stripe.invoicing.billing_settings import BillingSettings
from simulators.stripe.invoicing.invoices import Invoice
from simulators.stripe.selling.subscriptions import Subscription
from tests.unit.simulators_stripe.building import MemoryJournal
from tests.unit.simulators_stripe.shop import after_a_kill, at, current, invoices, seconds, shop, told, use

START = "2027-01-31T10:30:07"
END = "2027-02-28T10:30:07"


def late(account: Account, invoice: Invoice) -> tuple[str, int]:
    found = account.billing.invoicing.usage.late(invoice.lines[0], invoice)
    return str(found.quantity), found.events


ENDS = [f"2027-{end}T10:30:07" for end in ("02-28", "03-31", "04-30", "05-31")]
MINUTES = 100 * 24 * 60


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, MINUTES), st.integers(-4, 34 * 24 * 60), st.integers(0, 10**6)), max_size=40),
    st.lists(st.integers(0, MINUTES), max_size=6),
    st.integers(1, 72),
)
def test_every_unit_is_billed_in_its_period_or_late_for_it(usage: list[tuple[int, int, int]], looks: list[int], grace_hours: int) -> None:
    account, subscription = shop(START, unit_amount="1")
    account.billing_settings = BillingSettings(finalization_grace_hours=grace_hours)
    start = seconds(START)
    steps: list[tuple[int, int | None, int]] = [(minute, None, 0) for minute in looks]
    steps += [(minute, minute - age, value) for minute, age, value in usage]
    for minute, stamp, value in sorted(steps, key=lambda step: step[0]):
        if stamp is None:
            account.advance((start + minute * 60) * 1000)
        else:
            use(account, (start + minute * 60) * 1000, str(value), start + stamp * 60)
    account.advance(at("2027-06-15"))
    periods = list(zip([start, *(seconds(end) for end in ENDS)], [seconds(end) for end in ENDS], strict=False))
    for invoice, (opens, closes) in zip(invoices(account), periods, strict=True):
        own = [(start + minute * 60, value) for minute, age, value in usage if opens <= start + (minute - age) * 60 < closes]
        final = closes + grace_hours * 3600
        in_time = sum(value for received, value in own if received < final)
        assert (invoice.lines[0].quantity, invoice.total, invoice.finalized_at) == (str(in_time), in_time, final)
        missed = [value for received, value in own if received >= final]
        assert late(account, invoice) == (str(sum(missed)), len(missed))
    assert current(account, subscription).period_start == seconds(ENDS[-1])


def snapshot(account: Account, subscription: Subscription) -> object:
    return invoices(account), current(account, subscription), [kind for kind, _ in told(account)]


@pytest.mark.parametrize("killed_at", ["2027-02-15", "2027-02-25", END, "2027-02-28T10:45:00", "2027-02-28T12:00:00", "2027-04-01"])
def test_a_kill_at_any_time_changes_no_bill(killed_at: str) -> None:
    journal = MemoryJournal()
    killed, subscription = shop(START, journal)
    whole, _ = shop(START)
    for account in (killed, whole):
        use(account, at("2027-02-10"), "1500")
        account.advance(at(killed_at))
    survivor = after_a_kill(journal)
    assert invoices(survivor) == invoices(killed)
    later = max(at(killed_at), at(END) + 600_000)
    for account in (survivor, whole):
        use(account, later, "600", seconds(END) - 1)
        account.advance(at("2027-05-15"))
    bills = [[(i.number, i.total, i.finalized_at, i.lines[0].quantity, late(account, i)) for i in invoices(account)] for account in (survivor, whole)]
    assert bills[0] == bills[1]
    assert current(survivor, subscription).period_end == seconds("2027-05-31T10:30:07")
    kinds = ("invoice.upcoming", "invoice.created", "invoice.finalized", "invoice.paid")
    assert told(survivor, *kinds) == told(whole, *kinds)


def test_the_same_calls_make_the_same_bills_and_ids() -> None:
    seen = []
    for _ in range(2):
        account, subscription = shop(START)
        use(account, at("2027-02-10"), "1500")
        account.advance(at("2027-05-15"))
        seen.append(snapshot(account, subscription))
    assert seen[0] == seen[1]
