"""The truth about invoices, under `/_oracle`.

GET  /_oracle/invoices     every invoice with exact quantities and amounts; a draft as if it were finalised at this moment;
                           ?customer= and ?subscription= narrow it
GET  /_oracle/late_usage   what came after an invoice was finalised for the period that it billed: on no invoice, ever; narrowed alike

Quantities are strings of exact decimal digits, amounts integers of the currency's smallest unit.
"""

from collections.abc import Iterator

from aiohttp import web

from taximeter_sandbox.stripe.control.json_handlers import json_response
from taximeter_sandbox.stripe.invoicing.invoices import Invoice, InvoiceLine
from taximeter_sandbox.stripe.metering.quantities import exact_text, quantity
from taximeter_sandbox.stripe.simulator import Simulator


class BillingOracle:
    """The handlers."""

    def __init__(self, simulator: Simulator) -> None:
        self._simulator = simulator

    def routes(self) -> list[web.RouteDef]:
        """Both of them."""
        return [web.get("/_oracle/invoices", self._invoices), web.get("/_oracle/late_usage", self._late_usage)]

    async def _invoices(self, request: web.Request) -> web.Response:
        return json_response({"now_ms": self._arrive(), "invoices": [self._shown(invoice) for invoice in self._chosen(request)]})

    async def _late_usage(self, request: web.Request) -> web.Response:
        now_ms = self._arrive()
        rows = [
            {"invoice": invoice.id, "customer": invoice.customer, "subscription": invoice.subscription, **row}
            for invoice in self._chosen(request)
            if invoice.status != "draft"
            for row in (self._line(line, invoice) for line in invoice.lines)
            if row["late_events"]
        ]
        return json_response({"now_ms": now_ms, "rows": rows})

    def _arrive(self) -> int:
        now_ms = self._simulator.clock.now_ms()
        self._simulator.account.advance(now_ms)
        self._simulator.journal.flush()
        return now_ms

    def _chosen(self, request: web.Request) -> Iterator[Invoice]:
        customer, subscription = request.query.get("customer"), request.query.get("subscription")
        for invoice in self._simulator.account.billing.invoicing.invoices:
            if customer in (None, invoice.customer) and subscription in (None, invoice.subscription):
                yield invoice

    def _shown(self, invoice: Invoice) -> dict[str, object]:
        exact = self._simulator.account.billing.invoicing.exact(invoice)
        return {
            "id": exact.id,
            "number": exact.number,
            "customer": exact.customer,
            "subscription": exact.subscription,
            "status": exact.status,
            "billing_reason": exact.billing_reason,
            "currency": exact.currency,
            "total": exact.total,
            "period_start": exact.period_start,
            "period_end": exact.period_end,
            "finalized_at": exact.finalized_at,
            "lines": [self._line(line, exact) for line in exact.lines],
        }

    def _line(self, line: InvoiceLine, invoice: Invoice) -> dict[str, object]:
        usage = self._simulator.account.billing.invoicing.usage
        late = usage.late(line, invoice)
        meter, _ = usage.lane_of(line, invoice.customer)
        return {
            "item": line.item,
            "price": line.price,
            "meter": meter.id,
            "event_name": meter.event_name,
            "quantity": exact_text(quantity(line.quantity)),
            "amount": line.amount,
            "period_start": line.period_start,
            "period_end": line.period_end,
            "late_quantity": exact_text(late.quantity),
            "late_events": late.events,
        }
