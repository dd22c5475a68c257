"""Products, prices, subscriptions, payment details and invoices of the simulated account."""

from typing import TYPE_CHECKING, Any

from simulators.stripe.journal import Entry
from simulators.stripe.selling import Selling
from simulators.stripe.tables import Table

if TYPE_CHECKING:
    from simulators.stripe.account import Account


class Billing:
    """What is sold, to whom, and the invoices that come of it. `account` has the meters, the customers and the usage."""

    def __init__(self, account: "Account") -> None:
        self._account = account
        self.selling = Selling(account)
        tables: list[Table[Any]] = [self.selling.products, self.selling.prices]
        self._tables = {table.entry_name: table for table in tables}

    def advance(self, now_ms: int) -> None:
        """Do what is due: close periods, finalise invoices."""

    def apply(self, entry: Entry) -> None:
        """Make a change again that an earlier process noted; entries are named `billing.*`. Raises ValueError for an unknown one."""
        match entry:
            case [name, _, fields] if name in self._tables:
                self._tables[name].restore(fields)
            case _:
                raise ValueError(f"journal: unknown entry {str(entry[0])[:40]!r}")
