"""The endpoints of all that is sold, put together."""

from simulators.stripe.account import Account
from simulators.stripe.checkout_endpoints import CheckoutEndpoints
from simulators.stripe.invoice_endpoints import InvoiceEndpoints
from simulators.stripe.routes import Route
from simulators.stripe.selling_endpoints import SellingEndpoints
from simulators.stripe.subscription_endpoints import SubscriptionEndpoints


def billing_routes(account: Account) -> list[Route]:
    """Every endpoint there is for products, prices, subscriptions, payment details, checkout and invoices."""
    return [
        *SellingEndpoints(account).routes(),
        *SubscriptionEndpoints(account).routes(),
        *CheckoutEndpoints(account).routes(),
        *InvoiceEndpoints(account).routes(),
    ]
