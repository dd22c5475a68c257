"""Checkout sessions: every change to them."""

from dataclasses import replace
from typing import Protocol

from taximeter_sandbox.stripe.checkout.sessions import LIFE_S_MAX, LIFE_S_MIN, CheckoutSession, SessionDraft, session_object
from taximeter_sandbox.stripe.http.errors import invalid
from taximeter_sandbox.stripe.invoicing.schedule import BillingSchedule
from taximeter_sandbox.stripe.invoicing.subscribing import Subscribing
from taximeter_sandbox.stripe.selling.customers import Customer, CustomerDraft
from taximeter_sandbox.stripe.selling.paying import Paying
from taximeter_sandbox.stripe.selling.selling_port import SellingPort
from taximeter_sandbox.stripe.selling.subscription_drafts import ItemDraft, SubscriptionDraft
from taximeter_sandbox.stripe.state.tables import Table

SESSIONS_MAX = 100_000
PLACEHOLDER = "{CHECKOUT_SESSION_ID}"


class CheckoutPort(SellingPort, Protocol):
    """What checkout asks of the account."""

    def create_customer(self, draft: CustomerDraft, *, livemode: bool, now_ms: int) -> Customer:
        """A new customer with a generated id."""


class CheckingOut:
    """Checkout sessions of one account. Every method raises ApiError for what Stripe would refuse."""

    def __init__(self, account: CheckoutPort, paying: Paying, subscribing: Subscribing, schedule: BillingSchedule) -> None:
        self._account = account
        self._paying = paying
        self._subscribing = subscribing
        self._schedule = schedule
        self.sessions: Table[CheckoutSession] = Table("checkout_session", "checkout.session", CheckoutSession, account.note, maximum=SESSIONS_MAX)

    def create(self, draft: SessionDraft, origin: str, now_ms: int, *, livemode: bool) -> CheckoutSession:
        """A new session, with its page under `origin`, such as `http://127.0.0.1:4010`."""
        now_s = now_ms // 1000
        if draft.customer is not None:
            self._subscribing.check_customer(draft.customer)
        _, currency = self._subscribing.check_items(draft.items)
        expires_at = now_s + LIFE_S_MAX if draft.expires_at is None else draft.expires_at
        if not now_s + LIFE_S_MIN <= expires_at <= now_s + LIFE_S_MAX:
            raise invalid("The `expires_at` timestamp must be 30 minutes to 24 hours after the session's creation.", "expires_at")
        token = self._account.identities.token
        identity = f"cs_{'live' if livemode else 'test'}_{token(58)}"
        session = CheckoutSession(
            id=identity,
            created=now_s,
            expires_at=expires_at,
            livemode=livemode,
            address=f"{origin}/c/pay/{identity}",
            client_secret=None if draft.ui_mode == "hosted_page" else f"{identity}_secret_{token(28)}",
            currency=currency,
            prices=tuple(item.price for item in draft.items),
            ui_mode=draft.ui_mode,
            success_url=draft.success_url,
            cancel_url=draft.cancel_url,
            return_url=draft.return_url,
            customer=draft.customer,
            customer_email=draft.customer_email,
            client_reference_id=draft.client_reference_id,
            collects_payment_method=draft.collects_payment_method,
            metadata=draft.metadata,
            subscription_metadata=draft.subscription_metadata,
            subscription_description=draft.subscription_description,
        )
        self.sessions.put(session, now_ms)
        self._expect_expiry(session)
        return session

    def complete(self, session_id: str, now_ms: int) -> CheckoutSession:
        """What the page's button does: the customer (a new one when there is none) saves a card and subscribes."""
        session = self.sessions.get(session_id)
        if session.status != "open":
            raise invalid(f"This Checkout Session is {session.status}.", "id")
        customer = session.customer
        if customer is None:
            draft = CustomerDraft(None, session.customer_email, None, None, ())
            customer = self._account.create_customer(draft, livemode=session.livemode, now_ms=now_ms).id
        method = self._paying.attach("pm_card_visa", customer, now_ms, livemode=session.livemode)
        subscription = self._subscribing.create(
            SubscriptionDraft(
                customer=customer,
                items=tuple(ItemDraft(price, (), "line_items") for price in session.prices),
                saves_payment_method=True,
                default_payment_method=method.id,
                description=session.subscription_description,
                metadata=session.subscription_metadata,
            ),
            now_ms,
            livemode=session.livemode,
        )
        session = replace(session, status="complete", customer=customer, subscription=subscription.id)
        self.sessions.put(session, now_ms)
        self._account.notifications.snapshot("checkout.session.completed", session_object(session), now_ms)
        return session

    def expire(self, session_id: str, now_ms: int) -> CheckoutSession:
        """Close a session that nobody has completed."""
        session = self.sessions.get(session_id)
        if session.status != "open":
            raise invalid(f"Only Checkout Sessions with a status in [open] can be expired. This Checkout Session has a status of {session.status}.")
        session = replace(session, status="expired")
        self.sessions.put(session, now_ms)
        self._account.notifications.snapshot("checkout.session.expired", session_object(session), now_ms)
        return session

    def resume(self) -> None:
        """Put the sessions that are open into the schedule, after a restart."""
        for session in self.sessions:
            if session.status == "open":
                self._expect_expiry(session)

    def _expect_expiry(self, session: CheckoutSession) -> None:
        self._schedule.push(session.expires_at * 1000, "expire", session.id)


def landing_url(session: CheckoutSession) -> str:
    """Where the customer's browser goes once a session is complete."""
    target = session.success_url or session.return_url
    assert target is not None, "one of the two is required"
    return target.replace(PLACEHOLDER, session.id)
