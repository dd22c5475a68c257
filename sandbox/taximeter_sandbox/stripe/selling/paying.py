"""Payment methods and setup intents: every change to them."""

from dataclasses import replace

from taximeter_sandbox.stripe.http.errors import invalid, no_such
from taximeter_sandbox.stripe.http.metadata import Metadata
from taximeter_sandbox.stripe.selling.payment_methods import TEST_CARDS, PaymentMethod, TestCard, card_declined, payment_method_object
from taximeter_sandbox.stripe.selling.selling_port import SellingPort
from taximeter_sandbox.stripe.selling.setup_intents import SetupIntent, setup_intent_object
from taximeter_sandbox.stripe.selling.subscription_table import SubscriptionTable
from taximeter_sandbox.stripe.selling.subscriptions import Subscription
from taximeter_sandbox.stripe.state.tables import Table

PAYMENT_METHODS_MAX = 100_000
SETUP_INTENTS_MAX = 100_000


class Paying:
    """How customers pay. Every method raises ApiError for what Stripe would refuse."""

    def __init__(self, account: SellingPort, subscriptions: SubscriptionTable) -> None:
        self._account = account
        self._subscriptions = subscriptions
        self.methods: Table[PaymentMethod] = Table("payment_method", "PaymentMethod", PaymentMethod, account.note, maximum=PAYMENT_METHODS_MAX)
        self.intents: Table[SetupIntent] = Table("setup_intent", "setupintent", SetupIntent, account.note, maximum=SETUP_INTENTS_MAX)

    def attach(self, name: str, customer: str, now_ms: int, *, livemode: bool) -> PaymentMethod:
        """Save a card for a customer. `name` is one of Stripe's test names, or the id of a card that is this customer's already."""
        card = TEST_CARDS.get(name)
        if card is None:
            method = self.methods.get(name, "payment_method", 400)
            if method.customer != customer:
                raise invalid("The payment method belongs to another customer, or was detached.", "payment_method")
            return method
        if not card.saves:
            raise card_declined()
        return self._save(card, customer, now_ms, livemode=livemode)

    def _save(self, card: TestCard, customer: str, now_ms: int, *, livemode: bool) -> PaymentMethod:
        identity = f"pm_{self._account.identities.token(24)}"
        method = PaymentMethod(identity, now_ms // 1000, livemode, customer, card.brand, card.last4, card.charges)
        self.methods.put(method, now_ms)
        self._account.notifications.snapshot("payment_method.attached", payment_method_object(method), now_ms)
        return method

    def owned(self, method_id: str, customer: str, param: str) -> PaymentMethod:
        """A saved card of this customer."""
        method = self.methods.get(method_id, param, 400)
        if method.customer != customer:
            raise no_such("PaymentMethod", method_id, param, 400)
        return method

    def method_for(self, subscription: Subscription) -> PaymentMethod | None:
        """What a subscription's invoices are paid with: its own card, else its customer's default, else None."""
        customers = self._account.customers
        default = customers.get(subscription.customer).default_payment_method if customers.known(subscription.customer) else None
        chosen = subscription.default_payment_method or default
        return self.methods.get(chosen) if chosen is not None and chosen in self.methods else None

    def open_intent(
        self,
        customer: str | None,
        subscription: str | None,
        now_ms: int,
        *,
        livemode: bool,
        description: str | None = None,
        metadata: Metadata = (),
    ) -> SetupIntent:
        """A new setup intent."""
        token = self._account.identities.token
        identity = f"seti_{token(24)}"
        secret = f"{identity}_secret_{token(28)}"
        intent = SetupIntent(identity, secret, now_ms // 1000, livemode, customer, subscription, description=description, metadata=metadata)
        self.intents.put(intent, now_ms)
        self._tell("setup_intent.created", intent, now_ms)
        return intent

    def confirm(self, intent_id: str, method_name: str | None, now_ms: int) -> SetupIntent:
        """Save the card of an intent; the subscription that waited for it is charged with it from then on."""
        intent = self.intents.get(intent_id)
        if intent.status != "requires_payment_method":
            raise invalid(
                f"You cannot confirm this SetupIntent because it has a status of {intent.status}.", code="setup_intent_unexpected_state", param=None
            )
        if method_name is None:
            raise invalid("You cannot confirm this SetupIntent because it's missing a payment method.", "payment_method", "parameter_missing")
        card = TEST_CARDS.get(method_name)
        if card is not None and not card.saves:
            self.intents.put(replace(intent, declined=True), now_ms)
            self._tell("setup_intent.setup_failed", replace(intent, declined=True), now_ms)
            raise card_declined()
        if intent.customer is None:
            method_id: str = method_name
        else:
            method_id = self.attach(method_name, intent.customer, now_ms, livemode=intent.livemode).id
        intent = replace(intent, status="succeeded", payment_method=method_id, declined=False)
        self.intents.put(intent, now_ms)
        self._tell("setup_intent.succeeded", intent, now_ms)
        if intent.subscription is not None:
            self._subscriptions.setup_succeeded(intent.subscription, method_id, now_ms)
        return intent

    def cancel(self, intent_id: str, now_ms: int) -> SetupIntent:
        """Give an intent up."""
        intent = self.intents.get(intent_id)
        if intent.status == "succeeded":
            raise invalid(
                "You cannot cancel this SetupIntent because it has a status of succeeded.", code="setup_intent_unexpected_state", param=None
            )
        intent = replace(intent, status="canceled")
        self.intents.put(intent, now_ms)
        self._tell("setup_intent.canceled", intent, now_ms)
        return intent

    def _tell(self, kind: str, intent: SetupIntent, now_ms: int) -> None:
        self._account.notifications.snapshot(kind, setup_intent_object(intent), now_ms)
