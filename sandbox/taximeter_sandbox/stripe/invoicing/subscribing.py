"""What callers do with subscriptions: start, change and cancel them. The passing of their periods is invoicing's."""

from dataclasses import replace

from taximeter_sandbox.stripe.http.errors import ApiError, invalid, no_such
from taximeter_sandbox.stripe.invoicing.lifecycle import Invoicing
from taximeter_sandbox.stripe.invoicing.periods import next_boundary
from taximeter_sandbox.stripe.selling.catalogue import Selling
from taximeter_sandbox.stripe.selling.paying import Paying
from taximeter_sandbox.stripe.selling.prices import Price, Recurring
from taximeter_sandbox.stripe.selling.selling_port import SellingPort
from taximeter_sandbox.stripe.selling.subscription_drafts import ItemDraft, SubscriptionChange, SubscriptionDraft
from taximeter_sandbox.stripe.selling.subscription_table import SubscriptionTable
from taximeter_sandbox.stripe.selling.subscriptions import Subscription, SubscriptionItem


class Subscribing:
    """Who has subscribed to what. Every method raises ApiError for what Stripe would refuse."""

    def __init__(self, account: SellingPort, selling: Selling, subscriptions: SubscriptionTable, paying: Paying, invoicing: Invoicing) -> None:
        self._account = account
        self._selling = selling
        self._subscriptions = subscriptions
        self._paying = paying
        self._invoicing = invoicing

    def create(self, draft: SubscriptionDraft, now_ms: int, *, livemode: bool) -> Subscription:
        """A new subscription; with nobody to charge for it, one that waits for a setup intent."""
        now_s = now_ms // 1000
        self.check_customer(draft.customer)
        recurring, currency = self.check_items(draft.items)
        if draft.default_payment_method is not None:
            self._paying.owned(draft.default_payment_method, draft.customer, "default_payment_method")
        if draft.backdate_start_date is not None and not 0 < draft.backdate_start_date <= now_s:
            raise invalid("backdate_start_date must be in the past.", "backdate_start_date")
        anchor, period_end = _first_period(draft, recurring, now_s)
        self._subscriptions.make_room(1)
        token = self._account.identities.token
        start = now_s if draft.backdate_start_date is None else draft.backdate_start_date
        invoiced_at_once = self._account.assumptions.backdated_usage == "first_invoice"
        subscription = Subscription(
            id=f"sub_{token(24)}",
            created=now_s,
            livemode=livemode,
            customer=draft.customer,
            currency=currency,
            items=tuple(SubscriptionItem(f"si_{token(14)}", now_s, item.price, item.metadata) for item in draft.items),
            start_date=start,
            anchor=anchor,
            period_start=now_s if invoiced_at_once else start,
            period_end=period_end,
            billing_mode=draft.billing_mode,
            collection_method=draft.collection_method,
            days_until_due=draft.days_until_due,
            saves_payment_method=draft.saves_payment_method,
            default_payment_method=draft.default_payment_method,
            description=draft.description,
            metadata=draft.metadata,
            cancel_at_period_end=draft.cancel_at_period_end,
            canceled_at=now_s if draft.cancel_at_period_end else None,
        )
        if subscription.collection_method == "charge_automatically" and self._paying.method_for(subscription) is None:
            intent = self._paying.open_intent(draft.customer, subscription.id, now_ms, livemode=livemode)
            subscription = replace(subscription, pending_setup_intent=intent.id)
        self._subscriptions.add(subscription, now_ms)
        return self._invoicing.started(subscription, now_ms)

    def check_customer(self, customer: str) -> None:
        """Raises ApiError (400) unless the customer exists."""
        if not self._account.customers.exists(customer):
            raise no_such("customer", customer, "customer", 400)

    def check_items(self, items: tuple[ItemDraft, ...]) -> tuple[Recurring, str]:
        """How often the items are billed, and in what currency. Raises ApiError (400) when they cannot be sold together."""
        prices = [self._sellable(item) for item in items]
        recurring = prices[0].recurring
        assert recurring is not None, "checked above"
        for item, price in zip(items, prices, strict=True):
            if price.currency != prices[0].currency:
                raise invalid("All prices on a subscription must have the same currency.", item.param)
            if price.recurring is not None and (price.recurring.interval, price.recurring.interval_count) != (
                recurring.interval,
                recurring.interval_count,
            ):
                raise invalid("This simulator bills all prices of a subscription at the same interval.", item.param)
        if len({item.price for item in items}) < len(items):
            raise invalid("Cannot add multiple subscription items with the same plan.", items[-1].param)
        return recurring, prices[0].currency

    def _sellable(self, item: ItemDraft) -> Price:
        price = self._selling.price(item.price, item.param, 400)
        if not price.active:
            raise invalid("The price specified is inactive. This field only accepts active prices.", item.param)
        if price.recurring is None:
            raise invalid("The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.", item.param)
        if price.recurring.meter is None:
            raise invalid("This simulator sells metered prices only: recurring[usage_type] of the price is licensed.", item.param)
        return price

    def change(self, subscription_id: str, change: SubscriptionChange, now_ms: int) -> Subscription:
        """The subscription after an update."""
        before = self._subscriptions.get(subscription_id)
        if not before.runs:
            raise invalid("A canceled subscription can only update its cancellation_details and metadata.")
        after = replace(before, metadata=change.metadata.applied(before.metadata))
        if change.cancel_at_period_end is not None:
            canceled_at = now_ms // 1000 if change.cancel_at_period_end else None
            after = replace(after, cancel_at_period_end=change.cancel_at_period_end, canceled_at=canceled_at)
        if change.default_payment_method is not None:
            if change.default_payment_method:
                self._paying.owned(change.default_payment_method, before.customer, "default_payment_method")
            after = replace(after, default_payment_method=change.default_payment_method or None)
        if change.description is not None:
            after = replace(after, description=change.description or None)
        if change.saves_payment_method is not None:
            after = replace(after, saves_payment_method=change.saves_payment_method)
        self._subscriptions.update(before, after, now_ms)
        return after

    def cancel(self, subscription_id: str, now_ms: int, *, invoice_now: bool) -> Subscription:
        """End a subscription at once. Its usage since the last invoice is billed only with `invoice_now`, or as the assumptions say."""
        subscription = self._subscriptions.get(subscription_id)
        if not subscription.runs:
            raise no_such("subscription", subscription_id)
        if invoice_now or self._account.assumptions.cancelled_usage == "invoiced":
            subscription = self._invoicing.bill_at_once(subscription, now_ms)
        return self._subscriptions.end(subscription, now_ms)


def _first_period(draft: SubscriptionDraft, recurring: Recurring, now_s: int) -> tuple[int, int]:
    """Anchor and end of the first period. Raises ApiError for an anchor that is past, or later than the first period's natural end."""
    natural_end = next_boundary(now_s, recurring.interval, recurring.interval_count, now_s)
    if draft.anchor is None:
        return now_s, natural_end
    if draft.anchor <= now_s:
        raise invalid("billing_cycle_anchor must be in the future.", "billing_cycle_anchor")
    if draft.anchor > natural_end:
        problem = f"billing_cycle_anchor cannot be later than next natural billing date ({natural_end}) for plan."
        raise ApiError(400, problem, outcome="invalid_parameter", param="billing_cycle_anchor", code="invalid_billing_cycle_anchor")
    return draft.anchor, draft.anchor
