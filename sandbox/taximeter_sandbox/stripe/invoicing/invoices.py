"""Invoices: records, and what the API shows of them."""

from dataclasses import dataclass
from typing import Literal

from taximeter_sandbox.stripe.metering.quantities import exact_text, quantity
from taximeter_sandbox.stripe.selling.customers import Customer
from taximeter_sandbox.stripe.selling.subscriptions import CollectionMethod, Subscription

InvoiceStatus = Literal["draft", "open", "paid"]
BillingReason = Literal["subscription_create", "subscription_cycle", "subscription_update", "upcoming"]

# Fields that Stripe's object has and nothing here ever sets.
NEVER_SET = [
    "account_tax_ids",
    "application",
    "custom_fields",
    "customer_account",
    "customer_address",
    "customer_shipping",
    "default_payment_method",
    "default_source",
    "description",
    "footer",
    "from_invoice",
    "hosted_invoice_url",
    "invoice_pdf",
    "last_finalization_error",
    "latest_revision",
    "next_payment_attempt",
    "on_behalf_of",
    "receipt_number",
    "rendering",
    "shipping_cost",
    "shipping_details",
    "statement_descriptor",
    "test_clock",
]


@dataclass(frozen=True, slots=True)
class InvoiceLine:
    """One metered price over one period. `quantity` is a decimal text, `amount` in the smallest currency unit.

    The usage that counts has a timestamp in [usage_start, usage_end); it differs from the period shown where an assumption says so.
    """

    id: str
    item: str
    price: str
    period_start: int
    period_end: int
    usage_start: int
    usage_end: int
    quantity: str
    amount: int


@dataclass(frozen=True, slots=True)
class Invoice:
    """One invoice; times in Unix seconds. `events_seen` is how many meter events had been received when it was finalised."""

    id: str
    created: int
    livemode: bool
    customer: str
    subscription: str
    currency: str
    billing_reason: BillingReason
    collection_method: CollectionMethod
    days_until_due: int | None
    period_start: int
    period_end: int
    lines: tuple[InvoiceLine, ...]
    finalizes_at: int | None
    status: InvoiceStatus = "draft"
    number: str | None = None
    finalized_at: int | None = None
    paid_at: int | None = None
    due_date: int | None = None
    attempt_count: int = 0
    events_seen: int = 0
    paid_out_of_band: bool = False

    @property
    def total(self) -> int:
        """In the smallest currency unit."""
        return sum(line.amount for line in self.lines)


def invoice_object(
    invoice: Invoice, customer: Customer | None, subscription: Subscription, lines: list[dict[str, object]], has_more_lines: bool = False
) -> dict[str, object]:
    """The `invoice` that the API shows, nothing expanded. `lines` are its first lines as `line_object` makes them."""
    return {
        **dict.fromkeys(NEVER_SET),
        **_amounts(invoice),
        "id": invoice.id,
        "object": "invoice",
        "account_country": "US",
        "account_name": "Simulated account",
        "attempt_count": invoice.attempt_count,
        "attempted": invoice.attempt_count > 0 or invoice.status == "paid",
        "auto_advance": invoice.status == "draft",
        "automatic_tax": {"disabled_reason": None, "enabled": False, "liability": None, "provider": None, "status": None},
        "automatically_finalizes_at": invoice.finalizes_at if invoice.status == "draft" else None,
        "billing_reason": invoice.billing_reason,
        "collection_method": invoice.collection_method,
        "created": invoice.created,
        "currency": invoice.currency,
        "customer": invoice.customer,
        "customer_email": None if customer is None else customer.email,
        "customer_name": None if customer is None else customer.name,
        "customer_phone": None if customer is None else customer.phone,
        "customer_tax_exempt": "none",
        "customer_tax_ids": [],
        "default_tax_rates": [],
        "discounts": [],
        "due_date": invoice.due_date,
        "effective_at": invoice.finalized_at,
        "issuer": {"type": "self"},
        "lines": {
            "object": "list",
            "data": lines,
            "has_more": has_more_lines,
            "url": f"/v1/invoices/{invoice.id}/lines",
        },
        "livemode": invoice.livemode,
        "metadata": {},
        "number": invoice.number,
        "parent": {
            "quote_details": None,
            "subscription_details": {"metadata": dict(subscription.metadata), "subscription": invoice.subscription},
            "type": "subscription_details",
        },
        "payment_settings": {"default_mandate": None, "payment_method_options": None, "payment_method_types": None},
        "period_end": invoice.period_end,
        "period_start": invoice.period_start,
        "status": invoice.status,
        "status_transitions": {
            "finalized_at": invoice.finalized_at,
            "marked_uncollectible_at": None,
            "paid_at": invoice.paid_at,
            "voided_at": None,
        },
        "webhooks_delivered_at": invoice.created,
    }


def _amounts(invoice: Invoice) -> dict[str, object]:
    total = invoice.total
    paid = total if invoice.status == "paid" else 0
    return {
        "amount_due": total,
        "amount_overpaid": 0,
        "amount_paid": paid,
        "amount_paid_off_stripe": paid if invoice.paid_out_of_band else 0,
        "amount_remaining": total - paid,
        "amount_shipping": 0,
        "ending_balance": None if invoice.status == "draft" else 0,
        "post_payment_credit_notes_amount": 0,
        "pre_payment_credit_notes_amount": 0,
        "starting_balance": 0,
        "subtotal": total,
        "subtotal_excluding_tax": total,
        "total": total,
        "total_discount_amounts": [],
        "total_excluding_tax": total,
        "total_pretax_credit_amounts": [],
        "total_taxes": [],
    }


def line_object(line: InvoiceLine, invoice: Invoice, *, product: str, product_name: str, unit_amount: str | None) -> dict[str, object]:
    """The `line_item` that the API shows. `quantity` is whole, `quantity_decimal` exact."""
    return {
        "id": line.id,
        "object": "line_item",
        "amount": line.amount,
        "currency": invoice.currency,
        "description": f"{line.quantity} units of {product_name}",
        "discount_amounts": [],
        "discountable": True,
        "discounts": [],
        "invoice": invoice.id,
        "livemode": invoice.livemode,
        "metadata": {},
        "parent": {
            "invoice_item_details": None,
            "subscription_item_details": {
                "invoice_item": None,
                "proration": False,
                "proration_details": {"credited_items": None},
                "subscription": invoice.subscription,
                "subscription_item": line.item,
            },
            "type": "subscription_item_details",
        },
        "period": {"end": line.period_end, "start": line.period_start},
        "pretax_credit_amounts": [],
        "pricing": {
            "price_details": {"price": line.price, "product": product},
            "type": "price_details",
            "unit_amount_decimal": unit_amount,
        },
        "quantity": int(quantity(line.quantity)),
        "quantity_decimal": exact_text(quantity(line.quantity)),
        "subscription": invoice.subscription,
        "subtotal": line.amount,
        "taxes": [],
    }
