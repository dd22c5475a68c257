"""Subscriptions: every change to them but the passing of their periods, which is invoicing's."""

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

from simulators.stripe.billing_periods import next_boundary
from simulators.stripe.errors import ApiError, invalid, no_such
from simulators.stripe.event_log import differences
from simulators.stripe.prices import Price, Recurring
from simulators.stripe.subscription_drafts import ItemDraft, SubscriptionChange, SubscriptionDraft, SubscriptionFilter
from simulators.stripe.subscriptions import Subscription, SubscriptionItem, subscription_object
from simulators.stripe.tables import Table

if TYPE_CHECKING:
    from simulators.stripe.account import Account

SUBSCRIPTIONS_MAX = 100_000


class Subscribing:
    """Who has subscribed to what. Every method raises ApiError for what Stripe would refuse."""

    def __init__(self, account: "Account") -> None:
        self._account = account
        self.subscriptions: Table[Subscription] = Table("subscription", "subscription", Subscription, account.note, maximum=SUBSCRIPTIONS_MAX)

    def create(self, draft: SubscriptionDraft, now_ms: int, *, livemode: bool) -> Subscription:
        """A new subscription; with nobody to charge for it, one that waits for a setup intent."""
        billing = self._account.billing
        now_s = now_ms // 1000
        self.check_customer(draft.customer)
        recurring, currency = self.check_items(draft.items)
        if draft.default_payment_method is not None:
            billing.paying.owned(draft.default_payment_method, draft.customer, "default_payment_method")
        if draft.backdate_start_date is not None and not 0 < draft.backdate_start_date <= now_s:
            raise invalid("backdate_start_date must be in the past.", "backdate_start_date")
        anchor, period_end = _first_period(draft, recurring, now_s)
        self.subscriptions.make_room(1)
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
        if subscription.collection_method == "charge_automatically" and billing.paying.method_for(subscription) is None:
            intent = billing.paying.open_intent(draft.customer, subscription.id, now_ms, livemode=livemode)
            subscription = replace(subscription, pending_setup_intent=intent.id)
        self.put(subscription, now_ms)
        self._tell("created", subscription, now_ms)
        return billing.invoicing.started(subscription, now_ms)

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
        price = self._account.billing.selling.price(item.price, item.param, 400)
        if not price.active:
            raise invalid("The price specified is inactive. This field only accepts active prices.", item.param)
        if price.recurring is None:
            raise invalid("The price specified is set to `type=one_time` but this field only accepts prices with `type=recurring`.", item.param)
        if price.recurring.meter is None:
            raise invalid("This simulator sells metered prices only: recurring[usage_type] of the price is licensed.", item.param)
        return price

    def change(self, subscription_id: str, change: SubscriptionChange, now_ms: int) -> Subscription:
        """The subscription after an update."""
        before = self.subscriptions.get(subscription_id)
        if not before.runs:
            raise invalid("A canceled subscription can only update its cancellation_details and metadata.")
        after = replace(before, metadata=change.metadata.applied(before.metadata))
        if change.cancel_at_period_end is not None:
            canceled_at = now_ms // 1000 if change.cancel_at_period_end else None
            after = replace(after, cancel_at_period_end=change.cancel_at_period_end, canceled_at=canceled_at)
        if change.default_payment_method is not None:
            if change.default_payment_method:
                self._account.billing.paying.owned(change.default_payment_method, before.customer, "default_payment_method")
            after = replace(after, default_payment_method=change.default_payment_method or None)
        if change.description is not None:
            after = replace(after, description=change.description or None)
        if change.saves_payment_method is not None:
            after = replace(after, saves_payment_method=change.saves_payment_method)
        self.update(before, after, now_ms)
        return after

    def setup_succeeded(self, subscription_id: str, method_id: str, now_ms: int) -> None:
        """The setup intent that a subscription waited for is done."""
        before = self.subscriptions.get(subscription_id)
        if before.pending_setup_intent is None:
            return
        saved = method_id if before.saves_payment_method else before.default_payment_method
        self.update(before, replace(before, pending_setup_intent=None, default_payment_method=saved), now_ms)

    def cancel(self, subscription_id: str, now_ms: int, *, invoice_now: bool) -> Subscription:
        """End a subscription at once. Its usage since the last invoice is billed only with `invoice_now`, or as the assumptions say."""
        subscription = self.subscriptions.get(subscription_id)
        if not subscription.runs:
            raise no_such("subscription", subscription_id)
        if invoice_now or self._account.assumptions.cancelled_usage == "invoiced":
            subscription = self._account.billing.invoicing.bill_at_once(subscription, now_ms)
        return self.end(subscription, now_ms)

    def end(self, subscription: Subscription, now_ms: int) -> Subscription:
        """Mark a subscription as over."""
        now_s = now_ms // 1000
        canceled_at = subscription.canceled_at if subscription.cancel_at_period_end else now_s
        ended = replace(subscription, status="canceled", canceled_at=canceled_at, ended_at=now_s)
        self.put(ended, now_ms)
        self._tell("deleted", ended, now_ms)
        return ended

    def end_all_of(self, customer: str, now_ms: int) -> None:
        """End every subscription of a customer that is deleted, without a last invoice."""
        for subscription in [item for item in self.subscriptions if item.customer == customer and item.runs]:
            self.end(subscription, now_ms)

    def listed(self, wanted: SubscriptionFilter) -> Iterator[Subscription]:
        """Subscriptions that a list call asks for, newest first; cancelled ones only when it asks for their status."""
        for item in self.subscriptions.newest_first():
            shown = wanted.status == "all" or item.status == ("canceled" if wanted.status == "ended" else wanted.status)
            if wanted.status is None:
                shown = item.runs
            if not shown or wanted.customer not in (None, item.customer) or not wanted.period_end_min <= item.period_end <= wanted.period_end_max:
                continue
            if wanted.price is None or any(part.price == wanted.price for part in item.items):
                yield item

    def update(self, before: Subscription, after: Subscription, now_ms: int) -> None:
        """Put a changed subscription in place, and tell so when the API shows a difference."""
        self.put(after, now_ms)
        shown = self.shown(after)
        previous = differences(self.shown(before), shown)
        if previous:
            self._account.notifications.snapshot("customer.subscription.updated", shown, now_ms, previous)

    def put(self, subscription: Subscription, now_ms: int) -> None:
        """Put a subscription in place without telling anybody."""
        self.subscriptions.put(subscription, now_ms)

    def shown(self, subscription: Subscription) -> dict[str, object]:
        """What the API shows, nothing expanded."""
        return subscription_object(subscription, self._account.billing.selling.price)

    def recurring(self, subscription: Subscription) -> Recurring:
        """How often a subscription is billed."""
        recurring = self._account.billing.selling.price(subscription.items[0].price).recurring
        assert recurring is not None, "only recurring prices are subscribed to"
        return recurring

    def _tell(self, what: str, subscription: Subscription, now_ms: int) -> None:
        self._account.notifications.snapshot(f"customer.subscription.{what}", self.shown(subscription), now_ms)


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
