"""Endpoints of invoices."""

from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.http.errors import ApiError, invalid, missing_parameter
from taximeter_sandbox.stripe.http.pages import list_object, read_page
from taximeter_sandbox.stripe.http.routes import Call, Prepared, Route, json_result
from taximeter_sandbox.stripe.invoicing.invoices import Invoice
from taximeter_sandbox.stripe.selling.customers import customer_object
from taximeter_sandbox.stripe.selling.subscriptions import Subscription

EXPANSIONS = ("customer",)
STATUSES = ("draft", "open", "paid", "uncollectible", "void")


class InvoiceEndpoints:
    """The endpoints of one account's invoices."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        """All of them."""
        invoice = "/v1/invoices/{id}"
        return [
            Route("invoices.list", "GET", "/v1/invoices", "invoice_read", self._list),
            Route("invoices.create_preview", "POST", "/v1/invoices/create_preview", "invoice_write", self._preview),
            Route("invoices.retrieve", "GET", invoice, "invoice_read", self._retrieve),
            Route("invoices.lines", "GET", invoice + "/lines", "invoice_read", self._lines),
            Route("invoices.finalize", "POST", invoice + "/finalize", "invoice_write", self._finalize),
            Route("invoices.pay", "POST", invoice + "/pay", "invoice_write", self._pay),
        ]

    def _list(self, call: Call) -> Prepared:
        expand = frozenset(item.removeprefix("data.") for item in call.parameters.expansions(tuple(f"data.{name}" for name in EXPANSIONS)))
        customer = call.parameters.optional_text("customer", length_max=5000)
        subscription = call.parameters.optional_text("subscription", length_max=5000)
        status = call.parameters.optional_choice("status", STATUSES)
        page = read_page(call.parameters)
        call.parameters.finish()

        def commit(now_ms: int) -> dict[str, object]:
            self._account.billing.ready(now_ms)
            invoices = self._account.billing.invoicing.invoices
            chosen: list[dict[str, object]] = [
                {"id": item.id}
                for item in invoices.newest_first()
                if customer in (None, item.customer) and subscription in (None, item.subscription) and status in (None, item.status)
            ]
            found = list_object(chosen, page, call.path)
            data = found["data"]
            assert isinstance(data, list), "list_object makes a list"
            return {**found, "data": [self._shown(invoices.get(item["id"]), expand) for item in data]}

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _retrieve(self, call: Call) -> Prepared:
        expand = call.parameters.expansions(EXPANSIONS)
        call.parameters.finish()

        def commit(now_ms: int) -> dict[str, object]:
            self._account.billing.ready(now_ms)
            return self._shown(self._account.billing.invoicing.invoices.get(call.identity), expand)

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _lines(self, call: Call) -> Prepared:
        page = read_page(call.parameters)
        call.parameters.finish()

        def commit(now_ms: int) -> dict[str, object]:
            self._account.billing.ready(now_ms)
            invoicing = self._account.billing.invoicing
            return list_object(invoicing.lines_shown(invoicing.find(call.identity)), page, call.path)

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _finalize(self, call: Call) -> Prepared:
        expand = call.parameters.expansions(EXPANSIONS)
        call.parameters.optional_flag("auto_advance")
        call.parameters.finish()

        def commit(now_ms: int) -> dict[str, object]:
            self._account.billing.ready(now_ms)
            return self._shown(self._account.billing.invoicing.finalize(call.identity, now_ms), expand)

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _pay(self, call: Call) -> Prepared:
        expand = call.parameters.expansions(EXPANSIONS)
        method = call.parameters.optional_text("payment_method", length_max=5000)
        out_of_band = call.parameters.optional_flag("paid_out_of_band") is True
        call.parameters.finish()

        def commit(now_ms: int) -> dict[str, object]:
            self._account.billing.ready(now_ms)
            return self._shown(self._account.billing.invoicing.pay(call.identity, method, now_ms, out_of_band=out_of_band), expand)

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _preview(self, call: Call) -> Prepared:
        subscription = call.parameters.optional_text("subscription", length_max=5000)
        customer = call.parameters.optional_text("customer", length_max=5000)
        call.parameters.optional_choice("preview_mode", ("next",))
        call.parameters.finish()
        if subscription is None and customer is None:
            raise missing_parameter("subscription")

        def commit(now_ms: int) -> dict[str, object]:
            self._account.billing.ready(now_ms)
            invoicing = self._account.billing.invoicing
            chosen = self._running(customer) if subscription is None else self._previewed(subscription, customer)
            return invoicing.shown(invoicing.preview(chosen, now_ms))

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _previewed(self, subscription_id: str, customer: str | None) -> Subscription:
        subscription = self._account.billing.subscriptions.get(subscription_id, "subscription", 400)
        if customer not in (None, subscription.customer):
            raise invalid("The subscription belongs to another customer.", "subscription")
        if not subscription.runs:
            raise _nothing_upcoming(subscription.customer)
        return subscription

    def _running(self, customer: str | None) -> Subscription:
        assert customer is not None, "checked by the caller"
        self._account.billing.subscribing.check_customer(customer)
        running = [item for item in self._account.billing.subscriptions if item.customer == customer and item.runs]
        if not running:
            raise _nothing_upcoming(customer)
        return min(running, key=lambda item: item.period_end)

    def _shown(self, invoice: Invoice, expand: frozenset[str]) -> dict[str, object]:
        invoicing = self._account.billing.invoicing
        shown = invoicing.shown(invoicing.current(invoice))
        if "customer" in expand:
            shown["customer"] = customer_object(self._account.customers.get(invoice.customer))
        return shown


def _nothing_upcoming(customer: str) -> ApiError:
    """404: nothing runs, so nothing will be invoiced."""
    message = f"No upcoming invoices for customer: {customer}"
    return ApiError(404, message, outcome="invoice_upcoming_none", code="invoice_upcoming_none", stored=True)
