"""Endpoints of subscriptions, setup intents and payment methods."""

from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.http.errors import invalid
from taximeter_sandbox.stripe.http.metadata import read_metadata
from taximeter_sandbox.stripe.http.pages import list_object, read_page
from taximeter_sandbox.stripe.http.routes import Call, Prepared, Route, json_result
from taximeter_sandbox.stripe.selling.customers import customer_object
from taximeter_sandbox.stripe.selling.payment_methods import payment_method_object
from taximeter_sandbox.stripe.selling.setup_intents import setup_intent_object
from taximeter_sandbox.stripe.selling.subscription_drafts import read_subscription_change, read_subscription_draft, read_subscription_filter
from taximeter_sandbox.stripe.selling.subscriptions import Subscription

EXPANSIONS = ("customer", "default_payment_method", "latest_invoice", "latest_invoice.confirmation_secret", "pending_setup_intent")
DATA_EXPANSIONS = tuple(f"data.{name}" for name in EXPANSIONS)


class SubscriptionEndpoints:
    """The endpoints of one account's subscriptions and of how they are paid."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        """All of them."""
        subscription, intent, method = "/v1/subscriptions/{id}", "/v1/setup_intents/{id}", "/v1/payment_methods/{id}"
        return [
            Route("subscriptions.create", "POST", "/v1/subscriptions", "subscription_write", self._create),
            Route("subscriptions.list", "GET", "/v1/subscriptions", "subscription_read", self._list),
            Route("subscriptions.retrieve", "GET", subscription, "subscription_read", self._retrieve),
            Route("subscriptions.update", "POST", subscription, "subscription_write", self._update),
            Route("subscriptions.cancel", "DELETE", subscription, "subscription_write", self._cancel),
            Route("setup_intents.create", "POST", "/v1/setup_intents", "setup_intent_write", self._create_intent),
            Route("setup_intents.retrieve", "GET", intent, "setup_intent_read", self._retrieve_intent),
            Route("setup_intents.confirm", "POST", intent + "/confirm", "setup_intent_write", self._confirm_intent),
            Route("setup_intents.cancel", "POST", intent + "/cancel", "setup_intent_write", self._cancel_intent),
            Route("payment_methods.retrieve", "GET", method, "customer_read", self._retrieve_method),
            Route("payment_methods.attach", "POST", method + "/attach", "customer_write", self._attach_method),
        ]

    # Subscriptions

    def _create(self, call: Call) -> Prepared:
        expand = call.parameters.expansions(EXPANSIONS)
        draft = read_subscription_draft(call.parameters)
        call.parameters.finish()

        def commit(now_ms: int) -> dict[str, object]:
            self._account.billing.ready(now_ms)
            return self._shown(self._account.billing.subscribing.create(draft, now_ms, livemode=call.livemode), expand)

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _list(self, call: Call) -> Prepared:
        expand = frozenset(item.removeprefix("data.") for item in call.parameters.expansions(DATA_EXPANSIONS))
        wanted = read_subscription_filter(call.parameters)
        page = read_page(call.parameters)
        call.parameters.finish()

        def commit(now_ms: int) -> dict[str, object]:
            self._account.billing.ready(now_ms)
            subscriptions = self._account.billing.subscriptions
            page_of_ids = list_object([{"id": item.id} for item in subscriptions.listed(wanted)], page, call.path)
            data = page_of_ids["data"]
            assert isinstance(data, list), "list_object makes a list"
            return {**page_of_ids, "data": [self._shown(subscriptions.get(item["id"]), expand) for item in data]}

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _retrieve(self, call: Call) -> Prepared:
        expand = call.parameters.expansions(EXPANSIONS)
        call.parameters.finish()

        def commit(now_ms: int) -> dict[str, object]:
            self._account.billing.ready(now_ms)
            return self._shown(self._account.billing.subscriptions.get(call.identity), expand)

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _update(self, call: Call) -> Prepared:
        expand = call.parameters.expansions(EXPANSIONS)
        change = read_subscription_change(call.parameters)
        call.parameters.finish()

        def commit(now_ms: int) -> dict[str, object]:
            self._account.billing.ready(now_ms)
            return self._shown(self._account.billing.subscribing.change(call.identity, change, now_ms), expand)

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _cancel(self, call: Call) -> Prepared:
        expand = call.parameters.expansions(EXPANSIONS)
        invoice_now = call.parameters.optional_flag("invoice_now") is True
        call.parameters.optional_flag("prorate")  # metered usage is billed as it was, so there is nothing to prorate
        call.parameters.finish()

        def commit(now_ms: int) -> dict[str, object]:
            self._account.billing.ready(now_ms)
            return self._shown(self._account.billing.subscribing.cancel(call.identity, now_ms, invoice_now=invoice_now), expand)

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _shown(self, subscription: Subscription, expand: frozenset[str]) -> dict[str, object]:
        billing = self._account.billing
        shown = billing.subscriptions.shown(subscription)
        if "customer" in expand:
            shown["customer"] = customer_object(self._account.customers.get(subscription.customer))
        if "default_payment_method" in expand and subscription.default_payment_method is not None:
            shown["default_payment_method"] = payment_method_object(billing.paying.methods.get(subscription.default_payment_method))
        if "pending_setup_intent" in expand and subscription.pending_setup_intent is not None:
            shown["pending_setup_intent"] = setup_intent_object(billing.paying.intents.get(subscription.pending_setup_intent))
        if any(item.startswith("latest_invoice") for item in expand) and subscription.latest_invoice is not None:
            invoice = billing.invoicing.invoices.get(subscription.latest_invoice)
            shown["latest_invoice"] = billing.invoicing.shown(billing.invoicing.current(invoice))
        return shown

    # Setup intents and payment methods

    def _create_intent(self, call: Call) -> Prepared:
        parameters = call.parameters
        customer = parameters.optional_text("customer", length_max=5000)
        description = parameters.optional_text("description", length_max=1000)
        parameters.optional_choice("usage", ("off_session", "on_session"))
        parameters.texts("payment_method_types", count_max=50, length_max=100)
        metadata = read_metadata(parameters)
        parameters.finish()

        def commit(now_ms: int) -> dict[str, object]:
            if customer is not None:
                self._account.billing.subscribing.check_customer(customer)
            paying = self._account.billing.paying
            intent = paying.open_intent(customer, None, now_ms, livemode=call.livemode, description=description, metadata=metadata)
            return setup_intent_object(intent)

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _retrieve_intent(self, call: Call) -> Prepared:
        secret = call.parameters.optional_text("client_secret", length_max=5000)
        call.parameters.finish()

        def commit() -> dict[str, object]:
            intent = self._account.billing.paying.intents.get(call.identity)
            if secret not in (None, intent.client_secret):
                raise invalid("The client_secret provided does not match the client_secret associated with the SetupIntent.", "client_secret")
            return setup_intent_object(intent)

        return Prepared(lambda _: json_result(commit()))

    def _confirm_intent(self, call: Call) -> Prepared:
        method = call.parameters.optional_text("payment_method", length_max=5000)
        call.parameters.optional_text("return_url", length_max=5000)
        call.parameters.finish()
        return Prepared(lambda now_ms: json_result(setup_intent_object(self._account.billing.paying.confirm(call.identity, method, now_ms))))

    def _cancel_intent(self, call: Call) -> Prepared:
        call.parameters.finish()
        return Prepared(lambda now_ms: json_result(setup_intent_object(self._account.billing.paying.cancel(call.identity, now_ms))))

    def _retrieve_method(self, call: Call) -> Prepared:
        call.parameters.finish()
        return Prepared(lambda _: json_result(payment_method_object(self._account.billing.paying.methods.get(call.identity))))

    def _attach_method(self, call: Call) -> Prepared:
        customer = call.parameters.text("customer", length_max=5000)
        call.parameters.finish()

        def commit(now_ms: int) -> dict[str, object]:
            self._account.billing.subscribing.check_customer(customer)
            method = self._account.billing.paying.attach(call.identity, customer, now_ms, livemode=call.livemode)
            return payment_method_object(method)

        return Prepared(lambda now_ms: json_result(commit(now_ms)))
