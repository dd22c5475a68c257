"""Whatever a form says, it is read or it is refused in Stripe's way: nothing else happens."""

from collections.abc import Callable
from contextlib import suppress

from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_sandbox.stripe.checkout.sessions import read_session_draft
from taximeter_sandbox.stripe.http.errors import ApiError
from taximeter_sandbox.stripe.http.forms import nest
from taximeter_sandbox.stripe.http.parameters import Parameters
from taximeter_sandbox.stripe.selling import customers, products
from taximeter_sandbox.stripe.selling.price_drafts import read_price_draft
from taximeter_sandbox.stripe.selling.prices import read_change_of_price
from taximeter_sandbox.stripe.selling.subscription_drafts import read_subscription_change, read_subscription_draft, read_subscription_filter

READERS: list[Callable[[Parameters], object]] = [
    customers.read_changes,
    customers.read_draft,
    products.read_changes,
    products.read_draft,
    read_change_of_price,
    read_price_draft,
    read_session_draft,
    read_subscription_change,
    read_subscription_draft,
    read_subscription_filter,
]
USUAL: list[list[tuple[str, str]]] = [
    [("currency", "usd"), ("product", "prod_1"), ("unit_amount", "1")],
    [("customer", "cus_1"), ("items[0][price]", "price_1")],
    [("mode", "subscription"), ("line_items[0][price]", "price_1"), ("success_url", "https://example.com")],
]
WORDS = [
    "currency",
    "product",
    "name",
    "unit_amount",
    "unit_amount_decimal",
    "tiers",
    "up_to",
    "flat_amount",
    "transform_quantity",
    "divide_by",
    "recurring",
    "interval",
    "meter",
    "metadata",
    "active",
    "items",
    "price",
    "quantity",
    "line_items",
    "payment_settings",
    "billing_mode",
    "type",
    "days_until_due",
    "billing_cycle_anchor",
    "success_url",
    "ui_mode",
    "expand",
    "email",
    "invoice_settings",
    "default_payment_method",
    "current_period_end",
    "gte",
    "status",
]
PARTS = st.sampled_from([*WORDS, "", "0", "1", "x"])
NAMES = st.lists(PARTS, min_size=1, max_size=4).map(lambda parts: parts[0] + "".join(f"[{part}]" for part in parts[1:]))
VALUES = st.one_of(
    st.sampled_from(["", "0", "-1", "inf", "true", "usd", "month", "metered", "1e5", "0.5", "http://[", "9" * 18, "\u0663", "\u00b2"]), st.text()
)


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(READERS), st.sampled_from(USUAL), st.lists(st.tuples(NAMES, VALUES), max_size=5))
def test_any_form_is_read_or_refused(read: Callable[[Parameters], object], usual: list[tuple[str, str]], more: list[tuple[str, str]]) -> None:
    with suppress(ApiError):
        read(Parameters(nest([*usual, *more])))
