"""What a key must be allowed to do, for whom, and a call that finds out without any effect.

A restricted key has permissions, which Stripe's errors call `rak_<name>`. A reading permission is tried by reading a list of one, or an
object that does not exist. A writing one is tried by a call that Stripe must refuse for what it says and not for who says it: a required
parameter is missing, or the object to be changed does not exist. Stripe looks at the permission first: 403 means that it is missing, 400 or
404 that it is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

_NOBODY: Final = "taximeter_doctor"  # in the id of an object that does not exist
REPORTER: Final = "reporter"


@dataclass(frozen=True, slots=True)
class Permission:
    """One permission. `users` are the `taximeter stripe` commands that need it, and the reporter; the rest is the call that tries it."""

    name: str
    users: tuple[str, ...]
    method: str
    path: str
    parameters: Mapping[str, object] = field(default_factory=dict)

    @property
    def writes(self) -> bool:
        """Whether it is a permission to change something."""
        return self.name.endswith("_write")


_ONE: Final[Mapping[str, object]] = {"limit": 1}
_NAMED: Final[Mapping[str, object]] = {"metadata": {"taximeter": "doctor"}}

PERMISSIONS: Final = (
    Permission("billing_meter_event_write", (REPORTER, "send-test-event"), "post", "/v1/billing/meter_events"),
    Permission("billing_meter_read", (REPORTER, "setup", "doctor", "send-test-event", "usage", "errors"), "get", "/v1/billing/meters", _ONE),
    Permission("billing_meter_write", ("setup",), "post", f"/v1/billing/meters/mtr_{_NOBODY}", {"display_name": "Taximeter doctor"}),
    Permission("product_read", ("setup", "doctor"), "get", "/v1/products", _ONE),
    Permission("product_write", ("setup",), "post", f"/v1/products/prod_{_NOBODY}", _NAMED),
    Permission("plan_read", ("setup", "doctor", "subscribe", "checkout", "preview", "demo-page"), "get", "/v1/prices", _ONE),
    Permission("plan_write", ("setup",), "post", f"/v1/prices/price_{_NOBODY}", _NAMED),
    Permission(
        "customer_read",
        (REPORTER, "customer", "subscribe", "checkout", "send-test-event", "usage", "preview", "demo-page"),
        "get",
        "/v1/customers",
        _ONE,
    ),
    Permission("customer_write", ("customer", "demo-page"), "post", f"/v1/customers/cus_{_NOBODY}", _NAMED),
    Permission("subscription_read", (REPORTER, "subscribe", "usage", "preview", "demo-page"), "get", "/v1/subscriptions", _ONE),
    Permission("subscription_write", ("subscribe", "demo-page"), "post", f"/v1/subscriptions/sub_{_NOBODY}", _NAMED),
    Permission("setup_intent_read", ("subscribe", "demo-page"), "get", f"/v1/setup_intents/seti_{_NOBODY}"),
    Permission("checkout_session_write", ("checkout",), "post", f"/v1/checkout/sessions/cs_test_{_NOBODY}/expire"),
    # A preview is computed and never kept; without a customer it is refused.
    Permission("invoice_write", ("preview",), "post", "/v1/invoices/create_preview"),
    Permission("event_read", (REPORTER, "errors", "listen"), "get", "/v1/events", _ONE),
    Permission("webhook_read", ("doctor", "listen"), "get", "/v1/webhook_endpoints", _ONE),
    Permission("webhook_write", ("listen",), "post", f"/v1/webhook_endpoints/we_{_NOBODY}", _NAMED),
)

# Without these the reporter cannot report; without its others it does so, and says what it lacks.
INDISPENSABLE: Final = frozenset({"billing_meter_event_write"})


def needed_by(user: str) -> tuple[str, ...]:
    """The names of the permissions that a command, or the reporter, needs."""
    return tuple(permission.name for permission in PERMISSIONS if user in permission.users)
