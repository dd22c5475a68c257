"""The endpoints of all that is sold, put together."""

from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.endpoints.checkout_routes import CheckoutEndpoints
from taximeter_sandbox.stripe.endpoints.invoice_routes import InvoiceEndpoints
from taximeter_sandbox.stripe.endpoints.selling_routes import SellingEndpoints
from taximeter_sandbox.stripe.endpoints.subscription_routes import SubscriptionEndpoints
from taximeter_sandbox.stripe.http.routes import Route


def billing_routes(account: Account) -> list[Route]:
    """Every endpoint there is for products, prices, subscriptions, payment details, checkout and invoices."""
    return [
        *SellingEndpoints(account).routes(),
        *SubscriptionEndpoints(account).routes(),
        *CheckoutEndpoints(account).routes(),
        *InvoiceEndpoints(account).routes(),
    ]
