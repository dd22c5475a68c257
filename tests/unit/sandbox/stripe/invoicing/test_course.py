"""The course of a subscription as a whole: every unit accounted for, whatever is killed, looked at or done again."""

import pytest
from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.selling.subscriptions import Subscription

from tests.support.stripe_account import MemoryJournal
from tests.support.stripe_course import START, late
from tests.support.stripe_shop import after_a_kill, at, current, invoices, seconds, shop, told, use

END = "2027-02-28T10:30:07"


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
