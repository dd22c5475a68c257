"""Setup intents: a customer's consent to be charged later, collected before there is anything to charge."""

from dataclasses import dataclass
from typing import Literal

from taximeter_sandbox.stripe.http.metadata import Metadata

SetupStatus = Literal["requires_payment_method", "succeeded", "canceled"]


@dataclass(frozen=True, slots=True)
class SetupIntent:
    """One setup intent; `subscription` is the one that waits for it. `client_secret` is for the customer's browser alone."""

    id: str
    client_secret: str
    created: int
    livemode: bool
    customer: str | None
    subscription: str | None
    status: SetupStatus = "requires_payment_method"
    payment_method: str | None = None
    declined: bool = False
    description: str | None = None
    metadata: Metadata = ()


def setup_intent_object(intent: SetupIntent) -> dict[str, object]:
    """The `setup_intent` that the API shows."""
    error = {"code": "card_declined", "decline_code": "generic_decline", "message": "Your card was declined.", "type": "card_error"}
    return {
        "id": intent.id,
        "object": "setup_intent",
        "application": None,
        "automatic_payment_methods": None,
        "cancellation_reason": None,
        "client_secret": intent.client_secret,
        "created": intent.created,
        "customer": intent.customer,
        "description": intent.description,
        "flow_directions": None,
        "last_setup_error": error if intent.declined else None,
        "latest_attempt": None,
        "livemode": intent.livemode,
        "mandate": None,
        "metadata": dict(intent.metadata),
        "next_action": None,
        "on_behalf_of": None,
        "payment_method": intent.payment_method,
        "payment_method_options": {"card": {"mandate_options": None, "network": None, "request_three_d_secure": "automatic"}},
        "payment_method_types": ["card"],
        "single_use_mandate": None,
        "status": intent.status,
        "usage": "off_session",
    }
