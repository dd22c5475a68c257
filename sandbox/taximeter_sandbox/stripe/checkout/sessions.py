"""Checkout sessions: a page where a customer subscribes. Records, reading of parameters, and what the API shows."""

from dataclasses import dataclass
from typing import Literal, NamedTuple, cast
from urllib.parse import urlsplit

from taximeter_sandbox.stripe.http.errors import invalid, missing_parameter
from taximeter_sandbox.stripe.http.metadata import Metadata, read_metadata
from taximeter_sandbox.stripe.http.parameters import Parameters
from taximeter_sandbox.stripe.selling.subscription_drafts import ItemDraft, read_items

UiMode = Literal["hosted_page", "embedded_page", "elements", "form"]
SessionStatus = Literal["open", "complete", "expired"]
URL_LENGTH_MAX = 5000
LIFE_S_MIN = 30 * 60
LIFE_S_MAX = 24 * 3600

# Fields that Stripe's object has and nothing here ever sets.
NEVER_SET = [
    "after_expiration",
    "allow_promotion_codes",
    "billing_address_collection",
    "consent",
    "consent_collection",
    "currency_conversion",
    "customer_account",
    "invoice",
    "invoice_creation",
    "locale",
    "payment_intent",
    "payment_link",
    "payment_method_options",
    "setup_intent",
    "shipping_address_collection",
    "shipping_cost",
    "submit_type",
]


@dataclass(frozen=True, slots=True)
class CheckoutSession:
    """One session; times in Unix seconds. `address` is where its page is; `client_secret` is set when the caller shows the form itself."""

    id: str
    created: int
    expires_at: int
    livemode: bool
    address: str
    client_secret: str | None
    currency: str
    prices: tuple[str, ...]
    ui_mode: UiMode
    success_url: str | None
    cancel_url: str | None
    return_url: str | None
    customer: str | None
    customer_email: str | None
    client_reference_id: str | None
    collects_payment_method: Literal["always", "if_required"]
    metadata: Metadata
    subscription_metadata: Metadata
    subscription_description: str | None
    status: SessionStatus = "open"
    subscription: str | None = None


class SessionDraft(NamedTuple):
    """The validated parameters of a create call, apart from what they refer to."""

    items: tuple[ItemDraft, ...]
    ui_mode: UiMode
    success_url: str | None
    cancel_url: str | None
    return_url: str | None
    customer: str | None
    customer_email: str | None
    client_reference_id: str | None
    collects_payment_method: Literal["always", "if_required"]
    expires_at: int | None
    metadata: Metadata
    subscription_metadata: Metadata
    subscription_description: str | None


def read_session_draft(parameters: Parameters) -> SessionDraft:
    """Validate the parameters of `POST /v1/checkout/sessions`; of the modes, only subscription. Raises ApiError."""
    mode = parameters.choice("mode", ("payment", "setup", "subscription"))
    if mode != "subscription":
        raise invalid("This simulator's Checkout knows mode=subscription only.", "mode")
    ui_mode = cast("UiMode", parameters.optional_choice("ui_mode", ("elements", "embedded_page", "form", "hosted_page")) or "hosted_page")
    success, cancel, back = (_read_url(parameters, name) for name in ("success_url", "cancel_url", "return_url"))
    if ui_mode == "hosted_page" and success is None:
        raise missing_parameter("success_url")
    if ui_mode != "hosted_page" and back is None:
        raise missing_parameter("return_url")
    customer, email = parameters.optional_text("customer", length_max=5000), parameters.optional_text("customer_email", length_max=512)
    if customer is not None and email is not None:
        raise invalid("You may only specify one of these parameters: customer, customer_email.", "customer_email")
    items = read_items(parameters, "line_items")
    data = parameters.optional_group("subscription_data")
    subscription_metadata: Metadata = ()
    description = None
    if data is not None:
        subscription_metadata = read_metadata(data)
        description = data.optional_text("description", length_max=500)
        data.finish()
    collects = parameters.optional_choice("payment_method_collection", ("always", "if_required")) or "always"
    return SessionDraft(
        items=items,
        ui_mode=ui_mode,
        success_url=success,
        cancel_url=cancel,
        return_url=back,
        customer=customer,
        customer_email=email,
        client_reference_id=parameters.optional_text("client_reference_id", length_max=200),
        collects_payment_method=cast("Literal['always', 'if_required']", collects),
        expires_at=parameters.optional_integer("expires_at"),
        metadata=read_metadata(parameters),
        subscription_metadata=subscription_metadata,
        subscription_description=description,
    )


def _read_url(parameters: Parameters, name: str) -> str | None:
    url = parameters.optional_text(name, length_max=URL_LENGTH_MAX)
    if url is None:
        return None
    try:
        parts = urlsplit(url)
        sound = parts.scheme in ("http", "https") and bool(parts.netloc) and url.isprintable()
    except ValueError:
        sound = False
    if not sound:
        raise invalid("Not a valid URL", name, "url_invalid")
    return url


def session_object(session: CheckoutSession) -> dict[str, object]:
    """The `checkout.session` that the API shows, nothing expanded."""
    hosted = session.ui_mode == "hosted_page"
    is_open = session.status == "open"
    return {
        **dict.fromkeys(NEVER_SET),
        "id": session.id,
        "object": "checkout.session",
        "adaptive_pricing": {"enabled": False},
        "amount_subtotal": 0,
        "amount_total": 0,
        "automatic_tax": {"enabled": False, "liability": None, "provider": None, "status": None},
        "cancel_url": session.cancel_url,
        "client_reference_id": session.client_reference_id,
        "client_secret": session.client_secret if is_open else None,
        "created": session.created,
        "currency": session.currency,
        "custom_fields": [],
        "custom_text": {"after_submit": None, "shipping_address": None, "submit": None, "terms_of_service_acceptance": None},
        "customer": session.customer,
        "customer_creation": "always" if session.customer is None else None,
        "customer_details": None if session.customer_email is None else {"email": session.customer_email, "name": None, "phone": None},
        "customer_email": session.customer_email,
        "discounts": [],
        "expires_at": session.expires_at,
        "livemode": session.livemode,
        "metadata": dict(session.metadata),
        "mode": "subscription",
        "payment_method_collection": session.collects_payment_method,
        "payment_method_types": ["card"],
        "payment_status": "no_payment_required" if session.status == "complete" else "unpaid",
        "phone_number_collection": {"enabled": False},
        **({} if hosted else {"redirect_on_completion": "always", "return_url": session.return_url}),
        "shipping_options": [],
        "status": session.status,
        "subscription": session.subscription,
        "success_url": session.success_url,
        "total_details": {"amount_discount": 0, "amount_shipping": 0, "amount_tax": 0},
        "ui_mode": session.ui_mode,
        "url": session.address if hosted and is_open else None,
    }
