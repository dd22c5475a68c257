"""The endpoints of all that is sold, put together."""

from simulators.stripe.account import Account
from simulators.stripe.endpoints.checkout_routes import CheckoutEndpoints
from simulators.stripe.endpoints.invoice_routes import InvoiceEndpoints
from simulators.stripe.endpoints.selling_routes import SellingEndpoints
from simulators.stripe.endpoints.subscription_routes import SubscriptionEndpoints
from simulators.stripe.http.routes import Route


def billing_routes(account: Account) -> list[Route]:
    """Every endpoint there is for products, prices, subscriptions, payment details, checkout and invoices."""
    return [
        *SellingEndpoints(account).routes(),
        *SubscriptionEndpoints(account).routes(),
        *CheckoutEndpoints(account).routes(),
        *InvoiceEndpoints(account).routes(),
    ]
