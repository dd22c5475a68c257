"""Endpoints of checkout sessions."""

from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.checkout.sessions import CheckoutSession, read_session_draft, session_object
from taximeter_sandbox.stripe.http.pages import list_object, read_page
from taximeter_sandbox.stripe.http.routes import Call, Prepared, Route, json_result
from taximeter_sandbox.stripe.selling.customers import customer_object
from taximeter_sandbox.stripe.selling.prices import price_object

EXPANSIONS = ("customer", "line_items", "subscription")


class CheckoutEndpoints:
    """The endpoints of one account's checkout sessions."""

    def __init__(self, account: Account) -> None:
        self._account = account

    def routes(self) -> list[Route]:
        """All of them."""
        session = "/v1/checkout/sessions/{id}"
        return [
            Route("checkout.sessions.create", "POST", "/v1/checkout/sessions", "checkout_session_write", self._create),
            Route("checkout.sessions.list", "GET", "/v1/checkout/sessions", "checkout_session_read", self._list),
            Route("checkout.sessions.retrieve", "GET", session, "checkout_session_read", self._retrieve),
            Route("checkout.sessions.expire", "POST", session + "/expire", "checkout_session_write", self._expire),
            Route("checkout.sessions.line_items", "GET", session + "/line_items", "checkout_session_read", self._list_items),
        ]

    def _create(self, call: Call) -> Prepared:
        expand = call.parameters.expansions(EXPANSIONS)
        draft = read_session_draft(call.parameters)
        call.parameters.finish()

        def commit(now_ms: int) -> dict[str, object]:
            self._account.billing.ready(now_ms)
            return self._shown(self._account.billing.checking_out.create(draft, call.origin, now_ms, livemode=call.livemode), expand)

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _list(self, call: Call) -> Prepared:
        customer = call.parameters.optional_text("customer", length_max=5000)
        subscription = call.parameters.optional_text("subscription", length_max=5000)
        status = call.parameters.optional_choice("status", ("complete", "expired", "open"))
        page = read_page(call.parameters)
        call.parameters.finish()

        def commit(now_ms: int) -> dict[str, object]:
            self._account.billing.ready(now_ms)
            chosen = [
                session_object(item)
                for item in self._account.billing.checking_out.sessions.newest_first()
                if customer in (None, item.customer) and subscription in (None, item.subscription) and status in (None, item.status)
            ]
            return list_object(chosen, page, call.path)

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _retrieve(self, call: Call) -> Prepared:
        expand = call.parameters.expansions(EXPANSIONS)
        call.parameters.finish()

        def commit(now_ms: int) -> dict[str, object]:
            self._account.billing.ready(now_ms)
            return self._shown(self._account.billing.checking_out.sessions.get(call.identity), expand)

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _expire(self, call: Call) -> Prepared:
        call.parameters.finish()

        def commit(now_ms: int) -> dict[str, object]:
            self._account.billing.ready(now_ms)
            return session_object(self._account.billing.checking_out.expire(call.identity, now_ms))

        return Prepared(lambda now_ms: json_result(commit(now_ms)))

    def _list_items(self, call: Call) -> Prepared:
        page = read_page(call.parameters)
        call.parameters.finish()

        def commit() -> dict[str, object]:
            return list_object(self._items(self._account.billing.checking_out.sessions.get(call.identity)), page, call.path)

        return Prepared(lambda _: json_result(commit()))

    def _items(self, session: CheckoutSession) -> list[dict[str, object]]:
        selling = self._account.billing.selling
        items: list[dict[str, object]] = []
        for number, price_id in enumerate(session.prices):
            price = selling.price(price_id)
            items.append(
                {
                    "id": f"li_{session.id[8:30]}{number}",
                    "object": "item",
                    "amount_discount": 0,
                    "amount_subtotal": 0,
                    "amount_tax": 0,
                    "amount_total": 0,
                    "currency": price.currency,
                    "description": selling.products.get(price.product).name,
                    "price": price_object(price),
                    "quantity": None,
                }
            )
        return items

    def _shown(self, session: CheckoutSession, expand: frozenset[str]) -> dict[str, object]:
        shown = session_object(session)
        if "line_items" in expand:
            url = f"/v1/checkout/sessions/{session.id}/line_items"
            shown["line_items"] = {"object": "list", "data": self._items(session), "has_more": False, "url": url}
        if "customer" in expand and session.customer is not None:
            shown["customer"] = customer_object(self._account.customers.get(session.customer))
        if "subscription" in expand and session.subscription is not None:
            subscriptions = self._account.billing.subscriptions
            shown["subscription"] = subscriptions.shown(subscriptions.get(session.subscription))
        return shown
