"""What the parts that sell ask of the account."""

from typing import Protocol

from taximeter_sandbox.stripe.metering.meters import MeterCatalogue
from taximeter_sandbox.stripe.selling.customers import CustomerDirectory
from taximeter_sandbox.stripe.state.account_port import AccountPort
from taximeter_sandbox.stripe.state.assumptions import Assumptions
from taximeter_sandbox.stripe.webhooks.notifications import Notifications


class SellingPort(AccountPort, Protocol):
    """Meters and customers, and who is notified of a change. `reset` replaces them, so no part keeps them."""

    @property
    def assumptions(self) -> Assumptions:
        """How the open questions are answered."""

    @property
    def meters(self) -> MeterCatalogue:
        """What usage is measured by."""

    @property
    def customers(self) -> CustomerDirectory:
        """Who can buy."""

    @property
    def notifications(self) -> Notifications:
        """Takes what happened."""
