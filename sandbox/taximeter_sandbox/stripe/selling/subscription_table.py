"""Subscriptions as they are: what the table keeps of them, how they are shown, and their end."""

from collections.abc import Iterator
from dataclasses import replace

from taximeter_sandbox.stripe.selling.catalogue import Selling
from taximeter_sandbox.stripe.selling.prices import Recurring
from taximeter_sandbox.stripe.selling.selling_port import SellingPort
from taximeter_sandbox.stripe.selling.subscription_drafts import SubscriptionFilter
from taximeter_sandbox.stripe.selling.subscriptions import Subscription, subscription_object
from taximeter_sandbox.stripe.state.tables import Table
from taximeter_sandbox.stripe.webhooks.event_log import differences

SUBSCRIPTIONS_MAX = 100_000


class SubscriptionTable(Table[Subscription]):
    """The subscriptions of one account. `put` notifies nobody; `update` and `end` do."""

    def __init__(self, account: SellingPort, selling: Selling) -> None:
        super().__init__("subscription", "subscription", Subscription, account.note, maximum=SUBSCRIPTIONS_MAX)
        self._account = account
        self._selling = selling

    def add(self, subscription: Subscription, now_ms: int) -> None:
        """A new subscription."""
        self.put(subscription, now_ms)
        self._tell("created", subscription, now_ms)

    def update(self, before: Subscription, after: Subscription, now_ms: int) -> None:
        """Put a changed subscription in place, and notify when the API shows a difference."""
        self.put(after, now_ms)
        shown = self.shown(after)
        previous = differences(self.shown(before), shown)
        if previous:
            self._account.notifications.snapshot("customer.subscription.updated", shown, now_ms, previous)

    def setup_succeeded(self, subscription_id: str, method_id: str, now_ms: int) -> None:
        """The setup intent that a subscription waited for is done."""
        before = self.get(subscription_id)
        if before.pending_setup_intent is None:
            return
        saved = method_id if before.saves_payment_method else before.default_payment_method
        self.update(before, replace(before, pending_setup_intent=None, default_payment_method=saved), now_ms)

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
        for subscription in [item for item in self if item.customer == customer and item.runs]:
            self.end(subscription, now_ms)

    def listed(self, wanted: SubscriptionFilter) -> Iterator[Subscription]:
        """Subscriptions that a list call asks for, newest first; cancelled ones only when it asks for their status."""
        for item in self.newest_first():
            shown = wanted.status == "all" or item.status == ("canceled" if wanted.status == "ended" else wanted.status)
            if wanted.status is None:
                shown = item.runs
            if not shown or wanted.customer not in (None, item.customer):
                continue
            (first_start, last_start), (first_end, last_end) = wanted.period_starts, wanted.period_ends
            if not first_start <= item.period_start <= last_start or not first_end <= item.period_end <= last_end:
                continue
            if wanted.price is None or any(part.price == wanted.price for part in item.items):
                yield item

    def shown(self, subscription: Subscription) -> dict[str, object]:
        """What the API shows, nothing expanded."""
        return subscription_object(subscription, self._selling.price)

    def recurring(self, subscription: Subscription) -> Recurring:
        """How often a subscription is billed."""
        recurring = self._selling.price(subscription.items[0].price).recurring
        assert recurring is not None, "only recurring prices are subscribed to"
        return recurring

    def _tell(self, what: str, subscription: Subscription, now_ms: int) -> None:
        self._account.notifications.snapshot(f"customer.subscription.{what}", self.shown(subscription), now_ms)
