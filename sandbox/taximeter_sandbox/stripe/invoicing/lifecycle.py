"""The course of invoices: a period ends, its draft waits for late usage, is finalised, and is paid or not.

What happens at a time happens with what was received before it, also when the clock jumps far over it.
"""

from dataclasses import replace

from taximeter_sandbox.stripe.http.errors import invalid
from taximeter_sandbox.stripe.invoicing.amounts import AmountRules, line_amount
from taximeter_sandbox.stripe.invoicing.invoices import BillingReason, Invoice, InvoiceLine, invoice_object, line_object
from taximeter_sandbox.stripe.invoicing.invoicing_port import InvoicingPort
from taximeter_sandbox.stripe.invoicing.line_usage import LineUsage, UsageRange, usage_range
from taximeter_sandbox.stripe.invoicing.periods import next_boundary
from taximeter_sandbox.stripe.invoicing.schedule import BillingSchedule
from taximeter_sandbox.stripe.metering.quantities import exact_text, quantity
from taximeter_sandbox.stripe.selling.catalogue import Selling
from taximeter_sandbox.stripe.selling.customers import invoice_prefix
from taximeter_sandbox.stripe.selling.paying import Paying
from taximeter_sandbox.stripe.selling.payment_methods import PaymentMethod, card_declined
from taximeter_sandbox.stripe.selling.subscription_table import SubscriptionTable
from taximeter_sandbox.stripe.selling.subscriptions import Subscription, SubscriptionStatus
from taximeter_sandbox.stripe.state.tables import Table

INVOICES_MAX = 100_000
PREVIEWS_MAX = 1000
LINES_SHOWN = 10
HOUR_S = 3600
DAY_S = 86_400


class Invoicing:
    """Invoices of one account. Methods named in the API raise ApiError for what Stripe would refuse."""

    def __init__(self, account: InvoicingPort, selling: Selling, subscriptions: SubscriptionTable, paying: Paying, schedule: BillingSchedule) -> None:
        self._account = account
        self._selling = selling
        self._subscriptions = subscriptions
        self._paying = paying
        self._schedule = schedule
        self.usage = LineUsage(account, selling)
        self.invoices: Table[Invoice] = Table("invoice", "invoice", Invoice, account.note, maximum=INVOICES_MAX)
        self._numbers: dict[str, int] = {}
        self._previews: dict[str, Invoice] = {}

    # A subscription's life

    def started(self, subscription: Subscription, now_ms: int) -> Subscription:
        """Set a new subscription going; the first invoices that some of them get are made at once."""
        now_s = now_ms // 1000
        if subscription.start_date < subscription.period_start:
            opening = usage_range(subscription.start_date, now_s, opens=True, inclusive=self._inclusive)
            subscription = self._bill(subscription, "subscription_create", (subscription.start_date, now_s), opening, now_ms)
        elif subscription.billing_mode == "classic":
            subscription = self._bill(subscription, "subscription_create", (now_s, now_s), UsageRange(now_s, now_s), now_ms)
        self.expect(subscription)
        return subscription

    def expect(self, subscription: Subscription) -> None:
        """Put the end of the current period into the schedule, and its announcement where there is time for one."""
        announced_s = subscription.period_end - self._account.billing_settings.upcoming_days * DAY_S
        if announced_s > max(subscription.period_start, subscription.created) and not subscription.announced:
            self._schedule.push(announced_s * 1000, "upcoming", subscription.id)
        self._schedule.push(subscription.period_end * 1000, "close", subscription.id)

    def announce(self, subscription_id: str, due_ms: int) -> None:
        """Notify of the coming invoice of the current period, some days before it is made."""
        subscription = self._subscriptions.get(subscription_id)
        if subscription.runs and not subscription.announced and subscription.period_start * 1000 < due_ms < subscription.period_end * 1000:
            self._subscriptions.put(replace(subscription, announced=True), due_ms)
            self._account.notifications.snapshot("invoice.upcoming", self.shown(self._upcoming(subscription, due_ms)), due_ms)

    def close(self, subscription_id: str, due_ms: int) -> None:
        """End the current period: a draft for it, and the next period or the end of the subscription."""
        before = self._subscriptions.get(subscription_id)
        if not before.runs or before.period_end * 1000 != due_ms:
            return
        recurring = self._subscriptions.recurring(before)
        start, end = before.period_end, next_boundary(before.anchor, recurring.interval, recurring.interval_count, before.period_end)
        grace_s = self._account.billing_settings.finalization_grace_hours * HOUR_S
        if grace_s >= before.period_end - before.period_start:  # Stripe wants it shorter than the period
            grace_s = HOUR_S
        draft = self._draft(before, "subscription_cycle", (before.period_start, before.period_end), self._range_of(before), due_ms)
        draft = replace(draft, finalizes_at=start + grace_s)
        self.invoices.put(draft, due_ms)
        self._schedule.push((start + grace_s) * 1000, "finalize", draft.id)
        self._tell("created", draft, due_ms)
        if before.cancel_at_period_end:
            self._subscriptions.end(replace(before, latest_invoice=draft.id), due_ms)
            return
        after = replace(before, period_start=start, period_end=end, latest_invoice=draft.id, announced=False)
        self._subscriptions.update(before, after, due_ms)
        self.expect(after)

    def bill_at_once(self, subscription: Subscription, now_ms: int) -> Subscription:
        """Bill the current period up to this second; for a subscription that ends now. The subscription is not put in place."""
        now_s = now_ms // 1000
        usage = UsageRange(self._range_of(subscription).start, now_s + 1)
        return self._bill(subscription, "subscription_update", (subscription.period_start, now_s), usage, now_ms)

    def _bill(self, subscription: Subscription, reason: BillingReason, period: tuple[int, int], usage: UsageRange, now_ms: int) -> Subscription:
        draft = self._draft(subscription, reason, period, usage, now_ms)
        self.invoices.put(draft, now_ms)
        self._tell("created", draft, now_ms)
        billed = replace(subscription, latest_invoice=draft.id)
        self._subscriptions.put(billed, now_ms)
        self._finalize(draft, now_ms)
        return self._subscriptions.get(subscription.id)

    # One invoice's life

    def finalize_due(self, invoice_id: str, due_ms: int) -> None:
        """Finalise a draft whose grace is over."""
        invoice = self.invoices.get(invoice_id)
        if invoice.status == "draft":
            self._finalize(invoice, due_ms)

    def finalize(self, invoice_id: str, now_ms: int) -> Invoice:
        """Finalise a draft before its time."""
        invoice = self.invoices.get(invoice_id)
        if invoice.status != "draft":
            raise invalid("This invoice is already finalized, you can't re-finalize a non-draft invoice.")
        return self._finalize(invoice, now_ms)

    def _finalize(self, draft: Invoice, now_ms: int) -> Invoice:
        now_s = now_ms // 1000
        number = self._numbers.get(draft.customer, 0) + 1
        self._numbers[draft.customer] = number
        due_s = None if draft.days_until_due is None else now_s + draft.days_until_due * DAY_S
        lines = tuple(self._billed(line, draft.customer) for line in draft.lines)
        invoice = replace(
            draft,
            lines=lines,
            number=f"{invoice_prefix(draft.customer)}-{number:04d}",
            status="open",
            finalized_at=now_s,
            due_date=due_s,
            events_seen=len(self._account.events),
        )
        self._tell("finalized", invoice, now_ms)
        if invoice.total > 0 and invoice.collection_method == "send_invoice":
            self.invoices.put(invoice, now_ms)
            return invoice
        subscription = self._subscriptions.get(invoice.subscription)
        return self._collect(invoice, self._paying.method_for(subscription), now_ms)

    def _collect(self, invoice: Invoice, method: PaymentMethod | None, now_ms: int) -> Invoice:
        if invoice.total == 0:
            return self._settle(invoice, now_ms)
        invoice = replace(invoice, attempt_count=invoice.attempt_count + 1)
        if method is not None and method.charges:
            return self._settle(invoice, now_ms)
        self.invoices.put(invoice, now_ms)
        self._tell("payment_failed", invoice, now_ms)
        self._mark(invoice.subscription, "past_due", now_ms)
        return invoice

    def _settle(self, invoice: Invoice, now_ms: int, *, out_of_band: bool = False) -> Invoice:
        invoice = replace(invoice, status="paid", paid_at=now_ms // 1000, paid_out_of_band=out_of_band)
        self.invoices.put(invoice, now_ms)
        self._tell("paid", invoice, now_ms)
        if self._subscriptions.get(invoice.subscription).status == "past_due" and not self._owes(invoice.subscription):
            self._mark(invoice.subscription, "active", now_ms)
        return invoice

    def _owes(self, subscription_id: str) -> bool:
        return any(item.subscription == subscription_id and item.status == "open" and item.attempt_count for item in self.invoices)

    def _mark(self, subscription_id: str, status: SubscriptionStatus, now_ms: int) -> None:
        before = self._subscriptions.get(subscription_id)
        if before.runs and before.status != status:
            self._subscriptions.update(before, replace(before, status=status), now_ms)

    def pay(self, invoice_id: str, method_name: str | None, now_ms: int, *, out_of_band: bool) -> Invoice:
        """Try to collect an open invoice, with a card of the caller's choice or the subscription's."""
        invoice = self.invoices.get(invoice_id)
        if invoice.status != "open":
            reason = "Invoice is already paid" if invoice.status == "paid" else "Invoice is a draft: finalize it before it can be paid"
            raise invalid(reason)
        if out_of_band:
            return self._settle(invoice, now_ms, out_of_band=True)
        subscription = self._subscriptions.get(invoice.subscription)
        if method_name is None:
            method = self._paying.method_for(subscription)
            if method is None:
                raise invalid("There is no `default_payment_method` set on this Customer or Invoice. Please set a payment method.")
        else:
            method = self._paying.attach(method_name, invoice.customer, now_ms, livemode=invoice.livemode)
        invoice = self._collect(invoice, method, now_ms)
        if invoice.status != "paid":
            raise card_declined()
        return invoice

    # Amounts

    @property
    def _inclusive(self) -> bool:
        return self._account.assumptions.period_end == "inclusive"

    def _range_of(self, subscription: Subscription) -> UsageRange:
        opens = subscription.period_start == subscription.start_date
        return usage_range(subscription.period_start, subscription.period_end, opens=opens, inclusive=self._inclusive)

    def _draft(self, subscription: Subscription, reason: BillingReason, period: tuple[int, int], usage: UsageRange, now_ms: int) -> Invoice:
        """A draft with the usage that summaries see; until it is finalised its lines are counted again whenever it is shown."""
        token = self._account.identities.token
        lines = []
        for item in subscription.items:
            line = InvoiceLine(f"il_{token(24)}", item.id, item.price, *period, *usage, "0", 0)
            lines.append(self._seen(line, subscription.customer))
        return Invoice(
            id=("upcoming_in_" if reason == "upcoming" else "in_") + token(24),
            created=now_ms // 1000,
            livemode=subscription.livemode,
            customer=subscription.customer,
            subscription=subscription.id,
            currency=subscription.currency,
            billing_reason=reason,
            collection_method=subscription.collection_method,
            days_until_due=subscription.days_until_due,
            period_start=period[0],
            period_end=period[1],
            lines=tuple(lines),
            finalizes_at=None,
        )

    def preview(self, subscription: Subscription, now_ms: int) -> Invoice:
        """What the invoice of the current period would be with the usage that summaries see. The last 1,000 can be asked for their lines."""
        invoice = self._upcoming(subscription, now_ms)
        self._previews[invoice.id] = invoice
        if len(self._previews) > PREVIEWS_MAX:
            del self._previews[next(iter(self._previews))]
        return invoice

    def _upcoming(self, subscription: Subscription, now_ms: int) -> Invoice:
        period = (subscription.period_start, subscription.period_end)
        return self._draft(subscription, "upcoming", period, self._range_of(subscription), now_ms)

    def _seen(self, line: InvoiceLine, customer: str) -> InvoiceLine:
        return self._priced(line, exact_text(self.usage.shown(line, customer)))

    def _billed(self, line: InvoiceLine, customer: str) -> InvoiceLine:
        return self._priced(line, exact_text(self.usage.billed(line, customer)))

    def _priced(self, line: InvoiceLine, text: str) -> InvoiceLine:
        assumptions = self._account.assumptions
        rules = AmountRules(
            half_even=assumptions.amount_rounding == "half_even",
            rounds_each_tier=assumptions.tier_rounding == "tier",
            flat_fee_at_zero=assumptions.flat_fee_at_zero == "charged",
        )
        price = self._selling.price(line.price)
        opens_empty = line.usage_start == line.usage_end  # the first invoice of classic billing, before there is a period
        return replace(line, quantity=text, amount=0 if opens_empty else line_amount(price, quantity(text), rules))

    # What is shown

    def find(self, invoice_id: str) -> Invoice:
        """An invoice as Stripe shows it at this time, or a preview as it was. Raises ApiError (404)."""
        preview = self._previews.get(invoice_id)
        return self.current(self.invoices.get(invoice_id)) if preview is None else preview

    def current(self, invoice: Invoice) -> Invoice:
        """The invoice as Stripe shows it at this time: a draft with the usage that summaries see by now."""
        if invoice.status != "draft":
            return invoice
        return replace(invoice, lines=tuple(self._seen(line, invoice.customer) for line in invoice.lines))

    def exact(self, invoice: Invoice) -> Invoice:
        """The invoice as it is, or for a draft as it would be if it were finalised at this moment."""
        if invoice.status != "draft":
            return invoice
        return replace(invoice, lines=tuple(self._billed(line, invoice.customer) for line in invoice.lines))

    def lines_shown(self, invoice: Invoice) -> list[dict[str, object]]:
        """The lines as the API shows them."""
        shown = []
        for line in invoice.lines:
            price = self._selling.price(line.price)
            name = self._selling.products.get(price.product).name
            shown.append(line_object(line, invoice, product=price.product, product_name=name, unit_amount=price.unit_amount))
        return shown

    def shown(self, invoice: Invoice) -> dict[str, object]:
        """The invoice as the API shows it, nothing expanded."""
        customers = self._account.customers
        customer = customers.get(invoice.customer) if customers.known(invoice.customer) else None
        subscription = self._subscriptions.get(invoice.subscription)
        lines = self.lines_shown(invoice)
        return invoice_object(invoice, customer, subscription, lines[:LINES_SHOWN], len(lines) > LINES_SHOWN)

    def _tell(self, what: str, invoice: Invoice, now_ms: int) -> None:
        self._account.notifications.snapshot(f"invoice.{what}", self.shown(invoice), now_ms)

    # Coming back after a restart

    def resume(self) -> None:
        """Rebuild the schedule and the numbers from the existing invoices and subscriptions."""
        for invoice in self.invoices:
            if invoice.status != "draft":
                self._numbers[invoice.customer] = self._numbers.get(invoice.customer, 0) + 1
            elif invoice.finalizes_at is not None:
                self._schedule.push(invoice.finalizes_at * 1000, "finalize", invoice.id)
        for subscription in self._subscriptions:
            if subscription.runs:
                self.expect(subscription)
