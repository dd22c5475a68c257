"""The endpoints of all that is sold, put together."""

from simulators.stripe.account import Account
from simulators.stripe.routes import Route
from simulators.stripe.selling_endpoints import SellingEndpoints


def billing_routes(account: Account) -> list[Route]:
    """Every endpoint there is for products, prices, subscriptions, payment details, checkout and invoices."""
    return SellingEndpoints(account).routes()
