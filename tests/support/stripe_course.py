"""When a subscription of the tests starts, and what its invoices bill late."""

from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.invoicing.invoices import Invoice

START = "2027-01-31T10:30:07"


def late(account: Account, invoice: Invoice) -> tuple[str, int]:
    found = account.billing.invoicing.usage.late(invoice.lines[0], invoice)
    return str(found.quantity), found.events
