"""Products, prices, subscriptions, payment details and invoices of the simulated account."""

from collections.abc import Callable
from typing import Any, Protocol

from taximeter_sandbox.stripe.checkout.checking_out import CheckingOut, CheckoutPort
from taximeter_sandbox.stripe.invoicing.invoicing_port import InvoicingPort
from taximeter_sandbox.stripe.invoicing.lifecycle import Invoicing
from taximeter_sandbox.stripe.invoicing.schedule import BillingSchedule
from taximeter_sandbox.stripe.invoicing.subscribing import Subscribing
from taximeter_sandbox.stripe.selling.catalogue import Selling
from taximeter_sandbox.stripe.selling.paying import Paying
from taximeter_sandbox.stripe.selling.subscription_table import SubscriptionTable
from taximeter_sandbox.stripe.state.journal import Entry
from taximeter_sandbox.stripe.state.tables import Table


class BillingPort(InvoicingPort, CheckoutPort, Protocol):
    """What the parts of billing ask of the account together."""


class Billing:
    """What is sold, to whom, and the resulting invoices. `account` has the meters, the customers and the usage."""

    def __init__(self, account: BillingPort) -> None:
        self._account = account
        self.selling = Selling(account)
        self.start_over()

    def start_over(self) -> None:
        """Forget everything but products and prices."""
        account, selling = self._account, self.selling
        self._schedule = BillingSchedule()
        self.subscriptions = SubscriptionTable(account, selling)
        self.paying = Paying(account, self.subscriptions)
        self.invoicing = Invoicing(account, selling, self.subscriptions, self.paying, self._schedule)
        self.subscribing = Subscribing(account, selling, self.subscriptions, self.paying, self.invoicing)
        self.checking_out = CheckingOut(account, self.paying, self.subscribing, self._schedule)
        tables: list[Table[Any]] = [
            self.selling.products,
            self.selling.prices,
            self.paying.methods,
            self.paying.intents,
            self.subscriptions,
            self.checking_out.sessions,
            self.invoicing.invoices,
        ]
        self._tables = {table.entry_name: table for table in tables}
        self._restored = False

    def advance(self, now_ms: int, reach: Callable[[int], None]) -> None:
        """Do what is due, in the order and at the times at which it became due: close periods, finalise invoices.

        `reach` brings everything else of the account to a time in ms, before what is done at that time.
        """
        if self._account.replaying:  # what became due then is in the journal itself
            return
        if self._restored:
            self._restored = False
            self._resume()
        while self.invoicing.invoices.has_room and (work := self._schedule.pop_due(now_ms)) is not None:
            reach(work.due_ms)
            match work.kind:
                case "upcoming":
                    self.invoicing.announce(work.identity, work.due_ms)
                case "close":
                    self.invoicing.close(work.identity, work.due_ms)
                case "finalize":
                    self.invoicing.finalize_due(work.identity, work.due_ms)
                case "expire":
                    if self.checking_out.sessions.get(work.identity).status == "open":
                        self.checking_out.expire(work.identity, work.due_ms)

    def ready(self, now_ms: int) -> None:
        """Do what is due. Raises ApiError (500) when there is no room for more invoices: then periods end no more."""
        self._account.advance(now_ms)
        self.invoicing.invoices.make_room(1)

    def apply(self, entry: Entry) -> None:
        """Make a change again that an earlier process noted; entries are named `billing.*`. Raises ValueError for an unknown one."""
        match entry:
            case [name, _, fields] if name in self._tables:
                self._tables[name].restore(fields)
                self._restored = True
            case _:
                raise ValueError(f"journal: unknown entry {str(entry[0])[:40]!r}")

    def _resume(self) -> None:
        self.invoicing.resume()
        self.checking_out.resume()
