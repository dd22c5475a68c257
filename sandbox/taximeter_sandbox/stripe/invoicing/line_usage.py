"""Which usage an invoice line is about, counted in three ways: as summaries see it, as it is billed, and what came too late.

Usage belongs to a period by its timestamp and is billed if it was received before the invoice was finalised. A lag of
processing delays what is seen, not what is billed. Usage that comes later is on no invoice, ever.
"""

from collections.abc import Iterable
from typing import NamedTuple

from taximeter_sandbox.stripe.http.routes import Lane
from taximeter_sandbox.stripe.invoicing.invoices import Invoice, InvoiceLine
from taximeter_sandbox.stripe.invoicing.invoicing_port import InvoicingPort
from taximeter_sandbox.stripe.metering.meter_events import MeterEvent
from taximeter_sandbox.stripe.metering.meters import Meter
from taximeter_sandbox.stripe.metering.quantities import Quantity
from taximeter_sandbox.stripe.metering.summaries import aggregate
from taximeter_sandbox.stripe.selling.catalogue import Selling


class UsageRange(NamedTuple):
    """Timestamps in [start, end), Unix seconds."""

    start: int
    end: int


class LateUsage(NamedTuple):
    """What came after an invoice was finalised for the period that it billed."""

    quantity: Quantity
    events: int


def usage_range(start: int, end: int, *, opens: bool, inclusive: bool) -> UsageRange:
    """The timestamps of a period. With `inclusive` its end is inside and its start, unless the subscription opens there, is not."""
    if not inclusive:
        return UsageRange(start, end)
    return UsageRange(start if opens else start + 1, end + 1)


class LineUsage:
    """Counts the usage of the lines of one account's invoices."""

    def __init__(self, account: InvoicingPort, selling: Selling) -> None:
        self._account = account
        self._selling = selling

    def lane_of(self, line: InvoiceLine, customer: str) -> tuple[Meter, Lane]:
        """The meter of a line's price, and where the customer's events for it are."""
        recurring = self._selling.price(line.price).recurring
        assert recurring is not None, "only metered prices are invoiced"
        assert recurring.meter is not None, "only metered prices are invoiced"
        meter = self._account.meters.get(recurring.meter)
        return meter, (meter.event_name, customer)

    def shown(self, line: InvoiceLine, customer: str) -> Quantity:
        """The usage of a line that processing has reached."""
        meter, lane = self.lane_of(line, customer)
        return self._value(meter, self._account.books.within(lane, line.usage_start, line.usage_end, processed=True))

    def billed(self, line: InvoiceLine, customer: str) -> Quantity:
        """The usage of a line that was received until this moment."""
        meter, lane = self.lane_of(line, customer)
        return self._value(meter, self._account.books.within(lane, line.usage_start, line.usage_end, processed=False))

    def late(self, line: InvoiceLine, invoice: Invoice) -> LateUsage:
        """The usage of a line that was received after its invoice was finalised."""
        if invoice.status == "draft":
            return LateUsage(0, 0)
        meter, lane = self.lane_of(line, invoice.customer)
        events = self._account.books.within(lane, line.usage_start, line.usage_end, processed=False, first_sequence=invoice.events_seen)
        return LateUsage(self._value(meter, events), len(events))

    def _value(self, meter: Meter, events: Iterable[MeterEvent]) -> Quantity:
        return aggregate(meter.formula, events, self._account.assumptions)
