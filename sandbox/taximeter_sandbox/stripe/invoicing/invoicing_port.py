"""What invoicing asks of the account."""

from typing import Protocol

from taximeter_sandbox.stripe.invoicing.billing_settings import BillingSettings
from taximeter_sandbox.stripe.metering.books import Books
from taximeter_sandbox.stripe.metering.meter_events import EventStore
from taximeter_sandbox.stripe.selling.selling_port import SellingPort


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
