"""What invoicing asks of the account."""

from typing import Protocol

from simulators.stripe.billing_settings import BillingSettings
from simulators.stripe.books import Books
from simulators.stripe.meter_events import EventStore
from simulators.stripe.selling_port import SellingPort


class InvoicingPort(SellingPort, Protocol):
    """The usage that is invoiced, and when."""

    @property
    def billing_settings(self) -> BillingSettings:
        """How long drafts wait."""

    @property
    def books(self) -> Books:
        """Usage by meter and customer."""

    @property
    def events(self) -> EventStore:
        """Meter events by number."""
