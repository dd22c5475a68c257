"""Products, prices, subscriptions, payment details and invoices of the simulated account."""

from typing import TYPE_CHECKING

from simulators.stripe.journal import Entry

if TYPE_CHECKING:
    from simulators.stripe.account import Account


class Billing:
    """What is sold, to whom, and the invoices that come of it. `account` has the meters, the customers and the usage."""

    def __init__(self, account: "Account") -> None:
        self._account = account

    def advance(self, now_ms: int) -> None:
        """Do what is due: close periods, finalise invoices."""

    def apply(self, entry: Entry) -> None:
        """Make a change again that an earlier process noted; entries are named `billing.*`. Raises ValueError for an unknown one."""
        raise ValueError(f"journal: unknown entry {str(entry[0])[:40]!r}")
