"""Invoices before they are made: what the current period comes to so far."""

from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Final

import stripe

from billing.calls import NotPossible, all_rows, calling
from billing.reply_fields import field_of, text_of
from billing.selling.prices import PriceAtStripe, show_price
from billing.selling.subscribing import id_of
from metering.stripe.client import PAGE_ROWS

if TYPE_CHECKING:
    from stripe.params import InvoiceLineItemListParams

LINES_MAX: Final = 1_000


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """A line: what was used in `[period_start, period_end)` (Unix seconds), at which price, and the amount in the currency's smallest unit."""

    description: str
    price: PriceAtStripe | None
    quantity: int | Decimal | None
    amount: int
    period_start: int
    period_end: int


@dataclass(frozen=True, slots=True)
class InvoicePreview:
    """The next invoice of a subscription, as it would be at present. Amounts in the currency's smallest unit, times in Unix seconds.

    `finalizes_at` is None where Stripe does not say: by default it is an hour after the end of the period, and usage that arrives until then
    still counts; later usage of the period is never billed (https://docs.stripe.com/billing/subscriptions/usage-based/configure-grace-period).
    """

    subscription: str
    customer: str | None
    currency: str
    lines: tuple[InvoiceLine, ...]
    subtotal: int
    total: int
    amount_due: int
    finalizes_at: int | None

    @property
    def period_end(self) -> int | None:
        """When the last of its lines ends."""
        return max((line.period_end for line in self.lines), default=None)


async def preview_invoice(client: stripe.StripeClient, subscription: str) -> InvoicePreview:
    """What the subscription's next invoice comes to so far; its usage lags as summaries do.

    Raises NotPossible when there is no such subscription, or no next invoice because it has ended.
    """
    try:
        # Nothing is made by it, so a repetition needs no key.
        invoice = await calling(lambda: client.v1.invoices.create_preview_async({"subscription": subscription}))
    except stripe.InvalidRequestError as error:
        if error.http_status != 404 and error.code not in {"resource_missing", "invoice_upcoming_none"}:
            raise
        raise NotPossible(f"no invoice comes for {subscription!r}: {error.user_message}") from None
    found = await _lines(client, invoice)
    ids = {price for line in found if (price := _price_of(line)) is not None}
    prices = {price: await show_price(client, price) for price in sorted(ids)}
    return InvoicePreview(
        subscription=subscription,
        customer=id_of(invoice.customer),
        currency=invoice.currency,
        lines=tuple(_line(line, prices) for line in found),
        subtotal=invoice.subtotal,
        total=invoice.total,
        amount_due=invoice.amount_due,
        finalizes_at=field_of(invoice, "automatically_finalizes_at"),
    )


async def _lines(client: stripe.StripeClient, invoice: stripe.Invoice) -> list[stripe.InvoiceLineItem]:
    if not invoice.lines.has_more:
        return invoice.lines.data

    async def fetch(after: str | None) -> stripe.ListObject[stripe.InvoiceLineItem]:
        params: InvoiceLineItemListParams = {"limit": PAGE_ROWS}
        if after is not None:
            params["starting_after"] = after
        return await client.v1.invoices.line_items.list_async(invoice.id, params)

    return await all_rows(fetch, what="lines of this invoice", rows_max=LINES_MAX)


def _price_of(line: stripe.InvoiceLineItem) -> str | None:
    return id_of(field_of(line, "pricing", "price_details", "price"))


def _line(line: stripe.InvoiceLineItem, prices: dict[str, PriceAtStripe]) -> InvoiceLine:
    price = _price_of(line)
    quantity: int | Decimal | None = field_of(line, "quantity")
    decimal = field_of(line, "quantity_decimal")
    if decimal is not None:
        exact = Decimal(decimal)
        quantity = int(exact) if exact == exact.to_integral_value() else exact
    return InvoiceLine(
        description=text_of(line, "description"),
        price=None if price is None else prices[price],
        quantity=quantity,
        amount=line.amount,
        period_start=line.period.start,
        period_end=line.period.end,
    )
