"""Numbers of invoices: a prefix of the customer's, then a count."""

import hashlib


def invoice_prefix(customer: str) -> str:
    """What the numbers of a customer's invoices start with."""
    return hashlib.blake2b(customer.encode(), digest_size=4).hexdigest().upper()
